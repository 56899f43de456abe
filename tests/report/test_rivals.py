"""A recommender beside its rivals: the figures are those of the library, though it is asked once."""

import numpy as np
import pytest

from dmc import Recommender, evaluation
from dmc.report import judged, rivals
from dmc.report.digits import Measured


def table(seed=0, n=1500):
    rng = np.random.default_rng(seed)
    users, items = np.unique(rng.integers(0, [40, 60], (n, 2)), axis=0).T
    taste = np.random.default_rng(7).standard_normal((60, 2))
    ratings = 3 + np.sum(taste[users] * taste[items], axis=1) / 2 + rng.standard_normal(len(users)) / 2
    return {"user": users, "item": items, "rating": np.clip(np.rint(ratings), 1, 5)}


@pytest.fixture(scope="module", params=["explicit", "implicit"])
def case(request):
    """A model, its training part, its test and what stands beside."""
    found = table()
    last = np.random.default_rng(1).random(len(found["user"])) < 0.3
    train, test = ({name: values[which] for name, values in found.items()} for which in (~last, last))
    model = Recommender(4, feedback=request.param).fit(train)
    tests = judged.test_set(model, test)
    explicit = request.param == "explicit"
    ratings = judged.ratings(model, tests) if explicit else None
    lists = judged.lists(model.recommend, model, tests.listed)
    return model, train, test, rivals.beside(model, tests, True, ratings, lists)


def test_it_is_what_evaluate_baselines_and_compare_say(case):
    model, train, test, found = case
    verdict = evaluation.evaluate(model, test)
    theirs = evaluation.baselines(train, test, feedback=model.feedback)
    for name in rivals.LABELS:
        if model.feedback == "implicit" and name in rivals.ERRORS:
            continue
        assert getattr(found.own, name) == pytest.approx(getattr(verdict, name), rel=1e-6)
        for rival, of in found.rivals.items():
            if name not in rivals.ERRORS:
                assert getattr(of, name) == pytest.approx(getattr(theirs[rival], name))
    popular = evaluation.Popularity(train, feedback=model.feedback)
    compared = evaluation.compare(model, popular, test).measures
    assert found.differences["popularity"]["ndcg"] == pytest.approx(compared["ndcg"])
    if model.feedback == "explicit":
        assert found.rivals["popularity"].rmse == pytest.approx(theirs["mean"].rmse)
        assert found.rivals["biases"].rmse == pytest.approx(theirs["biases"].rmse)
    else:
        assert list(found.rivals) == ["popularity"]
        assert found.own.rmse is None
    given = popular.recommend({"user": np.asarray(verdict.users)}, judged.LISTED)
    np.testing.assert_array_equal(model.items_.ids[found.popular_lists.items], given["item"])


def test_the_table_has_differences_user_by_user(case):
    model, _, _, found = case
    section = rivals.section(found, "chose")
    rows = {row[0]: row[1:] for row in section.rows}
    assert ("RMSE" in rows) == (model.feedback == "explicit")
    own, theirs, difference, *_ = rows["NDCG"]
    assert difference.value == pytest.approx(own.value - theirs.value)
    per_user = found.own.per_user["ndcg"] - found.rivals["popularity"].per_user["ndcg"]
    for measured, values in ((difference, per_user), (own, found.own.per_user["ndcg"])):
        assert measured.error == pytest.approx(values.std(ddof=1) / np.sqrt(len(values)), rel=0.15)
    assert rows["coverage"][0] == Measured(found.own.coverage)
    assert rows["coverage"][2] is None


def test_an_interval_as_text():
    difference = evaluation.Difference(0.9, 1.0, -0.1, -0.1392, -0.0608, 0.001)
    assert rivals.interval(difference) == "−0.139 to −0.061"
    assert rivals.interval(difference, 100) == "−13.9 to −6.1"
