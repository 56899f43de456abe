"""Levels and spreads of columns and rows: there and back without loss, and whether a table has units at all."""

import numpy as np
import pytest

from dmc import Factors, Observations, datasets, observe
from dmc.completion import tuning
from dmc.completion.results import transposed
from dmc.completion.scaling import Scaling, gain

SIDES = ("columns", "rows")


def table(shape=(40, 25), share=0.6, seed=0, level=0.0, size=1.0) -> Observations:
    """Standard normal entries in other units; level and size may be one for each column."""
    rng = np.random.default_rng(seed)
    return observe(level + size * rng.standard_normal(shape), rng.random(shape) < share)


def turned(observations: Observations, side: str) -> Observations:
    return transposed(observations) if side == "rows" else observations


def lines_of(observations: Observations, side: str) -> tuple[np.ndarray, int]:
    if side == "rows":
        return observations.rows, observations.shape[0]
    return observations.cols, observations.shape[1]


def as_factors(observations: Observations) -> Factors:
    """A matrix that has exactly these entries, and zeros elsewhere."""
    return Factors(observations.to_scipy().toarray(), (), np.eye(observations.shape[1]))


def there_and_back(observed: Observations, scaling: Scaling) -> np.ndarray:
    standardised = scaling.standardised(observed)
    return scaling.restored(as_factors(standardised)).at(observed.rows, observed.cols)


# --- what a scaling is


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("weighted", [False, True])
def test_location_and_spread_are_weighted_moments_of_each_line(side, weighted):
    observed = table(level=3.0, size=np.geomspace(0.01, 100, 25))
    weights = np.random.default_rng(1).uniform(0.1, 5, observed.n_observed) if weighted else None
    scaling = Scaling.of(observed, side, weights)
    at, lines = lines_of(observed, side)
    for line in range(lines):
        x = observed.values[at == line]
        w = np.ones(len(x)) if weights is None else weights[at == line]
        mean = np.average(x, weights=w)
        assert scaling.location[line] == pytest.approx(mean, rel=1e-12)
        assert scaling.spread[line] == pytest.approx(np.sqrt(np.average((x - mean) ** 2, weights=w)), rel=1e-12)
    assert not scaling.constant.any()


def test_whole_weights_are_repetitions():
    """A column that holds each of its entries as often as it counts."""
    x, times = np.array([1.0, 4.0, -2.0, 7.0]), np.array([1, 3, 2, 5])
    weighed = Scaling.of(observe(x[:, None]), "columns", times.astype(float))
    repeated = Scaling.of(observe(np.repeat(x, times)[:, None]), "columns")
    np.testing.assert_allclose(weighed.location, repeated.location, rtol=1e-14)
    np.testing.assert_allclose(weighed.spread, repeated.spread, rtol=1e-14)


@pytest.mark.parametrize("side", SIDES)
def test_an_entry_of_next_to_no_weight_has_no_influence(side):
    observed = table()
    weights = np.ones(observed.n_observed)
    weights[7] = 1e-9
    wild = observed.with_values(np.where(np.arange(observed.n_observed) == 7, 1e3, observed.values))
    one, other = Scaling.of(observed, side, weights), Scaling.of(wild, side, weights)
    np.testing.assert_allclose(one.location, other.location, rtol=0, atol=1e-6)
    np.testing.assert_allclose(one.spread, other.spread, rtol=0, atol=1e-4)  # 1e3² of the weight, and its root


def test_no_side_is_left_as_it_is():
    observed = table(level=5.0)
    scaling = Scaling.of(observed, "none")
    np.testing.assert_array_equal(scaling.standardised(observed).values, observed.values)
    factors = as_factors(observed)
    assert scaling.restored(factors) is factors


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("level", "size"), [(0, 1), (-7, 0.3), (1e3, 20), (1e-150, 1e-150), (-1e150, 1e150)])
def test_standardised_lines_have_level_0_and_spread_1(side, level, size):
    observed = turned(table(level=level, size=size), side)
    standardised = Scaling.of(observed, side).standardised(observed)
    again = Scaling.of(standardised, side)
    np.testing.assert_allclose(again.location, 0, atol=1e-12)
    np.testing.assert_allclose(again.spread, 1, rtol=1e-12)


# --- there and back


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("level", "size"), [(0, 1), (1e8, 1), (-1e8, 1e-2), (1e-150, 1e-150), (1e150, 1e150), (3e-300, 1e-300), (0, 1e300)]
)
def test_restored_is_the_inverse_of_standardised(side, level, size):
    observed = turned(table(level=level, size=size), side)
    scaling = Scaling.of(observed, side)
    found = there_and_back(observed, scaling)
    largest = np.abs(observed.values).max()
    np.testing.assert_allclose(found / largest, observed.values / largest, rtol=0, atol=1e-15)


@pytest.mark.parametrize("side", SIDES)
def test_lines_of_very_different_units_come_back_each_to_its_own_rounding(side):
    units = np.resize([1e-150, 1e-8, 1.0, 1e8], 25)
    observed = turned(table(size=units), side)
    scaling = Scaling.of(observed, side)
    assert not scaling.constant.any()
    np.testing.assert_allclose(there_and_back(observed, scaling), observed.values, rtol=1e-13)


def test_squares_of_small_columns_beside_large_ones_do_not_underflow():
    # to be constant, and all of it becomes its last value.
    observed = table(size=np.resize([1e-150, 1e150], 25))
    scaling = Scaling.of(observed, "columns")
    assert not scaling.constant.any()
    np.testing.assert_allclose(there_and_back(observed, scaling), observed.values, rtol=1e-13)


def test_an_offset_of_ten_million_spreads_leaves_the_spread():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((200, 1))
    scaling = Scaling.of(observe(1e8 + 10 * noise), "columns")
    assert scaling.spread[0] == pytest.approx(10 * noise.std(), rel=1e-7)
    assert scaling.location[0] - 1e8 == pytest.approx(10 * noise.mean(), abs=1e-7)


@pytest.mark.parametrize("side", SIDES)
def test_biases_and_factors_are_restored_alike(side):
    rng = np.random.default_rng(0)
    U, V, bias = (
        rng.standard_normal((6, 2)),
        rng.standard_normal((5, 2)),
        rng.standard_normal(6 if side == "rows" else 5),
    )
    scaling = Scaling(side, rng.standard_normal(len(bias)), rng.uniform(0.1, 9, len(bias)), np.zeros(len(bias), bool))
    given = Factors(U, (), V, **{"row_bias" if side == "rows" else "column_bias": bias})
    turn = (slice(None), None) if side == "rows" else slice(None)
    wanted = given.dense() * scaling.spread[turn] + scaling.location[turn]
    np.testing.assert_allclose(scaling.restored(given).dense(), wanted, rtol=1e-13, atol=1e-13)


# --- constant lines


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("value", [0.0, 0.1, -1e8, 1e-200])
def test_a_constant_line_keeps_its_value_to_the_bit(side, value):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 6)) * max(abs(value), 1e-3)
    X[:, 2] = value
    observed = turned(observe(X, rng.random((40, 6)) < 0.7), side)
    scaling = Scaling.of(observed, side)
    assert np.flatnonzero(scaling.constant).tolist() == [2]
    at, _ = lines_of(observed, side)
    assert not scaling.standardised(observed).values[at == 2].any()
    np.testing.assert_array_equal(there_and_back(observed, scaling)[at == 2], value)


def test_a_line_of_one_entry_is_constant_and_one_of_none_lies_at_zero():
    observed = Observations.from_entries(np.array([0, 1, 2]), np.array([0, 0, 1]), np.array([1.0, 2.0, 5.0]), (3, 3))
    scaling = Scaling.of(observed, "columns")
    assert scaling.constant.tolist() == [False, True, True]
    np.testing.assert_allclose(scaling.location, [1.5, 5, 0], rtol=1e-15)
    np.testing.assert_allclose(scaling.spread, [0.5, 1, 1], rtol=1e-15)


def test_what_only_rounding_spreads_is_constant():
    x = np.array([1 / 3, 1 / 3 * (1 + 2e-16), 1 / 3, 1 / 3 * (1 - 2e-16)])
    assert Scaling.of(observe(x[:, None]), "columns").constant.all()
    assert not Scaling.of(observe((1 + 1e-9 * np.arange(4))[:, None]), "columns").constant.any()


# --- gains


def gains(observed) -> dict[str, float]:
    return {side: gain(observed, side) for side in ("columns", "rows")}


def test_columns_in_units_are_worth_a_scaling():
    X = np.random.default_rng(0).standard_normal((200, 8)) * np.geomspace(1, 1e4, 8) + np.geomspace(1e3, 1, 8)
    found = gains(observe(X, np.random.default_rng(1).random(X.shape) < 0.7))
    assert found["columns"] > 2 * tuning.SCALING.min_gain
    assert found["columns"] > found["rows"]


def test_the_gain_is_that_of_gaussians_with_known_spreads():
    """Of many entries: ½ log of the mean square, less the mean of ½ log of each column's variance."""
    sizes = np.geomspace(1, 100, 6)
    X = np.random.default_rng(0).standard_normal((5000, 6)) * sizes + 3 * sizes
    wanted = 0.5 * np.log(10 * np.mean(sizes**2)) - np.mean(np.log(sizes))
    assert gains(observe(X))["columns"] == pytest.approx(wanted, abs=0.03)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.8])
@pytest.mark.parametrize(("shape", "rank"), [((100, 80), 2), ((100, 80), 4), ((300, 20), 3), ((30, 200), 10)])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_planted_matrices_have_no_units(shape, rank, share, noise):
    """Nor do rows of a single entry or none make any, of which 0.1 of (300, 20) leaves some."""
    found = gains(datasets.planted(shape, rank, share, noise=noise).observations)
    assert max(found.values()) < tuning.SCALING.min_gain


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_transposing_exchanges_the_sides(share):
    observed = table((60, 20), share, level=np.arange(20.0), size=np.geomspace(0.1, 10, 20))
    one, other = gains(observed), gains(transposed(observed))
    assert one["columns"] == pytest.approx(other["rows"], rel=1e-12)
    assert one["rows"] == pytest.approx(other["columns"], rel=1e-12)


@pytest.mark.parametrize("factor", [1e-200, -1e200, 1e-9])
def test_the_size_of_all_entries_does_not_matter(factor):
    observed = table(level=np.arange(25.0))
    for side, won in gains(observed).items():
        assert gains(observed.with_values(factor * observed.values))[side] == pytest.approx(won, rel=1e-12)


def test_constant_columns_and_zeros_have_finite_gains():
    X = np.ones((30, 4)) * [1.0, 2.0, 0.0, 5.0]
    assert gains(observe(X))["columns"] > tuning.SCALING.min_gain
    for zeros in (np.zeros((30, 4)), np.zeros((1, 1))):
        assert all(np.isfinite(won) and won < 1e-9 for won in gains(observe(zeros)).values())


def test_lines_of_one_entry_are_no_evidence():
    """Nobody gains by telling the level of a column that has a single entry."""
    observed = observe(np.diag(np.geomspace(1, 1e3, 30)), np.eye(30) == 1)
    assert max(gains(observed).values()) < 1e-9


@pytest.mark.parametrize("side", SIDES)
def test_lines_without_entries_change_no_gain(side):
    observed = turned(table(), side)
    m, n = observed.shape
    padded = Observations.from_entries(observed.rows, observed.cols, observed.values, (m + 7, n + 5))
    assert gains(padded)[side] == pytest.approx(gains(observed)[side], rel=1e-12)
