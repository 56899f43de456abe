"""Least squares over all pairs: compiled half sweeps against NumPy's, and both against the dense problem."""

import numpy as np
import pytest
from test_native import in_new_process

from dmc import _extensions
from dmc.kernels.pair_blocks import BLOCK
from dmc.observations import Observations
from dmc.pattern import SparseIndex
from dmc.recommend import all_pairs
from dmc.recommend.all_pairs import AllPairs, Descent, Settings
from dmc.solver.loop import Run
from dmc.solver.solution import Status

native = pytest.mark.skipif(
    _extensions.missing is not None,
    reason=f"the compiled core is not here: {_extensions.missing}; {_extensions.REMEDY}",
)
WIDTHS = (16, 64, 80, 208)


def half(width, dtype=np.int32, lines=40, others=50, long=0, seed=0):
    """Random entries with an empty line, and what half a sweep needs of both sides."""
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
    indices = indices.astype(dtype)
    other, own = (rng.standard_normal((n, width)).astype(np.float32) / 4 for n in (others, len(pointers) - 1))
    predicted = np.einsum("ek,ek->e", own[np.repeat(np.arange(len(own)), np.diff(pointers))], other[indices])
    weights = 1 + rng.random(len(indices)).astype(np.float32)
    ridge = 1 + rng.random(len(own)).astype(np.float32)
    pulls = weights * np.clip(rng.random(len(indices)) * 1.5, 0, 1).astype(np.float32)  # many targets are one
    return SparseIndex(pointers, indices), weights, pulls, 0.3, ridge, other, own, predicted.astype(np.float32)


def moved(given, run):
    """(own, predicted, fall) after a half sweep of copies."""
    *told, own, predicted = given
    own, predicted = own.copy(), predicted.copy()
    fall = run(*told, own, predicted)
    return own, predicted, fall


def plain(given):
    return moved(given, all_pairs.plain_half_sweep)


def compiled(given, passes=1, tol=0.0, n_threads=0):
    def run(lines, *others):
        of = all_pairs.entries(lines, len(given[5]))
        return _extensions.core.half_sweep(of, *others, passes, tol, n_threads)

    return moved(given, run)


def value(given, own):
    """Of the dense problem; entries that repeat count each."""
    lines, weights, pulls, unobserved, ridge, other, *_ = given
    own, other = own.astype(float), other.astype(float)
    rows = np.repeat(np.arange(len(own)), np.diff(lines.indptr))
    x = np.einsum("ek,ek->e", own[rows], other[lines.indices])
    zeros = unobserved * (np.sum((own @ other.T) ** 2) - np.sum(x**2))
    return 0.5 * (np.sum(weights * (x - pulls / weights) ** 2) + zeros + np.sum(ridge[:, None] * own**2))


def same(ours, theirs, **tolerance):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, **({"rtol": 1e-3, "atol": 2e-5} | tolerance))


@native
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_compiled_half_sweep_is_the_plain_one(width, dtype):
    given = half(width, dtype)
    same(compiled(given), plain(given))


@native
def test_long_lines_are_cut_and_put_together():
    given = half(80, long=100_000)
    same(compiled(given), plain(given), atol=2e-4)


def test_one_block_goes_to_the_minimum():
    given = half(BLOCK)
    lines, weights, pulls, unobserved, ridge, other, own, _ = given
    moved_own, predicted, fall = plain(given)
    other = other.astype(float)
    for i in np.flatnonzero(np.diff(lines.indptr)):
        at = slice(lines.indptr[i], lines.indptr[i + 1])
        known, w = other[lines.indices[at]], weights[at].astype(float)
        system = unobserved * other.T @ other + (known.T * (w - unobserved)) @ known + ridge[i] * np.eye(BLOCK)
        np.testing.assert_allclose(moved_own[i], np.linalg.solve(system, known.T @ pulls[at]), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(predicted[at], known @ moved_own[i], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(moved_own[3], own[3])  # a line without entries
    assert fall == pytest.approx(value(given, own) - value(given, moved_own), rel=1e-5)


@pytest.mark.parametrize("run", [plain, pytest.param(compiled, marks=native)])
@pytest.mark.parametrize("width", [64, 208])
def test_what_it_returns_is_what_the_value_lost(run, width):
    given = half(width)
    own, _, fall = run(given)
    before, after = value(given, given[6]), value(given, own)
    assert after < before
    assert fall == pytest.approx(before - after, rel=1e-4)


@native
def test_many_passes_end_at_the_minimum():
    given = half(64)
    own, *_ = compiled(given, passes=200, tol=1e-9)
    _, _, first = compiled(given, passes=1)
    _, _, two = compiled(given, passes=2)
    assert two > first
    lines, weights, pulls, unobserved, ridge, other, *_ = given
    i, other = 7, other.astype(float)
    at = slice(lines.indptr[i], lines.indptr[i + 1])
    known, w = other[lines.indices[at]], weights[at].astype(float)
    system = unobserved * other.T @ other + (known.T * (w - unobserved)) @ known + ridge[i] * np.eye(64)
    np.testing.assert_allclose(own[i], np.linalg.solve(system, known.T @ pulls[at]), rtol=1e-2, atol=1e-4)


@native
@pytest.mark.parametrize("width", [16, 208])
def test_the_number_of_threads_changes_no_bit(width):
    given = half(width, lines=3000, long=100_000)
    first = compiled(given, n_threads=1)
    for n_threads in (2, 3, 8):
        for ours, theirs in zip(compiled(given, n_threads=n_threads), first, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@native
@pytest.mark.parametrize("isa", ["plain", "avx2"])
def test_older_processors_compute_the_same(isa):
    code = (
        "from test_all_pairs import *\n"
        "for width in WIDTHS:\n"
        "    given = half(width)\n"
        "    same(compiled(given), plain(given))\n"
        "print('same')"
    )
    assert "same" in in_new_process(code, DMC_ISA=isa)


@native
@pytest.mark.parametrize(
    ("place", "wrong", "told"),
    [
        (1, np.zeros(3, np.float32), "weights has shape"),
        (2, np.zeros(3, np.float32), "pulls has shape"),
        (4, np.zeros(3, np.float32), "ridge has shape"),
        (5, np.zeros((50, 15), np.float32), "other has 15 columns; give a multiple of 16"),
        (6, np.zeros((40, 32), np.float32), "own has shape .40, 32.; it has to be .40, 16"),
        (7, np.zeros(3, np.float32), "predicted has shape"),
    ],
)
def test_what_does_not_fit_is_refused(place, wrong, told):
    given = list(half(16))
    of = all_pairs.entries(given[0], 50)
    given[place] = wrong
    with pytest.raises(ValueError, match=told):
        _extensions.core.half_sweep(of, *given[1:])


def clicks(m=60, n=40, seed=0):
    rng = np.random.default_rng(seed)
    rows, cols = np.nonzero(rng.random((m, n)) < 0.2)
    return Observations.from_entries(rows, cols, np.ones(len(rows), np.float32), (m, n))


def problem():
    counts = clicks()
    return AllPairs.of(counts.pattern, np.e * counts.values, Settings(0.1, 0.05))


def test_the_value_is_that_of_the_dense_problem():
    given, rng = problem(), np.random.default_rng(1)
    U, V = (rng.standard_normal((lines, 16)).astype(np.float32) for lines in given.pattern.shape)
    V[:, 5] = U[:, 5] = 0
    chosen = given.pattern.csr(np.ones(given.pattern.n_observed)).toarray()
    W, X = np.where(chosen > 0, 2, 0.1), U.astype(float) @ V.T
    ridges = [0.05 * ((2 * chosen).sum(axis=1 - a) + 0.1 * chosen.shape[1 - a]) for a in (0, 1)]
    np.testing.assert_allclose(given.ridges[0], ridges[0], rtol=1e-6)
    np.testing.assert_allclose(given.ridges[1], ridges[1], rtol=1e-6)
    penalty = ridges[0] @ (U**2).sum(axis=1) + ridges[1] @ (V**2).sum(axis=1)
    dense = 0.5 * (np.sum(W * (X - chosen) ** 2) + penalty)
    assert given.value(U, V, given.predictions(U, V)) == pytest.approx(dense, rel=1e-5)


def test_dislikes_and_parts_of_a_click_have_the_terms_that_are_said():
    settings = Settings(0.1, 0.05)
    weights, pulls = settings.terms(np.array([1, np.e, 0.25, -0.25, -np.e, 0], np.float32))
    np.testing.assert_allclose(weights, [1, 2, 0.1 + 0.25 * 0.9, 0.1 + 0.25 * 0.9, 2, 0.1], rtol=1e-6)
    np.testing.assert_allclose(pulls, [1, 2, 0.25, 0, 0, 0], rtol=1e-6)
    x = 0.7  # a quarter of a click: a quarter of its term, and three of nothing's, but for what x does not change
    slope = weights[2] * x - pulls[2]
    assert slope == pytest.approx(0.25 * (x - 1) + 0.75 * 0.1 * x)
    clicks_alone = settings.terms(np.array([1, 5], np.float32))
    assert clicks_alone[0] is clicks_alone[1]


def test_a_descent_falls_to_a_point_that_no_longer_moves():
    run, descent = Run(), Descent.beginning(problem(), None, 20, np.random.default_rng(0))
    assert descent.U.shape == (60, 32)
    assert descent.run(run, 500, 1e-7) is Status.CONVERGED
    values = np.array(descent.values)
    assert (np.diff(values) <= 1e-6 * values[0]).all()
    factors = descent.factors()
    again = Descent(problem(), factors.U, factors.V)
    assert again.value == pytest.approx(values[-1], rel=1e-5)
    assert again.run(run, 1, 1e-6) is Status.CONVERGED
    np.testing.assert_allclose(again.factors().dense(), factors.dense(), atol=1e-3)
    assert not descent.U[:, 20:].any()


def test_a_descent_that_did_not_arrive_says_so():
    descent = Descent.beginning(problem(), None, 8, np.random.default_rng(0))
    assert descent.run(Run(), 2, 1e-9) is Status.MAX_STEPS
    assert len(descent.values) == 2


def test_sweeps_by_plan_are_told_as_such():
    run, descent = Run(), Descent.beginning(problem(), None, 8, np.random.default_rng(0))
    run.phase(lambda: None, lambda: None, 5)
    assert descent.run(run, 3) is Status.COMPLETED
    records = descent.records("search", run.n_steps)
    assert [record["n_steps"] for record in records] == [6, 7, 8]
    assert [record["value"] for record in records] == descent.values
    assert {record["phase"] for record in records} == {"search"}


def test_wider_factors_begin_where_the_narrower_ended():
    rng = np.random.default_rng(0)
    narrow = Descent.beginning(problem(), None, 8, rng)
    narrow.run(Run(), 5, 0)
    wide = Descent.beginning(problem(), narrow.factors(), 40, rng)
    np.testing.assert_allclose(wide.factors().dense(), narrow.factors().dense(), atol=1e-6)
    wide.run(Run(), 5, 0)
    assert wide.value < narrow.value


def test_callbacks_are_told_of_every_sweep_and_may_stop():
    told = []

    def watch(info):
        told.append(info)
        return info.n_steps == 3

    run, descent = Run([watch]), Descent.beginning(problem(), None, 8, np.random.default_rng(0))
    assert descent.run(run, 10, 0) is Status.STOPPED
    assert [info.n_steps for info in told] == [0, 1, 2, 3]
    assert told[0].value > told[1].value > told[3].value
    assert told[1].factors.shape == (60, 40)
    assert run.ended
    assert descent.run(run, 10, 0) is Status.STOPPED
    assert len(told) == 4  # nobody is asked again


def test_without_the_core_numpy_stands_in(monkeypatch):
    ours = Descent.beginning(problem(), None, 24, np.random.default_rng(0))
    ours.run(Run(), 4, 0)
    monkeypatch.setattr(_extensions, "core", None)
    plain = Descent.beginning(problem(), None, 24, np.random.default_rng(0))
    plain.run(Run(), 4, 0)
    np.testing.assert_allclose(plain.factors().dense(), ours.factors().dense(), atol=2e-3)
    given = half(32)
    total = all_pairs.half_sweep(*given, 50, 1e-6)
    assert total == pytest.approx(value(given, half(32)[6]) - value(given, given[6]), rel=1e-4)
