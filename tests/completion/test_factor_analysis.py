"""Factor analysis of tables with gaps: planted loadings and noise, the oracle's predictions, weights, odd tables."""

import dataclasses
import itertools
import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from scipy import sparse

from dmc import Factors, Observations, observe
from dmc.completion import factor_analysis, tuning
from dmc.completion.factor_analysis import Analysis, Entries, FactorAnalysis, finished, fit
from dmc.completion.scaling import Scaling
from dmc.pattern import SparseIndex
from dmc.solver.loop import Run
from dmc.solver.row_solve import DENSE


class Table(NamedTuple):
    """Rows x = c + V u + noise of variance ψ, u ~ N(0, I), in units of the columns' observed spread."""

    observations: Observations
    X: np.ndarray  # without noise
    V: np.ndarray
    intercept: np.ndarray
    noise: np.ndarray

    @property
    def hidden(self) -> np.ndarray:
        hidden = np.ones(self.X.shape, bool)
        hidden[self.observations.rows, self.observations.cols] = False
        return hidden


def sweeps(entries, width, **how):
    """The course of a fit: its start, and each sweep."""
    analysis, course = Analysis(entries, width, **how), []

    def look():
        course.append(analysis.model)
        return analysis.look()

    Run().phase(analysis.sweep, look, analysis.max_sweeps)
    return course


def planted(shape=(600, 12), width=2, share=0.7, noise=(0.1, 0.6), seed=0) -> Table:
    rng = np.random.default_rng(seed)
    m, n = shape
    V, c = rng.standard_normal((n, width)), rng.uniform(-3, 3, n)
    psi = rng.uniform(*noise, n) ** 2
    X = c + rng.standard_normal((m, width)) @ V.T
    observed = observe(X + np.sqrt(psi) * rng.standard_normal(shape), rng.random(shape) < share)
    scaling = Scaling.of(observed, "columns")
    s = scaling.spread
    in_units = scaling.standardised(observed)
    return Table(in_units, (X - scaling.location) / s, V / s[:, None], (c - scaling.location) / s, psi / s**2)


def dense(model: FactorAnalysis) -> np.ndarray:
    return model.factors @ model.loadings.T + model.intercept


def oracle(table: Table, observations: Observations | None = None) -> np.ndarray:
    """Predictions by the posterior of each row given the planted loadings, levels and noise."""
    seen = ~table.hidden
    values = (table.observations if observations is None else observations).to_scipy().toarray()
    X = np.empty(table.X.shape)
    for i, own in enumerate(seen):
        V, w = table.V[own], 1 / table.noise[own]
        precision = np.eye(V.shape[1]) + V.T @ (w[:, None] * V)
        X[i] = table.intercept + table.V @ np.linalg.solve(
            precision, V.T @ (w * (values[i, own] - table.intercept[own]))
        )
    return X


def rms(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(array**2)))


def sine(A: np.ndarray, B: np.ndarray) -> float:
    """Of the largest angle between two subspaces of the same dimension."""
    return math.sqrt(max(0.0, 1 - np.linalg.svd(np.linalg.qr(A)[0].T @ np.linalg.qr(B)[0])[1].min() ** 2))


@pytest.fixture(scope="module")
def table() -> Table:
    return planted()


@pytest.fixture(scope="module")
def fitted(table) -> FactorAnalysis:
    return fit(Entries.of(table.observations), 2)


# --- planted answers


@pytest.mark.parametrize(("shape", "width"), [((600, 12), 2), ((1500, 20), 4), ((800, 15), 1)])
@pytest.mark.parametrize("seed", [0, 1])
def test_planted_loadings_levels_and_noise_are_found(shape, width, seed):
    """Each to a few of the standard errors that 70 % of the rows leave."""
    table = planted(shape, width, noise=(0.5, 1.0), seed=seed)
    found = fit(Entries.of(table.observations), width)
    error = 1 / math.sqrt(0.7 * shape[0])
    assert sine(found.loadings, table.V) < 3 * error
    covariance = table.V @ table.V.T
    np.testing.assert_allclose(found.loadings @ found.loadings.T, covariance, atol=5 * error)
    np.testing.assert_allclose(found.intercept, table.intercept, atol=3 * error)
    np.testing.assert_allclose(found.noise, table.noise, rtol=5 * error, atol=0.015)  # some of the average for each


@pytest.mark.parametrize(("shape", "width", "share"), [((600, 12), 2, 0.7), ((1000, 30), 5, 0.4), ((80, 40), 2, 0.5)])
def test_predictions_are_nearly_those_of_the_oracle(shape, width, share):
    table = planted(shape, width, share)
    found = fit(Entries.of(table.observations), width)
    hidden = table.hidden
    best = rms((oracle(table) - table.X)[hidden])
    # The loadings are learnt, from (entries of a column) for (width + 1) numbers: that much more noise.
    freedom = (width + 1) * shape[1] / table.observations.n_observed
    learnt = math.sqrt(best**2 + 2 * freedom * float(table.noise.mean()))
    assert 0.98 * best < rms((dense(found) - table.X)[hidden]) < 1.05 * learnt


def test_rows_come_from_a_standard_normal_population(table, fitted):
    """Means and posterior covariances together."""
    entries = Entries.of(table.observations)
    U, S = fitted.rows(entries.weights, entries.weighted, covariances=True)
    np.testing.assert_allclose(U, fitted.factors, rtol=1e-10, atol=1e-12)
    second = U.T @ U / len(U) + np.diag(S[:, [0, 2]].mean(axis=0))
    second[0, 1] += S[:, 1].mean()
    np.testing.assert_allclose(U.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(second[np.triu_indices(2)], [1, second[0, 1], 1], atol=0.02)


def test_predictions_at_pairs_are_entries_of_the_matrix(fitted):
    rows, cols = np.array([0, 5, 599, 5]), np.array([11, 0, 3, 0])
    np.testing.assert_allclose(fitted.at(rows, cols), dense(fitted)[rows, cols], rtol=1e-13)


def test_rows_are_posteriors_by_the_formula(table, fitted):
    """Row by row, with loadings and levels as uncertain as they are."""
    entries = Entries.of(table.observations)
    full = np.zeros((12, 3, 3))
    full[:, *np.triu_indices(3)] = fitted.covariances
    full = full + np.triu(full, 1).transpose(0, 2, 1)
    means, covariances = fitted.rows(entries.weights[:20], entries.weighted[:20], covariances=True)
    for i in range(20):
        precision, target = np.eye(2), np.zeros(2)
        for j in np.flatnonzero(entries.weights[i]):
            v, c, w = fitted.loadings[j], fitted.intercept[j], 1 / fitted.noise[j]
            precision = precision + w * (np.outer(v, v) + full[j, :2, :2])
            target = target + w * (entries.weighted[i, j] * v - c * v - full[j, :2, 2])
        wanted = np.linalg.inv(precision)
        np.testing.assert_allclose(means[i], wanted @ target, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(covariances[i], wanted[np.triu_indices(2)], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("share", [0.7, 0.3])
def test_constant_columns_stay(share):
    rng = np.random.default_rng(0)
    table = planted(share=share)
    X = np.full((600, 12), np.nan)
    X[table.observations.rows, table.observations.cols] = table.observations.values
    X[:, 4] = np.where(rng.random(600) < share, 0.1, np.nan)
    observed = observe(X)
    scaling = Scaling.of(observed, "columns")
    found = fit(Entries.of(scaling.standardised(observed)), 3)
    assert not found.loadings[4].any()
    assert found.intercept[4] == 0
    restored = scaling.restored(Factors(found.factors, (), found.loadings, None, found.intercept))
    np.testing.assert_array_equal(restored.dense()[:, 4], 0.1)
    assert np.isfinite(found.noise).all()
    assert (found.noise > 0).all()


# --- relevance


@pytest.mark.parametrize("width", [1, 3])
def test_directions_without_support_vanish_where_relevance_is_learnt(width):
    table = planted(width=width)
    sizes = {}
    for relevance in (False, True):
        found = fit(Entries.of(table.observations), 7, relevance=relevance)
        sizes[relevance] = np.sort((found.loadings**2).sum(axis=0))[::-1]
    planted_sizes = np.linalg.eigvalsh(table.V.T @ table.V)[::-1]
    np.testing.assert_allclose(sizes[True][:width], planted_sizes, rtol=0.25)
    assert (sizes[True][width:] < 0.01 * planted_sizes[-1]).all()
    assert sizes[True][width:].sum() < 0.1 * sizes[False][width:].sum()


def test_relevance_protects_predictions_of_few_rows():
    table = planted((60, 20), 1, 0.5, (0.8, 1.2))
    errors = {}
    for relevance in (False, True):
        found = fit(Entries.of(table.observations), 10, relevance=relevance)
        errors[relevance] = rms((dense(found) - table.X)[table.hidden])
    assert errors[True] < 0.97 * errors[False]


# --- weights


def test_all_weights_alike_are_none(table, fitted):
    found = fit(Entries.of(table.observations, np.full(table.observations.n_observed, 3.7)), 2)
    np.testing.assert_allclose(dense(found), dense(fitted), rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.noise, fitted.noise, rtol=1e-10)


def test_an_entry_of_next_to_no_weight_has_no_influence(table):
    weights = np.ones(table.observations.n_observed)
    weights[::500] = 1e-9
    values = table.observations.values
    wild = table.observations.with_values(np.where(weights < 1, 20 - values, values))
    one, other = (fit(Entries.of(observed, weights), 2) for observed in (table.observations, wild))
    np.testing.assert_allclose(dense(one), dense(other), rtol=0, atol=1e-5)
    np.testing.assert_allclose(one.noise, other.noise, rtol=1e-5)
    unweighted = fit(Entries.of(wild), 2)
    assert np.abs(dense(unweighted) - dense(one)).max() > 0.1


def test_an_entry_of_whole_weight_is_as_many_columns_of_weight_one(table, fitted):
    """To a row it is the same whether a value counts twice or a second column of the same loadings agrees."""
    times = np.random.default_rng(0).integers(0, 4, (600, 12))
    entries = Entries.of(table.observations)
    values = entries.weighted
    whole = np.where(entries.weights > 0, times, 0).astype(float)
    again = np.tile(np.arange(12), 3)
    copies = replace(
        fitted,
        loadings=fitted.loadings[again],
        intercept=fitted.intercept[again],
        covariances=fitted.covariances[again],
        noise=fitted.noise[again],
    )
    apart = np.concatenate([(whole > i).astype(float) for i in range(3)], axis=1)
    one = fitted.rows(whole, whole * values, covariances=True)
    other = copies.rows(apart, apart * np.tile(values, 3), covariances=True)
    np.testing.assert_allclose(one[0], other[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(one[1], other[1], rtol=1e-10, atol=1e-12)


def test_weights_tell_precise_entries_from_others():
    """Noise of the variance that whole weights say: the fit that knows them predicts better."""
    rng = np.random.default_rng(0)
    table = planted((400, 15), 2, 0.6, (1e-3, 1e-3))
    weights = rng.choice([1.0, 4.0, 100.0], table.observations.n_observed)
    noisy = table.observations.with_values(
        table.observations.values + rng.standard_normal(len(weights)) / np.sqrt(weights)
    )
    known, unknown = (rms((dense(fit(Entries.of(noisy, w), 2)) - table.X)[table.hidden]) for w in (weights, None))
    assert known < 0.6 * unknown


# --- sparse and dense


@pytest.mark.parametrize("relevance", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_sparse_and_dense_entries_give_the_same_model(relevance, weighted, monkeypatch):
    table = planted((500, 200), 2, 0.045)
    weights = np.random.default_rng(0).uniform(0.5, 2, table.observations.n_observed) if weighted else None
    few = Entries.of(table.observations, weights)
    monkeypatch.setattr("dmc.solver.row_solve.DENSE", 0.0)
    all_ = Entries.of(table.observations, weights)
    assert sparse.issparse(few.weights)
    assert isinstance(all_.weights, np.ndarray)
    np.testing.assert_array_equal(few.weights.toarray(), all_.weights)
    one, other = (fit(entries, 2, relevance=relevance) for entries in (few, all_))
    np.testing.assert_allclose(dense(one), dense(other), rtol=0, atol=1e-8)
    np.testing.assert_allclose(one.noise, other.noise, rtol=1e-8)


def test_entries_are_what_products_take(table):
    values, n = table.observations.values, table.observations.n_observed
    weights = np.random.default_rng(0).uniform(0.1, 9, n)
    entries = Entries.of(table.observations, weights)
    w = np.zeros((600, 12))
    w[table.observations.rows, table.observations.cols] = weights / weights.mean()
    np.testing.assert_allclose(entries.weights, w, rtol=1e-14)
    x = table.observations.to_scipy().toarray()
    np.testing.assert_allclose(entries.weighted, w * x, rtol=1e-14)
    np.testing.assert_allclose(entries.squares, (w * x**2).sum(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(entries.counts, (w > 0).sum(axis=0))
    assert entries.weights.sum() == pytest.approx(n)
    assert (w[entries.rows, entries.cols] > 0).all()
    assert len(values) == n


# --- sweeps


def test_the_course_may_be_ended_at_any_sweep(table):
    """Its start comes first; each sweep describes the entries better, and nearly all is said by the tenth."""
    entries, hidden = Entries.of(table.observations), table.hidden
    errors = []
    for model in itertools.islice(sweeps(entries, 2), 10):
        errors.append(rms((dense(finished(entries, model)) - table.X)[hidden]))
    assert len(errors) == 10
    assert errors[1] < errors[0]
    assert errors[-1] < 1.02 * rms((dense(fit(entries, 2)) - table.X)[hidden])


def test_a_fit_is_the_end_of_its_course_in_principal_directions(table, fitted):
    entries = Entries.of(table.observations)
    *_, last = sweeps(entries, 2)
    np.testing.assert_array_equal(fitted.noise, last.noise)
    np.testing.assert_allclose(fitted.loadings @ fitted.loadings.T, last.loadings @ last.loadings.T, atol=1e-12)
    information = fitted.loadings.T @ (fitted.loadings / fitted.noise[:, None])
    np.testing.assert_allclose(information, np.diag(np.diag(information)), atol=1e-9 * information.max())
    U = last.rows(entries.weights, entries.weighted)[0]
    np.testing.assert_allclose(dense(fitted), U @ last.loadings.T + last.intercept, atol=1e-10)


def test_directions_that_tell_next_to_nothing_are_left_out(table):
    """Of rank two with 12 directions: what the others have learnt is noise, and predictions stay."""
    entries = Entries.of(table.observations)
    *_, wide = sweeps(entries, 12, relevance=True)
    found = finished(entries, wide)
    assert 2 <= found.width < 12
    U = wide.rows(entries.weights, entries.weighted)[0]
    assert rms(dense(found) - U @ wide.loadings.T - wide.intercept) < 0.03


def test_sweeps_end_when_predictions_stay(table):
    entries = Entries.of(table.observations)
    rows, cols = table.observations.rows, table.observations.cols
    predictions = [model.at(rows, cols) for model in sweeps(entries, 2)][1:]
    moved = [rms(after - before) for before, after in itertools.pairwise(predictions)]
    assert moved[-1] < tuning.FACTOR_ANALYSIS.tol <= min(moved[:-1])
    assert len(predictions) < factor_analysis.most_sweeps(entries, 2)


def test_the_more_work_a_sweep_is_the_fewer_are_taken(monkeypatch, table):
    entries = Entries.of(table.observations)
    counts = [factor_analysis.most_sweeps(entries, width) for width in (0, 2, 30, 60, 400)]
    assert counts == sorted(counts, reverse=True)
    assert (counts[0], counts[-1]) == (tuning.FACTOR_ANALYSIS.max_sweeps, tuning.FACTOR_ANALYSIS.min_sweeps)
    hurried = dataclasses.replace(tuning.FACTOR_ANALYSIS, sweeps_work=1.0, tol=0.0)
    monkeypatch.setattr(tuning, "FACTOR_ANALYSIS", hurried)
    assert len(list(sweeps(entries, 2))) == 1 + tuning.FACTOR_ANALYSIS.min_sweeps


def test_a_start_from_a_sample_leads_to_the_fit_of_all():
    table = planted((2000, 12), 2)
    entries = Entries.of(table.observations)
    some = table.observations.rows < 500
    pointers = table.observations.pattern.by_row.indptr[:501]
    lines = SparseIndex(pointers, table.observations.cols[some])
    part = Observations.from_lines(lines, table.observations.values[some], (500, 12))
    start = fit(Entries.of(part), 2)
    course = [finished(entries, model) for model in sweeps(entries, 2, start=start)]
    assert len(course) == 1 + tuning.FACTOR_ANALYSIS.sweeps_from_sample
    assert course[-1].factors.shape == (2000, 2)
    whole = dense(fit(entries, 2))
    before, after = (rms(dense(model) - whole) for model in (course[0], course[-1]))
    assert after < 0.05
    assert after < 0.7 * before


# --- odd tables


def odd() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    gaps = rng.standard_normal((20, 6))
    gaps[rng.random((20, 6)) < 0.5] = np.nan
    gaps[3], gaps[:, 2] = np.nan, np.nan
    return {
        "zeros": np.zeros((9, 5)),
        "one row": rng.standard_normal((1, 7)),
        "one column": rng.standard_normal((9, 1)),
        "one entry": np.ones((1, 1)),
        "empty lines": gaps,
        "rank one": np.outer(rng.standard_normal(12), np.sign(rng.standard_normal(5))),
        "two rows": rng.standard_normal((2, 30)),
    }


@pytest.mark.parametrize("relevance", [False, True])
@pytest.mark.parametrize("width", [0, 1, 4])
@pytest.mark.parametrize("name", odd())
def test_odd_tables_are_fitted_without_a_warning(name, width, relevance):
    """pytest turns each into an error."""
    observed = observe(odd()[name])
    found = fit(Entries.of(Scaling.of(observed, "columns").standardised(observed)), width, relevance=relevance)
    assert found.width <= width
    assert np.isfinite(dense(found)).all()
    assert (found.noise > 0).all()
    values = found.at(observed.rows, observed.cols)
    assert rms(values) < 3  # a standard deviation is 1


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("width", [0, 1, 3, 40])
@pytest.mark.parametrize("shape", [(60, 30), (1, 60), (60, 1), (3, 50)])
def test_odd_sparse_tables_are_fitted_without_a_warning(shape, width, zeros):
    rng = np.random.default_rng(0)
    m, n = shape
    some = rng.choice(m * n, max(1, m * n // 25), replace=False)
    mask = np.zeros(m * n, bool)
    mask[some] = True
    observed = observe(rng.standard_normal(shape) * (not zeros), mask.reshape(shape))
    assert observed.density < DENSE
    found = fit(Entries.of(observed), width)
    assert np.isfinite(dense(found)).all()
    assert (found.noise > 0).all()


def test_no_directions_leave_levels_and_noise(table):
    observed = table.observations
    found = fit(Entries.of(observed), 0)
    scaling = Scaling.of(observed, "columns")
    np.testing.assert_allclose(found.intercept, scaling.location, atol=1e-4)
    counts = observed.pattern.column_counts
    shrunk = (counts * scaling.spread**2 + tuning.FACTOR_ANALYSIS.noise_entries) / (
        counts + tuning.FACTOR_ANALYSIS.noise_entries
    )
    np.testing.assert_allclose(found.noise, shrunk, rtol=0.01)
    np.testing.assert_allclose(dense(found), np.broadcast_to(found.intercept, (600, 12)), rtol=1e-15)
