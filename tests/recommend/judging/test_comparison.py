"""Two recommenders by the same users: planted differences, SciPy's permutation test, one beside itself."""

import json

import numpy as np
import pytest

from dmc.recommend.evaluation import evaluate
from dmc.recommend.judging.baselines import Biases, Popularity
from dmc.recommend.judging.comparison import compare
from dmc.recommend.judging.splitting import split


@pytest.fixture
def parts(rng):
    """Ratings with biases, of items of which some are liked and chosen more often."""
    weight = rng.permutation(np.linspace(0.05, 0.6, 60))
    pairs = np.argwhere(rng.random((150, 60)) < weight)
    liked = rng.standard_normal(60)
    rating = 3 + rng.standard_normal(150)[pairs[:, 0]] + liked[pairs[:, 1]] + rng.standard_normal(len(pairs))
    return split({"user": pairs[:, 0], "item": pairs[:, 1], "rating": rating}, "user", 0.3)


def test_it_tells_what_the_evaluations_do(parts):
    train, test = parts
    first, second = Biases(train), Popularity(train)
    found = compare(first, second, test, n=5, relevant=3)
    verdicts = [evaluate(of, test, 5, 3) for of in (first, second)]
    assert set(found.measures) == set(verdicts[0].intervals)
    for name, measure in found.measures.items():
        expected = [getattr(verdict, name) for verdict in verdicts]
        assert [measure.first, measure.second] == pytest.approx(expected)
        assert measure.difference == pytest.approx(expected[0] - expected[1])
        assert measure.low < measure.difference < measure.high
    assert (found.n_users, found.n_ratings) == (verdicts[0].n_users, verdicts[0].n_ratings)
    rmse = found.measures["rmse"]
    assert rmse.high < 0
    assert rmse.p_value == pytest.approx(1 / 1001)


def test_p_values_equal_scipys(parts):
    from scipy import stats

    train, test = parts
    first, second = Biases(train), Popularity(train)
    found = compare(first, second, test, n=5, relevant=3, n_resamples=20_000).measures
    of_users = [evaluate(of, test, 5, 3, confidence=None).per_user for of in (first, second)]
    for name in ("ndcg", "hit_rate"):
        reference = stats.permutation_test(
            [of[name] for of in of_users], lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples",
            n_resamples=20_000, vectorized=True, rng=0, batch=1000,
        )  # fmt: skip
        assert found[name].p_value == pytest.approx(reference.pvalue, abs=0.015)


def test_pairs_tell_more_than_two_intervals_do(parts):
    """Intervals of the two overlap, and yet every one of many users is a little better off with the first."""
    train, test = parts
    first = Biases(train)

    class Worse(Biases):
        def predict(self, table):
            return {"prediction": super().predict(table)["prediction"] + 0.15 * np.resize([1, -1], len(table["user"]))}

    second = Worse(train)
    bounds = [evaluate(of, test).intervals["rmse"] for of in (first, second)]
    assert bounds[0][1] > bounds[1][0]
    found = compare(first, second, test).measures
    assert found["rmse"].p_value < 0.05
    assert found["rmse"].high < 0
    assert found["ndcg"] == (found["ndcg"].first,) * 2 + (0, 0, 0, 1)  # the same lists


def test_one_beside_itself_is_not_better(parts):
    train, test = parts
    for measure in compare(Biases(train), Biases(train), test).measures.values():
        assert measure[2:] == pytest.approx((0, 0, 0, 1), abs=1e-14)


def test_clicks_have_lists_alone(parts):
    (train, test), named = parts, ("user", "item")
    clicks = [{name: part[name] for name in named} for part in (train, test)]
    first = Popularity(clicks[0], feedback="implicit")
    second = Popularity({k: v[::7] for k, v in clicks[0].items()}, feedback="implicit")
    found = compare(first, second, clicks[1], seed=3)
    assert list(found.measures) == [
        "precision", "recall", "ndcg", "average_precision", "reciprocal_rank", "hit_rate", "novelty"
    ]  # fmt: skip
    assert found == compare(first, second, clicks[1], seed=3)


def test_lists_that_cannot_tell_are_told(parts):
    train, test = parts
    strangers = {**test, "user": test["user"] + 1000}
    with pytest.warns(UserWarning, match="knows none of the [0-9]+ users"):
        compare(Biases(train), Popularity(train), strangers)


def test_shown_and_written(parts):
    train, test = parts
    found = compare(Biases(train), Popularity(train), test, confidence=0.9)
    head, names, first, *_ = repr(found).splitlines()
    assert head == f"{found.n_ratings:,} test rows, lists of 10 for {found.n_users} users"
    assert names.split() == ["first", "second", "difference", "90", "%", "interval", "p"]
    assert first.split()[:4] == [
        "rmse",
        *(f"{x:.4f}" for x in found.measures["rmse"][:2]),
        f"{found.measures['rmse'][2]:+.4f}",
    ]
    assert json.loads(json.dumps(found.asdict()))["measures"]["mae"]["low"] == found.measures["mae"].low


def test_refused(parts):
    train, test = parts
    first = Biases(train)
    alone = {name: values[test["user"] == test["user"][0]] for name, values in test.items()}
    with pytest.raises(ValueError, match="the test has a single user"):
        compare(first, first, alone)
    with pytest.raises(ValueError, match="compare two of one kind"):
        compare(first, Popularity(train, feedback="implicit"), test)
    with pytest.raises(ValueError, match="confidence is 2"):
        compare(first, first, test, confidence=2)
