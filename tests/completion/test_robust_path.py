"""The path that gross entries do not lead astray: its weights, where it ends, and what it says is far."""

import numpy as np
import pytest

from dmc import observe
from dmc.completion import robust_path
from dmc.completion.phases import Phases
from dmc.completion.robust_path import ReweightedPath, medians, standardised, trust
from dmc.solver.loop import Run
from dmc.solver.solution import Status
from spoilt_matrices import planted, spoilt, table


def walked(x: np.ndarray, weights: np.ndarray | None = None) -> tuple[ReweightedPath, Phases]:
    path, phases = ReweightedPath(observe(x), weights, 20), Phases(Run())
    path.run(phases)
    return path, phases


def far(x: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """(far, 2) the entries that lie beyond five typical residuals."""
    o = observe(x)
    at = walked(x, weights)[0].deviations > 5
    return np.column_stack([o.rows[at], o.cols[at]])


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2])
def test_a_path_alone_finds_the_gross_entries_of_an_exact_matrix(share):
    x, wrong = spoilt(planted((80, 70), 3, 0.7)[1], share)
    np.testing.assert_array_equal(far(x), wrong)


def test_a_clean_exact_matrix_has_none():
    assert len(far(planted((80, 70), 3, 0.7)[1])) == 0


@pytest.mark.parametrize("spread", [1e-100, 1e100])
def test_no_unit_matters(spread):
    x, wrong = spoilt(planted((60, 50), 2, 0.7)[1], 0.1)
    np.testing.assert_array_equal(far(spread * x), wrong)


def test_a_third_of_a_row_may_be_wrong():
    """Its other entries are learnt late and not cast out as a whole."""
    x = planted((60, 50), 2, 0.8)[1]
    rng, wrong = np.random.default_rng(0), []
    for row in (3, 17, 40):
        seen = np.flatnonzero(np.isfinite(x[row]))
        for col in np.sort(rng.choice(seen, len(seen) // 3, replace=False)):
            x[row, col] += rng.choice([-8, 8]) * np.nanstd(planted((60, 50), 2, 0.8)[1])
            wrong.append((row, col))
    np.testing.assert_array_equal(far(x), wrong)


def test_an_imprecise_entry_is_not_far():
    x = planted((60, 50), 2, 0.7)[1]
    rng = np.random.default_rng(0)
    noise = np.where(rng.random(x.shape) < 0.8, 0.02, 2.0)
    x += noise * rng.standard_normal(x.shape)
    o = observe(x)
    weights = noise[o.rows, o.cols] ** -2
    assert len(far(x)) > 0.1 * o.n_observed
    assert len(far(x, weights)) < 0.02 * o.n_observed


def test_noise_ends_the_path_before_it_is_followed():
    x = planted((60, 50), 2, 0.7, noise=0.2)[1]
    path, phases = walked(x)
    (phase,) = phases.history
    assert phases.run.status is Status.CONVERGED
    assert phase["phase"] == "path"
    assert phase["n_steps"] == phases.run.n_steps < 60
    assert 0.005 < phase["value"] < 0.2  # of the squares: noise is a twentieth
    assert path.deviations.max() < 8


def test_an_exact_matrix_is_followed_until_nothing_is_left():
    _, phases = walked(planted((60, 50), 2, 0.7)[1])
    assert phases.run.status is Status.CONVERGED
    assert phases.history[0]["value"] < 1e-11


def test_a_table_with_next_to_no_entries_has_none_to_hold_out():
    path, _ = walked(np.where(np.eye(6, dtype=bool), 1.0 + np.arange(6), np.nan))
    assert np.isfinite(path.deviations).all()


def test_where_most_entries_are_zero_the_others_are_not_far():
    x = np.random.default_rng(0).poisson(0.2, (100, 30)).astype(float)
    assert (walked(x)[0].deviations > 5).mean() < 0.02


# --- pieces


def test_medians_of_each_line():
    values, at = np.array([5.0, 1, 2, 8, 4, 7]), np.array([0, 0, 0, 2, 2, 3])
    np.testing.assert_array_equal(medians(values, at, 5), [2, 0, 6, 7, 0])
    np.testing.assert_array_equal(medians(values, at, 5, np.argsort(values)), [2, 0, 6, 7, 0])


def test_medians_of_many_lines():
    rng = np.random.default_rng(0)
    values, at = rng.standard_normal(2_000), rng.integers(0, 40, 2_000)
    np.testing.assert_array_equal(medians(values, at, 40), [np.median(values[at == i]) for i in range(40)])


def test_short_lines_have_no_median_of_their_own():
    at = np.repeat([0, 1], [9, 10])
    np.testing.assert_array_equal(robust_path._of_lines(np.ones(19), at, 2, np.arange(19)), [0, 1])


def test_columns_are_standardised_by_their_majority():
    x = 100 + 3 * np.random.default_rng(0).standard_normal((500, 2))
    x[:100, 0] = 1e9
    z = standardised(observe(x))
    clean = z.values[(z.cols == 0) & (z.rows >= 100)]
    assert abs(np.median(clean)) < 0.5
    assert 0.5 < clean.std() < 1.2


def test_columns_of_mostly_one_value_are_standardised_by_all():
    x = np.zeros((100, 2))
    x[:10, 0] = 5
    z = standardised(observe(x))
    assert np.sqrt(np.mean(z.values[z.cols == 0] ** 2)) == pytest.approx(1)
    assert not z.values[z.cols == 1].any()


def test_what_is_far_counts_next_to_nothing():
    counted = trust(np.array([0.0, 5.0, 1e3]))
    assert (np.diff(counted) < 0).all()
    assert counted[2] < 1e-5 * counted[0]


def test_a_row_with_two_wrong_entries_of_six_is_not_followed():
    """With its own median as the scale it would be: four others would lie as far."""
    truth, x, _ = table(209)
    hidden = ~np.isfinite(x)
    rng = np.random.default_rng(209)
    wrong = ~hidden & (rng.random(x.shape) < 0.03)
    x[wrong] += (10 * rng.choice([-1, 1], x.shape) * truth.std(axis=0))[wrong]
    found = set(map(tuple, far(x)))
    assert {(56, 4), (56, 6)} <= set(map(tuple, np.argwhere(wrong)))
    assert {(56, 4), (56, 6)} <= found
