"""Bayesian factorisation: its compiled step against NumPy, and what the fit finds out by itself."""

import numpy as np
import pytest

from dmc import _compiled, bayesian
from dmc.observations import Lines, Observations
from test_native import in_new_process

native = pytest.mark.skipif(
    _compiled.missing is not None, reason=f"the compiled core is not here: {_compiled.missing}; {_compiled.REMEDY}"
)
WIDTHS = (1, 2, 7, 8, 14, 15, 16, 17, 24, 40)


def step(unknowns, dtype=np.int32, lines=40, others=50, long=0, seed=0):
    """Random entries with an empty line, and what a step needs of both sides."""
    rng = np.random.default_rng(seed)
    mask = rng.random((lines, others)) < 0.4
    mask[3] = False
    if long:
        mask = np.vstack([mask, np.zeros((1, others), bool)])
    pointers = np.concatenate([[0], np.cumsum(mask.sum(axis=1))])
    indices = np.nonzero(mask)[1]
    if long:  # the kernel takes an index that repeats for any other
        indices = np.append(indices, rng.integers(0, others, long))
        pointers[-1] += long
    root = rng.standard_normal((others, unknowns, unknowns)) / unknowns
    moments = bayesian.moments_of(
        rng.standard_normal((others, unknowns)).astype(np.float32), root @ root.transpose(0, 2, 1)
    )
    root = rng.standard_normal((unknowns, unknowns))
    return (
        Lines(pointers, indices.astype(dtype)),
        rng.standard_normal(len(indices)).astype(np.float32),
        moments,
        root @ root.T / unknowns + np.eye(unknowns),
        rng.standard_normal((len(pointers) - 1, unknowns)).astype(np.float32),
        1.7,
    )


def compiled(lines, values, others, precision, expected, noise, n_threads=0):
    kind = _compiled.core.Entries if lines.indices.dtype == np.int32 else _compiled.core.WideEntries
    moments = np.zeros((len(expected), others.shape[1]), np.float32)
    entries = kind(lines.pointers, lines.indices, len(others))
    found = _compiled.core.posterior(entries, values, others, precision, expected, noise, moments, n_threads)
    return *found, moments


def plain(lines, values, others, precision, expected, noise):
    moments = np.zeros((len(expected), others.shape[1]), np.float32)
    entries = bayesian._incidence(lines, len(others))
    return *bayesian._posterior(entries, values, others, precision, expected, noise, moments), moments


@native
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("unknowns", WIDTHS)
def test_the_compiled_step_is_the_plain_one(unknowns, dtype):
    given = step(unknowns, dtype)
    for ours, theirs in zip(compiled(*given), plain(*given), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)


@native
@pytest.mark.parametrize("unknowns", WIDTHS)
def test_the_moments_of_what_is_known_are_the_plain_ones(unknowns):
    means = np.random.default_rng(0).standard_normal((30, unknowns)).astype(np.float32)
    nothing = np.zeros((30, unknowns, unknowns))
    np.testing.assert_array_equal(_compiled.core.moments_of(means), bayesian.moments_of(means, nothing))


@native
def test_long_lines_are_cut_and_put_together():
    given = step(11, long=100_000)
    for ours, theirs in zip(compiled(*given), plain(*given), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@native
@pytest.mark.parametrize("unknowns", [2, 11, 24])
def test_the_number_of_threads_changes_no_bit(unknowns):
    given = step(unknowns, lines=3000, long=100_000)
    first = compiled(*given, n_threads=1)
    for n_threads in (2, 3, 8):
        for ours, theirs in zip(compiled(*given, n_threads=n_threads), first, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@native
@pytest.mark.parametrize("isa", ["plain", "avx2"])
def test_older_processors_compute_the_same(isa):
    code = (
        "import numpy as np; from test_bayesian import *\n"
        "for unknowns in (2, 11, 15, 24):\n"
        "    given = step(unknowns)\n"
        "    for ours, theirs in zip(compiled(*given), plain(*given), strict=True):\n"
        "        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)\n"
        "print('same')"
    )
    assert "same" in in_new_process(code, DMC_ISA=isa)


@native
@pytest.mark.parametrize(
    ("place", "wrong", "told"),
    [
        (1, np.zeros(3, np.float32), "values has shape"),
        (2, np.zeros((50, 3), np.float32), "others has shape"),
        (3, np.zeros((3, 2)), "precision has shape"),
        (4, np.zeros((3, 3), np.float32), "means has shape"),
    ],
)
def test_what_does_not_fit_is_refused(place, wrong, told):
    given = list(step(3))
    given[place] = wrong
    with pytest.raises(ValueError, match=told):
        compiled(*given)


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
    assert fit.converged
    assert fit.rank == 3
    assert fit.noise == pytest.approx(0.5, rel=0.03)
    assert excess(fit, truth) < 0.25  # the oracle's: .5·√(degrees of freedom / entries) = .16


def test_more_directions_join_while_all_are_alive(monkeypatch):
    monkeypatch.setattr(bayesian, "START_WIDTH", 2)
    truth, observations = ratings(rank=6, share=0.4)
    fit = bayesian.fit(observations)
    assert (fit.rank, fit.factors.width) == (6, 8)
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
    monkeypatch.setattr(_compiled, "core", None)
    np.testing.assert_allclose(bayesian.fit(observations).factors.dense(), fast, atol=0.02)


def test_the_callback_is_told_and_may_end_the_fit():
    told = []
    fit = bayesian.fit(ratings()[1], callback=lambda sweep, noise: told.append((sweep, noise)) or sweep == 2)
    assert [sweep for sweep, _ in told] == [1, 2]
    assert told[-1][1] == fit.errors[-1] == fit.noise
    assert not fit.converged


def test_double_precision_is_refused():
    _, observations = ratings()
    with pytest.raises(TypeError, match="float32"):
        bayesian.fit(observations.with_values(observations.values.astype(np.float64)))


def communities(seed=0, shape=(300, 200)):
    """Values of noise only but for what the pattern tells: rows rate what their kind rates, and rate it higher."""
    rng = np.random.default_rng(seed)
    m, n = shape
    own, theirs = rng.integers(0, 2, m), rng.integers(0, 2, n)
    same = own[:, None] == theirs
    seen = rng.random(shape) < np.where(same, 0.12, 0.03)
    rows, cols = np.nonzero(seen)
    truth = 3 + 0.8 * same
    values = truth[rows, cols] + 0.5 * rng.standard_normal(len(rows))
    return truth, Observations.from_entries(rows, cols, values.astype(np.float32), shape)


def test_a_pattern_of_chance_gives_no_coordinates():
    for features in bayesian.pattern_features(ratings()[1].pattern):
        assert features.loadings.shape[1] == 0


def test_a_pattern_that_tells_kinds_apart_gives_coordinates():
    _, observations = communities()
    of_rows, of_columns = bayesian.pattern_features(observations.pattern)
    for features, lines in ((of_rows, observations.pattern.by_row), (of_columns, observations.pattern.by_column)):
        found = features(lines)
        assert found.shape[1] > 2
        np.testing.assert_allclose(np.mean(found[:, 2:] ** 2, axis=0), 1, rtol=0.05)
        np.testing.assert_allclose(found[:, 1].mean(), 0, atol=0.02)


def test_the_pattern_helps_where_it_tells_something(monkeypatch):
    truth, observations = communities()
    with_it = excess(bayesian.fit(observations), truth)
    monkeypatch.setattr(bayesian, "FEATURES", 0)
    assert with_it < 0.9 * excess(bayesian.fit(observations), truth)


def test_rows_are_folded_in_as_they_were_fitted():
    _, observations = communities()
    fit = bayesian.fit(observations)
    again = fit.fold_in(observations.pattern.by_row, observations.values)
    # The rows' last step is followed by one of their prior.
    np.testing.assert_allclose(again.dense(), fit.factors.dense(), atol=0.05)


def test_a_new_row_without_entries_gets_what_rows_have_on_average():
    _, observations = ratings()
    fit = bayesian.fit(observations)
    new = fit.fold_in(Lines(np.zeros(2, np.int64), np.zeros(0, np.int32)), np.zeros(0, np.float32))
    popular = fit.factors.dense().mean(axis=0)
    assert np.corrcoef(new.dense()[0], popular)[0, 1] > 0.95
