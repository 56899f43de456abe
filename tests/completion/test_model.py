"""A fitted model: rows folded in, the noise, standard deviations and draws, against planted answers and formulas."""

import math
from dataclasses import replace

import numpy as np
import pytest

from dmc import Factors, Observations, datasets, observe
from dmc.completion.model import Model, in_units
from dmc.completion.scaling import Scaling
from dmc.pattern import SparseIndex
from dmc.solver.row_solve import LEAST_NOISE

SIDES = ("none", "columns", "rows")
NORMAL_90 = 1.6448536269514722


def least_squares(observed: Observations, start: Factors, sweeps: int = 15) -> Factors:
    """Alternating least squares, with a bias on the side on which the start has one."""
    m, n = observed.shape
    X, seen = observed.to_scipy().toarray(), np.zeros((m, n))
    seen[observed.rows, observed.cols] = 1
    U, V, k = start.left, start.right, start.width
    row, column = start.row_bias is not None, start.column_bias is not None

    def solved(own, other, X, seen, fixed):
        """The vectors of lines; where `fixed`, their last number is 1, for the other side has a bias."""
        free = slice(0, own.shape[1] - fixed)
        left = X - seen * other[:, -1] if fixed else X
        grams = np.einsum("ij,jk,jl->ikl", seen, other[:, free], other[:, free], optimize=True)
        new = own.copy()
        new[:, free] = np.linalg.solve(grams, ((seen * left) @ other[:, free])[:, :, None])[:, :, 0]
        return new

    for _ in range(sweeps):
        U = solved(U, V, X, seen, column)
        V = solved(V, U, X.T, seen.T, row)
    biases = {"row_bias": U[:, k]} if row else {"column_bias": V[:, k]} if column else {}
    return Factors(U[:, :k], (), V[:, :k], **biases)


class Case:
    """A planted matrix, its lines of one side in units, and the model that least squares make of it."""

    def __init__(self, side="none", shape=(60, 40), rank=2, share=0.5, noise=0.2, seed=0, unit=True, weights=False):
        problem = datasets.planted(shape, rank, share, seed=seed)
        rng = np.random.default_rng(seed + 1)
        lines = shape[0] if side == "rows" else shape[1]
        s, level = np.ones(lines), np.zeros(lines)
        if side != "none" and unit:
            s, level = np.geomspace(0.1, 10, lines), rng.uniform(-3, 3, lines)
        s, level = rng.permutation(s), level * s
        bias = {"rows": {"row_bias": level / s}, "columns": {"column_bias": level / s}, "none": {}}[side]
        self.planted = Factors(problem.A, (), problem.B, **bias)  # in units of each line
        self.units = Scaling(side, np.zeros(lines), s, np.zeros(lines, bool))
        self.truth, self.sigma = self.units.restored(self.planted), noise * s
        self.rng, self.side, self.turn = rng, side, (slice(None), None) if side == "rows" else slice(None)
        at = problem.observations
        self.weights = rng.choice([0.5, 1.5], at.n_observed) if weights else None
        missed = noise * rng.standard_normal(shape)
        if weights:
            missed[at.rows, at.cols] /= np.sqrt(self.weights)
        self.measured = self.truth.dense() + missed * s[self.turn]
        self.observed = at.with_values(self.measured[at.rows, at.cols])
        self.model = self.fitted(self.observed, self.weights) if noise else self.of(self.truth, self.observed)

    def of(self, factors: Factors, observed: Observations, weights: np.ndarray | None = None) -> Model:
        return Model.of(factors, Scaling.of(observed, self.side), self.sigma, observed, weights)

    def fitted(self, observed: Observations, weights: np.ndarray | None = None) -> Model:
        standard = self.units.standardised(observed)
        return self.of(self.units.restored(least_squares(standard, self.planted)), observed, weights)

    def hidden(self) -> tuple[np.ndarray, np.ndarray]:
        mask = np.ones(self.observed.shape, bool)
        mask[self.observed.rows, self.observed.cols] = False
        return np.nonzero(mask)


def rms(array) -> float:
    return float(np.sqrt(np.mean(np.square(array))))


def everywhere(model: Model) -> np.ndarray:
    """Deviations at all positions."""
    shape = model.factors.shape
    return model.deviations(*np.indices(shape).reshape(2, -1)).reshape(shape)


@pytest.fixture(scope="module", params=SIDES)
def case(request) -> Case:
    return Case(request.param)


# --- folding in


def test_fitted_rows_are_folded_in_as_they_were_fitted(case):
    """But for what the population of rows says, which is little beside twenty entries."""
    folded, nothing = case.model.fold_in(case.observed)
    assert nothing is None
    fit, truth, noise = case.model.factors.dense(), case.truth.dense(), case.sigma[case.turn]
    assert rms((folded.dense() - fit) / noise) < 0.2
    assert rms((folded.dense() - truth) / noise) < 1.05 * rms((fit - truth) / noise)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("side", ["none", "columns"])
def test_a_folded_row_is_the_posterior_of_its_population(side, weighted):
    """By the other form of the formula: that of the covariance of a row's entries."""
    case = Case(side)
    model, observed = case.model, case.observed
    weights = case.rng.uniform(0.2, 3, observed.n_observed) if weighted else None
    folded, covariances = model.fold_in(observed, weights, covariances=True)
    V = model.factors.V
    level = np.zeros(len(V)) if model.factors.column_bias is None else model.factors.column_bias
    w = np.ones(observed.n_observed) if weights is None else weights / weights.mean()
    for i in range(0, 60, 7):
        own = observed.rows == i
        cols = observed.cols[own]
        F = V[cols]
        joint = F @ model.covariance @ F.T + np.diag(model.noise[cols] ** 2 / w[own])
        gain = model.covariance @ F.T @ np.linalg.inv(joint)
        wanted = model.mean + gain @ (observed.values[own] - level[cols] - F @ model.mean)
        np.testing.assert_allclose(folded.U[i], wanted, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(covariances[i], model.covariance - gain @ F @ model.covariance, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("noise", [0.0, 1e-12])
@pytest.mark.parametrize("side", SIDES)
def test_an_exact_model_folds_new_rows_in(side, noise):
    """Rows that no fit has seen, in the units of their columns or in units of their own."""
    case = Case(side, noise=0)
    model = replace(case.model, noise=np.full_like(case.model.noise, noise))
    rng = np.random.default_rng(5)
    A = rng.standard_normal((30, 2)) @ np.linalg.cholesky(np.cov(case.planted.U.T)).T
    size = np.ones((30, 1))
    if side == "rows":
        size = np.geomspace(1e-3, 1e3, 30)[:, None]
        X = size * (A @ case.planted.V.T + rng.uniform(-3, 3, (30, 1)))
    else:
        X = replace(case.truth, U=A).dense()
    folded, _ = model.fold_in(observe(X, rng.random(X.shape) < 0.4))
    np.testing.assert_allclose(folded.dense() / size, X / size, rtol=0, atol=1e-9 * np.abs(X / size).max())


@pytest.mark.parametrize("side", SIDES)
def test_a_row_without_entries_is_the_mean_row(side):
    case = Case(side)
    nothing = observe(np.full((3, 40), np.nan), allow_empty=True)
    folded, covariances = case.model.fold_in(nothing, covariances=True)
    mean = case.model.mean
    if side == "rows":  # nobody knows its level, nor its spread
        np.testing.assert_allclose(folded.row_bias, mean[-1])
        mean = mean[:-1]
    np.testing.assert_allclose(folded.U, np.tile(mean, (3, 1)))
    np.testing.assert_allclose(covariances, np.tile(case.model.covariance, (3, 1, 1)), atol=1e-12)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_rows_in_units_of_their_own_are_folded_in_alike_in_any_unit(factor):
    case = Case("rows")
    one, S = case.model.fold_in(case.observed, covariances=True)
    shifted = case.observed.with_values(factor * (case.observed.values + 7))
    other, T = case.model.fold_in(shifted, covariances=True)
    np.testing.assert_allclose(other.dense() / factor, one.dense() + 7, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(T / factor**2, S, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_is_that_of_the_fit(dtype):
    case = Case("columns")
    model = replace(case.model, factors=case.model.factors.map(lambda a: a.astype(dtype)))
    folded, _ = model.fold_in(case.observed)
    assert folded.U.dtype == folded.dense().dtype == dtype


def test_an_entry_of_next_to_no_weight_moves_no_row(case):
    weights = np.ones(case.observed.n_observed)
    weights[::9] = 1e-12
    wild = case.observed.with_values(np.where(weights < 1, -case.observed.values - 9, case.observed.values))
    one, other = (case.model.fold_in(observed, weights)[0].dense() for observed in (case.observed, wild))
    np.testing.assert_allclose(one / case.sigma[case.turn], other / case.sigma[case.turn], rtol=0, atol=2e-5)


# --- noise


@pytest.mark.parametrize(
    ("shape", "rank", "share"), [((60, 40), 2, 0.5), ((300, 20), 3, 0.6), ((20, 300), 3, 0.6), ((100, 90), 6, 0.4)]
)
@pytest.mark.parametrize("sigma", [1e-5, 0.01, 0.3])
def test_the_noise_is_estimated_near_the_planted_one(shape, rank, share, sigma):
    """What least squares leave is less, by the freedom that they take."""
    problem = datasets.planted(shape, rank, share, noise=sigma, seed=3)
    observed = problem.observations
    found = least_squares(observed, Factors(problem.A, (), problem.B), 30)
    model = Model.of(found, Scaling.of(observed, "none"), None, observed)
    assert model.noise.shape == (shape[1],)
    assert np.ptp(model.noise) == 0
    assert model.noise[0] == pytest.approx(sigma, rel=4 / math.sqrt(2 * observed.n_observed))


def test_directions_of_noise_count_for_what_they_fit():
    """Of nine directions seven fit noise, and more of it than they have freedom: they chose what to fit."""
    problem = datasets.planted((120, 90), 2, 0.6, noise=0.3)
    observed, rng = problem.observations, np.random.default_rng(0)
    wide = [np.column_stack([A, 0.3 * rng.standard_normal((len(A), 7))]) for A in (problem.A, problem.B)]
    found = least_squares(observed, Factors(wide[0], (), wide[1]), 30)
    left = rms(found.at(observed.rows, observed.cols) - observed.values)
    model = Model.of(found, Scaling.of(observed, "none"), None, observed)
    assert left < 0.23
    assert left + 0.4 * (0.3 - left) < model.noise[0] < 0.3


def test_no_residual_is_no_noise():
    case = Case(noise=0)
    assert Model.of(case.truth, case.model.scaling, None, case.observed).noise.max() < 1e-14


def test_no_directions_leave_the_noise_of_the_levels():
    observed = observe(np.arange(5.0) + 0.7 * np.random.default_rng(0).standard_normal((400, 5)))
    scaling = Scaling.of(observed, "columns")
    factors = Factors(np.zeros((400, 0)), (), np.zeros((5, 0)), None, scaling.location)
    model = Model.of(factors, scaling, None, observed)
    assert model.noise[0] == pytest.approx(0.7, rel=0.06)
    np.testing.assert_allclose(model.deviations(np.arange(5), np.arange(5)), model.noise, rtol=0.01)


# --- deviations


@pytest.mark.parametrize("share", [0.3, 0.6])
@pytest.mark.parametrize("side", SIDES)
def test_intervals_hold_as_many_held_out_entries_as_they_say(side, share):
    case = Case(side, (120, 80), 3, share)
    rows, cols = case.hidden()
    z = (case.measured[rows, cols] - case.model.factors.at(rows, cols)) / case.model.deviations(rows, cols)
    assert 0.87 < np.mean(np.abs(z) < NORMAL_90) < 0.93
    assert rms(z) == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("side", SIDES)
def test_deviations_tell_known_entries_from_unknown_ones(side):
    """Rows of a few entries beside rows of fifty: intervals cover alike in both, and differ in width."""
    case = Case(side, (150, 80), 2, 0.6)
    observed = case.observed
    order = np.arange(observed.n_observed) - observed.pattern.by_row.indptr[observed.rows]
    model = case.fitted(observed.take((observed.rows % 3 > 0) | (order % 8 == 0)))
    rows, cols = case.hidden()
    deviations = model.deviations(rows, cols)
    z = np.abs(case.measured[rows, cols] - model.factors.at(rows, cols)) / deviations
    sparse = rows % 3 == 0
    for those in (sparse, ~sparse):
        assert 0.85 < np.mean(z[those] < NORMAL_90) < 0.94
    relative = deviations / (case.sigma[rows] if side == "rows" else case.sigma[cols])
    assert np.median(relative[sparse]) > 1.08 * np.median(relative[~sparse])
    assert (relative > 1).all()


def test_deviations_are_those_of_the_formula():
    """Entry by entry: noise, row given columns, column given rows, and both at once."""
    case = Case("columns", weights=True)
    model, observed = case.model, case.observed
    U, V, level = model.factors.U, model.factors.V, model.factors.column_bias
    at = {(i, j): w for i, j, w in zip(observed.rows, observed.cols, case.weights, strict=True)}
    spread, location = model.scaling.spread, model.scaling.location
    own = np.column_stack([V, level - location]) / spread[:, None]
    prior_row, prior_column = np.linalg.inv(U.T @ U / len(U)), np.linalg.inv(own.T @ own / len(own))
    left = np.column_stack([U, np.ones(len(U))])
    for i, j in [(0, 0), (7, 31), (59, 5), (31, 39)]:
        row = prior_row + sum(w / model.noise[c] ** 2 * np.outer(V[c], V[c]) for (r, c), w in at.items() if r == i)
        others = sum(w / model.noise[j] ** 2 * np.outer(left[r], left[r]) for (r, c), w in at.items() if c == j)
        S, C = np.linalg.inv(row), np.linalg.inv(prior_column / spread[j] ** 2 + others)
        wanted = model.noise[j] ** 2 + V[j] @ S @ V[j] + left[i] @ C @ left[i] + np.trace(S @ C[:2, :2])
        assert model.deviations(np.array([i]), np.array([j]))[0] == pytest.approx(math.sqrt(wanted), rel=1e-9)
        np.testing.assert_allclose(model.covariances(0, np.array([i]))[0], S, rtol=1e-7, atol=1e-7 * S.max())
        np.testing.assert_allclose(model.covariances(1, np.array([j]))[0], C, rtol=1e-7, atol=1e-7 * C.max())


def test_pairs_may_come_in_any_order_and_repeat(case):
    rows, cols = np.array([5, 2, 5, 59, 2]), np.array([1, 39, 1, 0, 3])
    np.testing.assert_allclose(case.model.deviations(rows, cols), everywhere(case.model)[rows, cols], rtol=1e-9)
    assert len(case.model.deviations(rows[:0], cols[:0])) == 0


def test_some_lines_have_the_covariances_that_they_have_among_all(case):
    some = np.array([3, 17, 39])
    for side in (0, 1):
        np.testing.assert_allclose(case.model.covariances(side, some), case.model.covariances(side)[some], rtol=1e-9)


def test_calibration_is_a_factor(case):
    wider = replace(case.model, calibration=1.5)
    np.testing.assert_allclose(everywhere(wider), 1.5 * everywhere(case.model))


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_the_unit_of_one_column_is_no_concern_of_the_others(unit):
    # large unit makes what the others say worthless.
    case = Case("columns", unit=False)
    units = np.where(np.arange(40) == 3, unit, 1.0)
    factors, scaling = case.model.factors, case.model.scaling
    observed = case.observed.with_values(case.observed.values * units[case.observed.cols])
    other = Model.of(
        Factors(factors.U, (), factors.V * units[:, None], None, factors.column_bias * units),
        Scaling("columns", scaling.location * units, scaling.spread * units, scaling.constant),
        case.model.noise * units,
        observed,
    )
    folded = [model.fold_in(x)[0].dense() for model, x in ((case.model, case.observed), (other, observed))]
    np.testing.assert_allclose(folded[1] / units, folded[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(everywhere(other) / units, everywhere(case.model), rtol=0.02)


@pytest.mark.parametrize("side", SIDES)
def test_an_exact_model_is_sure_of_what_it_has_seen(side):
    """And of all that it determines: to LEAST_NOISE, below which only rounding is left."""
    case = Case(side, noise=0)
    model = replace(case.model, noise=np.zeros_like(case.model.noise))
    assert everywhere(model).max() < 20 * LEAST_NOISE * np.abs(case.truth.dense()).max()


# --- deviations of folded rows


@pytest.mark.parametrize("share", [0.3, 0.5])
@pytest.mark.parametrize("side", ["none", "columns"])
def test_deviations_of_folded_rows_are_those_of_fitted_ones(side, share):
    """Their priors differ: second moments of the fitted, mean and covariance for new ones."""
    case = Case(side, share=share)
    folded, of_rows = case.model.fold_in(case.observed, covariances=True)
    np.testing.assert_allclose(
        case.model.row_deviations(case.observed, folded, of_rows), everywhere(case.model), rtol=0.05
    )


@pytest.mark.parametrize("side", ["none", "columns"])
def test_a_row_without_entries_is_least_known(side):
    case = Case(side)
    first = np.where(np.arange(40) < 20, case.measured[:1], np.nan)
    new = observe(np.vstack([first, np.full(40, np.nan)]))
    folded, of_rows = case.model.fold_in(new, covariances=True)
    known, unknown = case.model.row_deviations(new, folded, of_rows)
    assert (unknown > known).all()
    assert np.median(unknown / known) > 2


@pytest.mark.parametrize("few", [24, 100])
@pytest.mark.parametrize("side", SIDES)
def test_intervals_of_new_rows_cover_what_they_say(side, few):
    """Also where few rows were fitted."""
    case = Case(side, (few + 200, 60), 3, 0.6, unit=False)
    observed = case.observed
    keep = observed.rows < few
    lines = SparseIndex(observed.pattern.by_row.indptr[: few + 1], observed.cols[keep])
    train = Observations.from_lines(lines, observed.values[keep], (few, 60))
    bias = {name: getattr(case.planted, name) for name in ("row_bias", "column_bias")}
    if side == "rows":
        bias["row_bias"] = bias["row_bias"][:few]
    found = least_squares(train, Factors(case.planted.U[:few], (), case.planted.V, **bias))
    noise = case.sigma[:few] if side == "rows" else case.sigma
    model = Model.of(found, Scaling.of(train, side), noise, train)
    seen = np.zeros(case.measured.shape, bool)
    seen[observed.rows, observed.cols] = True
    new, seen = case.measured[few:], seen[few:]
    entries = observe(new, seen)
    folded, of_rows = model.fold_in(entries, covariances=True)
    z = (new - folded.dense()) / model.row_deviations(entries, folded, of_rows)
    assert 0.87 < np.mean(np.abs(z[~seen]) < NORMAL_90) < 0.93


# --- draws


def test_draws_have_the_mean_and_the_deviation_that_are_told(case):
    rng = np.random.default_rng(0)
    draws = np.stack([case.model.draw(rng) for _ in range(400)])
    deviations = everywhere(case.model)
    z = 20 * (draws.mean(axis=0) - case.model.factors.dense()) / deviations
    assert np.abs(z).max() < 5
    assert rms(z) == pytest.approx(1, abs=0.1)
    ratio = draws.std(axis=0) / deviations
    assert np.abs(ratio - 1).max() < 5 / math.sqrt(800)
    assert ratio.mean() == pytest.approx(1, abs=0.005)


def test_the_same_seed_draws_the_same(case):
    one, other, third = (case.model.draw(np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, other)
    assert (one != third).all()


# --- rows that stood there several times, units, populations


@pytest.mark.parametrize("side", SIDES)
def test_rows_that_were_repeated_stand_there_once(side):
    case = Case(side)
    times = np.random.default_rng(0).integers(0, 4, 60)
    often, origin = case.observed.repeat_rows(times)
    factors = case.model.factors
    row_bias = None if factors.row_bias is None else factors.row_bias[origin]
    noise = case.sigma[origin] if side == "rows" else case.sigma
    model = Model.of(replace(factors, U=factors.U[origin], row_bias=row_bias), Scaling.of(often, side), noise, often)
    weights = np.repeat(times, case.observed.pattern.row_counts).astype(float)
    once = model.of_rows(origin, case.observed.pattern, weights)
    there = times > 0
    np.testing.assert_array_equal(once.factors.dense()[there], factors.dense()[there])
    assert not once.factors.U[~there].any()
    assert once.pattern is case.observed.pattern
    np.testing.assert_array_equal(once.mean, model.mean)
    np.testing.assert_array_equal(once.covariance, model.covariance)
    if side != "rows":
        np.testing.assert_array_equal(once.noise, model.noise)
        return
    own = Scaling.of(case.observed, "rows")
    np.testing.assert_allclose(once.scaling.location[there], own.location[there], rtol=1e-12)
    np.testing.assert_allclose(once.scaling.spread[there], own.spread[there], rtol=1e-12)
    assert (once.scaling.spread[~there] == 1).all()
    np.testing.assert_array_equal(once.noise[there], case.sigma[there])


def test_a_row_that_weighs_twice_says_of_columns_what_two_say():
    """Given the prior: that of all rows together is put in the place of both."""
    case = Case()
    times = np.where(np.arange(60) % 2, 1, 3)
    often, origin = case.observed.repeat_rows(times)
    factors = replace(case.model.factors, U=case.model.factors.U[origin])
    model = Model.of(factors, Scaling.of(often, "none"), case.sigma, often)
    once = model.of_rows(
        origin, case.observed.pattern, np.repeat(times, case.observed.pattern.row_counts).astype(float)
    )
    np.testing.assert_allclose(once.covariances(1), model.covariances(1), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 2.5, 1e9])
@pytest.mark.parametrize("side", SIDES)
def test_in_units_is_the_matrix_times_a_number(side, unit):
    factors = Case(side).truth
    scaled = in_units(factors, unit)
    np.testing.assert_allclose(scaled.dense() / unit, factors.dense(), rtol=1e-12, atol=1e-12)
    ratio = np.linalg.norm(factors.U) / np.linalg.norm(factors.V)
    assert np.linalg.norm(scaled.U) / np.linalg.norm(scaled.V) == pytest.approx(ratio, rel=1e-12)


def test_few_rows_leave_directions_open():
    """Two rows differ in one direction; a third may differ in any."""
    V = np.random.default_rng(0).standard_normal((9, 3))
    factors = Factors(np.array([[1.0, 0, 0], [2.0, 0, 0]]), (), V)
    observed = observe(factors.dense())
    model = Model.of(factors, Scaling.of(observed, "none"), np.full(9, 0.1), observed)
    new = observe(np.array([[0.0, 1.0, -1.0]]) @ V.T)
    np.testing.assert_allclose(model.fold_in(new)[0].U, [[0, 1, -1]], atol=0.1)


def test_rows_without_entries_say_nothing_of_the_population():
    case = Case()
    padded = Observations.from_entries(case.observed.rows, case.observed.cols, case.observed.values, (90, 40))
    factors = replace(case.model.factors, U=np.vstack([case.model.factors.U, np.full((30, 2), 1e6)]))
    model = Model.of(factors, case.model.scaling, case.model.noise, padded)
    np.testing.assert_allclose(model.mean, case.model.mean)
    np.testing.assert_allclose(model.covariance, case.model.covariance)


def test_products_with_zeros_for_gaps_and_without_are_the_same(monkeypatch):
    case = Case("columns", weights=True)
    found = []
    for share in (0.0, 1.1):
        monkeypatch.setattr("dmc.solver.row_solve.DENSE", share)
        folded, of_rows = case.model.fold_in(case.observed, case.weights, covariances=True)
        found.append((folded.U, of_rows, everywhere(case.model)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-12)
