"""The parts of half a sweep over all pairs: compiled against NumPy, and put together against the whole half sweep."""

import numpy as np
import pytest

from dmc import _extensions
from dmc.kernels import pair_blocks
from dmc.kernels.pair_blocks import BLOCK
from dmc.pattern import SparseIndex
from dmc.recommend import all_pairs

native = pytest.mark.skipif(
    _extensions.missing is not None,
    reason=f"the compiled core is not here: {_extensions.missing}; {_extensions.REMEDY}",
)
ALL = slice(None)


def half(width, dtype=np.int32, long=0, seed=0):
    """Random entries, a line without any, and what half a sweep needs of both sides."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 30, 70)
    counts[3] = 0
    counts[-1] += long
    pointers = np.concatenate([[0], np.cumsum(counts)])
    indices = rng.integers(0, 50, pointers[-1]).astype(dtype)
    other, own = (rng.standard_normal((n, width)).astype(np.float32) / 4 for n in (50, 70))
    own[3] = 0
    predicted = np.einsum("ek,ek->e", own[np.repeat(np.arange(70), counts)], other[indices])
    weights = 1 + rng.random(len(indices)).astype(np.float32)
    ridge = 1 + rng.random(70).astype(np.float32)
    pulls = weights * np.clip(rng.random(len(indices)) * 1.5, 0, 1).astype(np.float32)
    return SparseIndex(pointers, indices), weights, pulls, 0.3, ridge, other, own, predicted.astype(np.float32)


def of_core(lines):
    return all_pairs.entries(lines, 50)


KERNELS = pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=native)])


def functions(compiled):
    """(entries, grams, sums, steps, predict)."""
    names = ("grams", "sums", "steps", "predict")
    if compiled:
        return of_core, *(getattr(pair_blocks, name) for name in names)
    return lambda lines: lines, *(getattr(pair_blocks, f"plain_{name}") for name in names)


def by_parts(given, compiled, chunk=70):
    """(own, predicted, fall) after half a sweep of copies, part by part."""
    entries, grams, sums, steps, predict = functions(compiled)
    lines, weights, pulls, unobserved, ridge, other, own, predicted = given
    of, own, predicted = entries(lines), own.copy(), predicted.copy()
    products, fall = grams(other, unobserved), 0.0
    for block in range(own.shape[1] // BLOCK):
        panel = np.ascontiguousarray(other[:, block * BLOCK : (block + 1) * BLOCK])
        for begin in range(0, len(own), chunk):
            some = slice(begin, begin + chunk)
            found = sums(of, weights, pulls, unobserved, panel, predicted, some)
            back, fell = steps(found[None], products, ridge[some], own[some], block)
            predict(of, panel, back, predicted, some)
            fall += fell
    return own, predicted, fall


@KERNELS
@pytest.mark.parametrize("chunk", [70, 9])
@pytest.mark.parametrize(("width", "dtype", "long"), [(16, np.int64, 0), (80, np.int32, 0), (32, np.int32, 100_000)])
def test_the_parts_are_half_a_sweep(width, dtype, long, chunk, compiled):
    given = half(width, dtype, long)
    *told, own, predicted = given
    fall = all_pairs.plain_half_sweep(*told, own, predicted)
    found = by_parts(half(width, dtype, long), compiled, chunk)
    for ours, theirs in zip(found, (own, predicted, fall), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-4 if long else 2e-5)
    assert not found[0][3].any()  # a line without entries


@KERNELS
def test_sums_of_parts_of_the_entries_and_of_the_other_lines_add_up(compiled):
    entries, grams, sums, steps, _ = functions(compiled)
    lines, weights, pulls, unobserved, ridge, other, own, predicted = half(16)
    of = np.repeat(np.arange(70), np.diff(lines.indptr))
    parts, products = [], 0
    for part in (slice(0, 20), slice(20, 20), slice(20, 50)):
        here = np.isin(lines.indices, np.arange(50)[part])
        ends = np.append(0, np.cumsum(np.bincount(of[here], minlength=70)))
        some = SparseIndex(ends, lines.indices[here] - np.int32(part.start))
        some = all_pairs.entries(some, part.stop - part.start) if compiled else some
        given = (weights[here], pulls[here], unobserved, other[part], predicted[here], ALL)
        parts.append(sums(some, *given))
        products = products + grams(other[part], unobserved)
    whole = sums(entries(lines), weights, pulls, unobserved, other, predicted, ALL)
    np.testing.assert_allclose(sum(parts), whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(products, grams(other, unobserved), rtol=1e-5, atol=1e-6)
    (ours, fall), mine = steps(np.stack(parts), products, ridge, apart := own.copy(), 0), own.copy()
    theirs, expected = steps(whole[None], products, ridge, mine, 0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(apart, mine, rtol=1e-3, atol=1e-5)
    assert fall == pytest.approx(expected, rel=1e-5)


@native
def test_the_number_of_threads_changes_no_bit_of_a_part():
    lines, weights, pulls, unobserved, ridge, other, own, predicted = half(16, long=200_000)
    core, found = _extensions.core, []
    for n_threads in (1, 2, 5):
        mine, told = own.copy(), predicted.copy()
        sums = core.block_sums(of_core(lines), weights, pulls, unobserved, other, told, ALL, n_threads)
        products = core.block_grams(other, unobserved, n_threads)
        steps, fall = core.block_steps(np.stack([sums, sums, -sums]), products, ridge, mine, 0, n_threads)
        core.block_predict(of_core(lines), other, steps, told, ALL, n_threads)
        found.append((sums, products, steps, mine, told, fall))
    for again in found[1:]:
        for ours, theirs in zip(again, found[0], strict=True):
            np.testing.assert_array_equal(ours, theirs)


@native
def test_what_does_not_fit_is_refused():
    lines, weights, pulls, unobserved, ridge, other, own, predicted = half(32)
    of, core, block = of_core(lines), _extensions.core, np.ascontiguousarray(other[:, :16])
    sums = core.block_sums(of, weights, pulls, unobserved, block, predicted)[None]
    grams = core.block_grams(other, unobserved)
    for call, told in (
        (lambda: core.block_sums(of, weights[1:], pulls, unobserved, block, predicted), "weights has shape"),
        (lambda: core.block_sums(of, weights, pulls, unobserved, other, predicted), "other has shape"),
        (lambda: core.block_sums(of, weights, pulls, unobserved, block, predicted[1:]), "predicted has shape"),
        (
            lambda: core.block_sums(of, weights, pulls, 0.3, block, predicted, slice(None, None, 2)),
            "slice has step 2",
        ),
        (lambda: core.block_grams(block[:, :15].copy(), unobserved), "other has 15 columns; give a multiple of 16"),
        (lambda: core.block_steps(sums, grams[1:], ridge, own, 0), "grams has shape"),
        (lambda: core.block_steps(sums[0], grams, ridge, own, 0), "sums has shape"),
        (lambda: core.block_steps(sums, grams, ridge[1:], own, 0), "ridge has shape"),
        (lambda: core.block_steps(sums, grams, ridge, own, 2), "block is 2; it has to be from 0 to 1"),
        (lambda: core.block_predict(of, block, block, predicted), "steps has shape"),
    ):
        with pytest.raises(ValueError, match=told):
            call()
