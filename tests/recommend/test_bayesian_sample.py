"""A Bayesian fit that begins on some of the rows."""

from dataclasses import replace

import numpy as np
import pytest
from test_bayesian import excess, ratings
from test_presence_features import communities

from dmc._group import Share
from dmc.observations import Observations
from dmc.recommend import bayesian
from dmc.recommend.bayesian_sample import some_rows
from dmc.solver.solution import Status


@pytest.fixture
def sampled(monkeypatch):
    """Everything above 5,000 entries begins on about 4,000."""
    monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, large=5_000))
    monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, sample=4_000))


def with_lone_lines(seed=0):
    """Planted ratings of a long tail: the last columns have an entry or two, so that a sample lacks some of them."""
    truth, observations = ratings((600, 150), share=0.15, seed=seed)
    rng = np.random.default_rng(seed)
    keep = (observations.cols < 100) | (rng.random(len(observations.cols)) < 0.02)
    rows, cols = observations.rows[keep], observations.cols[keep]
    return truth, Observations.from_entries(rows, cols, observations.values[keep], observations.shape)


@pytest.mark.parametrize(
    "make",
    [lambda: ratings((600, 200)), with_lone_lines, lambda: communities(shape=(1500, 200))],
    ids=["planted", "long tail", "communities"],
)
def test_it_ends_where_the_whole_would(make, monkeypatch):
    truth, observations = make()
    whole = bayesian.fit(observations)
    monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, large=3_000))
    monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, sample=observations.n_observed // 3))
    fit = bayesian.fit(observations)
    assert fit.status is Status.CONVERGED
    assert (fit.rank, fit.factors.shape) == (whole.rank, observations.shape)
    assert fit.noise == pytest.approx(whole.noise, rel=0.01)
    assert excess(fit, truth) ** 2 + whole.noise**2 < 1.01**2 * (excess(whole, truth) ** 2 + whole.noise**2)


def test_rows_drawn_keep_all_of_their_entries(rng):
    _, observations = ratings((600, 200))
    chosen, some, share = some_rows(observations, 4_000, rng, Share.whole(600))
    assert share.count == len(chosen)
    assert 4_000 <= some.n_observed < 4_100
    assert (np.diff(chosen) > 0).all()
    dense, part = np.full(observations.shape, np.nan), np.full(some.shape, np.nan)
    dense[observations.rows, observations.cols] = observations.values
    part[some.rows, some.cols] = some.values
    np.testing.assert_array_equal(part, dense[chosen])


@pytest.mark.parametrize("shape", [(1, 9000), (2, 4500), (9000, 1)])
def test_a_sample_may_be_all_there_is(shape, sampled):
    m, n = shape
    rng = np.random.default_rng(0)
    rows, cols = np.divmod(np.arange(m * n), n)
    values = rng.standard_normal(m * n).astype(np.float32)
    fit = bayesian.fit(Observations.from_entries(rows, cols, values, shape))
    assert (fit.status, fit.factors.shape, fit.rank) == (Status.CONVERGED, shape, 0)


def test_a_sample_without_any_interaction_leaves_the_biases(sampled):
    truth, observations = ratings((600, 200), rank=0)
    fit = bayesian.fit(observations)
    assert fit.rank == 0
    assert excess(fit, truth) < 0.1


def test_attributes_are_known_to_the_sample_too(sampled):
    """New columns by their attributes, as well as without a sample."""
    rng = np.random.default_rng(0)
    m, n, cold = 600, 150, 30
    told = rng.standard_normal((n, 3)).astype(np.float32)
    told -= told.mean(axis=0)
    truth = 3 + 0.5 * told @ np.array([1, 0.5, 0]) + 0.5 * rng.standard_normal((m, 1)) * told[:, 2]
    rows, cols = np.nonzero((rng.random((m, n)) < 0.15) & (np.arange(n) >= cold))
    values = truth[rows, cols] + 0.3 * rng.standard_normal(len(rows))
    observations = Observations.from_entries(rows, cols, values.astype(np.float32), (m, n))
    fit = bayesian.fit(observations, attributes=(None, told))
    found = fit.factors.dense()[:, :cold] + fit.mean
    assert np.sqrt(np.mean((found - truth[:, :cold]) ** 2)) < 0.25 * truth[:, :cold].std()


def test_the_callbacks_see_the_sample_as_one_course_of_whole_models(sampled):
    truth, observations = ratings((600, 200))
    told = []
    fit = bayesian.fit(observations, callbacks=[told.append])
    *looks, last = told
    assert [info.n_steps for info in looks] == list(range(1, len(looks) + 1))
    assert [info.value for info in looks] == fit.errors
    assert [info.status for info in told] == [None] * len(looks) + [Status.CONVERGED]
    assert (last.n_steps, last.value) == (len(looks), fit.noise)
    assert {info.factors.shape for info in told} == {observations.shape}
    assert all(0 <= info.gradient_ratio <= 1 for info in told)
    assert sorted(info.seconds for info in told) == [info.seconds for info in told]
    assert excess(replace(fit, factors=told[4].factors), truth) < truth.std()  # about the mean of all


def test_looking_on_changes_nothing(sampled):
    _, observations = ratings((600, 200))
    seen, alone = bayesian.fit(observations, callbacks=[lambda info: False]), bayesian.fit(observations)
    for ours, theirs in zip(seen.factors.arrays, alone.factors.arrays, strict=True):
        np.testing.assert_array_equal(ours, theirs)
