"""Bayesian factorisation: what the fit finds out by itself."""

from dataclasses import replace

import numpy as np
import pytest
from test_presence_features import communities, expected_of

from dmc import _extensions
from dmc.observations import Observations
from dmc.recommend import bayesian, presence_features
from dmc.recommend.factor_posterior import TUNING
from dmc.solver.solution import Status


def ratings(shape=(300, 200), rank=3, share=0.25, noise=0.5, seed=0):
    """(all values without noise, observations)."""
    rng = np.random.default_rng(seed)
    m, n = shape
    U, V = rng.standard_normal((m, rank)), rng.standard_normal((n, rank))
    truth = 3 + 0.4 * rng.standard_normal((m, 1)) + 0.4 * rng.standard_normal(n) + 0.5 * U @ V.T
    rows, cols = np.nonzero(rng.random(shape) < share)
    values = truth[rows, cols] + noise * rng.standard_normal(len(rows))
    return truth, Observations.from_entries(rows, cols, values.astype(np.float32), shape)


def excess(fit, truth):
    """Root mean square of what the model misses over the whole matrix."""
    return float(np.sqrt(np.mean((fit.factors.dense() + fit.mean - truth) ** 2)))


@pytest.mark.parametrize("bound", [5, 128])
def test_rank_and_noise_are_found_whatever_the_bound(bound):
    truth, observations = ratings()
    fit = bayesian.fit(observations, bound)
    assert fit.status is Status.CONVERGED
    assert fit.rank == 3
    assert fit.noise == pytest.approx(0.5, rel=0.03)
    assert excess(fit, truth) < 0.25  # the oracle's: .5·√(degrees of freedom / entries) = .16


def test_more_directions_join_while_all_are_alive(monkeypatch):
    monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, max_start_width=2))
    truth, observations = ratings(rank=6, share=0.4)
    fit = bayesian.fit(observations)
    assert (fit.rank, fit.factors.width) == (6, 8)
    assert excess(fit, truth) < 0.25


def test_spare_directions_do_not_ask_for_more():
    truth, observations = ratings()
    fit = bayesian.fit(observations, 32)
    assert fit.factors.width == bayesian.TUNING.min_start_width
    assert excess(fit, truth) < 0.25


def test_without_interactions_the_biases_are_left():
    fit = bayesian.fit(ratings(rank=0, share=0.1)[1])
    assert fit.rank == 0
    assert np.std(fit.factors.U @ fit.factors.V.T) < 0.1


def test_the_same_seed_gives_the_same_bits():
    _, observations = ratings()
    first, second = (bayesian.fit(observations, seed=1).factors for _ in range(2))
    for ours, theirs in zip(first.arrays, second.arrays, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_without_the_core_the_fit_is_the_same(monkeypatch):
    _, observations = ratings((60, 50), share=0.5)
    fast = bayesian.fit(observations).factors.dense()
    monkeypatch.setattr(_extensions, "core", None)
    np.testing.assert_allclose(bayesian.fit(observations).factors.dense(), fast, atol=0.02)


def test_the_callback_is_told_and_may_end_the_fit():
    told = []
    also = []
    fit = bayesian.fit(ratings()[1], callbacks=[lambda info: told.append(info) or info.n_steps == 2, also.append])
    assert [info.n_steps for info in told] == [1, 2, 2]
    assert [info.status for info in told] == [None, None, Status.STOPPED]
    assert also == told  # every one of them is asked
    assert told[-1].value == fit.errors[-1] == fit.noise
    np.testing.assert_array_equal(told[-1].factors.dense(), fit.factors.dense())
    assert fit.status is Status.STOPPED


def test_the_last_call_tells_the_status():
    told = []
    fit = bayesian.fit(ratings()[1], callbacks=[told.append])
    *looks, last = told
    assert [info.status for info in told] == [None] * len(looks) + [Status.CONVERGED]
    assert [info.value for info in looks] == fit.errors
    assert last.value == fit.noise
    assert all(0 <= info.gradient_ratio <= 1 for info in told)


def test_directions_join_after_the_last_sweep_of_a_width_too(monkeypatch):
    monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, max_start_width=3))
    monkeypatch.setattr(bayesian, "TUNING", replace(bayesian.TUNING, max_sweeps=6))  # too few to arrive
    truth, observations = ratings(rank=6, share=0.4)
    told = []
    fit = bayesian.fit(observations, callbacks=[told.append])
    widths = [info.factors.width for info in told]
    assert widths == sorted(widths)
    assert (widths[0], fit.factors.width >= 6) == (3, True)
    assert excess(fit, truth) < 0.3


def test_double_precision_is_refused():
    _, observations = ratings()
    with pytest.raises(TypeError, match="float32"):
        bayesian.fit(observations.with_values(observations.values.astype(np.float64)))


def test_the_pattern_helps_where_it_tells_something(monkeypatch):
    truth, observations = communities()
    with_it = excess(bayesian.fit(observations), truth)
    monkeypatch.setattr(presence_features, "TUNING", replace(presence_features.TUNING, max_coordinates=0))
    assert with_it < 0.9 * excess(bayesian.fit(observations), truth)


def same_lines(observations):
    return tuple(np.arange(count) for count in observations.shape)


def test_rows_are_folded_in_as_they_were_fitted():
    _, observations = communities()
    fit = bayesian.fit(observations)
    again = fit.extended(observations, *same_lines(observations), np.ones(observations.shape[0], bool))
    # The rows' last step is followed by one of their prior, and columns are taken for certain.
    np.testing.assert_allclose(again.factors.dense(), fit.factors.dense(), atol=0.1)
    nothing = fit.extended(observations, *same_lines(observations), np.zeros(observations.shape[0], bool))
    np.testing.assert_array_equal(nothing.factors.dense(), fit.factors.dense())


def test_a_row_without_entries_gets_what_rows_have_on_average():
    _, observations = ratings()
    fit = bayesian.fit(observations)
    k = fit.factors.width
    new = fit.rows.cold_start_mean[0]
    expected = fit.columns.means[:, :k] @ new[:k] + fit.columns.means[:, k] + new[k]
    popular = fit.factors.dense().mean(axis=0)
    assert np.corrcoef(expected, popular)[0, 1] > 0.95


def test_an_extended_model_is_the_posterior_wherever_new_lines_stand():
    """Rows and columns are numbered anew, in another order, with new ones between: as NumPy says, in double."""
    rng = np.random.default_rng(5)
    _, observations = communities()
    fit = bayesian.fit(observations)
    (m, n), (more_m, more_n) = observations.shape, (310, 206)
    new_row, new_col = rng.permutation(more_m)[:m], rng.permutation(more_n)[:n]  # where old ones stand now
    row_of, column_of = np.full(more_m, -1), np.full(more_n, -1)
    row_of[new_row], column_of[new_col] = np.arange(m), np.arange(n)
    rows, cols = new_row[observations.rows], new_col[observations.cols]
    spare = rng.random((more_m, more_n)) < 0.1
    spare[rows, cols] = False
    spare &= (row_of < 0)[:, None] | (column_of < 0)
    spare[new_row[:3]] |= (column_of >= 0) & (rng.random(more_n) < 0.05)  # known rows that rate more
    spare[rows, cols] = False
    i, j = np.nonzero(spare)
    whole = Observations.from_entries(
        np.append(rows, i),
        np.append(cols, j),
        np.append(observations.values, (3 + rng.standard_normal(len(i))).astype(np.float32)),
        (more_m, more_n),
    )
    changed = np.zeros(more_m, bool)
    changed[i] = True
    found = fit.extended(whole, row_of, column_of, changed)

    lines = whole.pattern.by_row, whole.pattern.by_column
    values = [(v - fit.mean) / fit.unit for v in whole.pattern.both_orders(whole.values)]
    means = []
    for side, of, other_of, own in zip(
        (fit.rows, fit.columns), (row_of, column_of), (column_of, row_of), lines, strict=True
    ):
        loadings = np.where(other_of[:, None] >= 0, side.presence.loadings[other_of], 0)
        prior = expected_of(side.presence, own, loadings) @ side.weights
        means.append((np.where(of[:, None] >= 0, side.means[of], prior), prior))

    def posterior(line, own, value, other, prior, covariance, weights, rounds):
        at = slice(own.indptr[line], own.indptr[line + 1])
        z, k = other[own.indices[at]].astype(float), other.shape[1] - 1
        x = np.column_stack([z[:, :k], np.ones(len(z))])
        precision, steady = np.linalg.inv(covariance), 1.0
        w = fit.precision * weights[own.indices[at]]
        for _ in range(rounds):  # rows once more, when it shows how reliable they are
            gram = precision + steady * x.T @ (w[:, None] * x)
            mean = np.linalg.solve(gram, precision @ prior + steady * x.T @ (w * (value[at] - z[:, k])))
            errors = np.sum((value[at] - z[:, k] - x @ mean) ** 2) + np.trace(np.linalg.solve(gram, x.T @ x))
            steady = (TUNING.reliability_entries + len(z)) / (TUNING.reliability_entries + fit.precision * errors)
        return mean

    (all_rows, row_prior), (all_cols, column_prior) = means
    for line in np.flatnonzero(column_of < 0):
        known = np.where(row_of >= 0, fit.rows.reliability[row_of], 1.0)
        prior, covariance = column_prior[line], fit.columns.covariance
        all_cols[line] = posterior(line, lines[1], values[1], all_rows, prior, covariance, known, 1)
    for line in np.flatnonzero((row_of < 0) | changed):
        prior, covariance, same = row_prior[line], fit.rows.covariance, np.ones(more_n)
        all_rows[line] = posterior(line, lines[0], values[0], all_cols, prior, covariance, same, 2)
    np.testing.assert_allclose(found.columns.means, all_cols, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.rows.means, all_rows, rtol=1e-3, atol=1e-3)
