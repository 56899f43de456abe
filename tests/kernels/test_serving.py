"""Predictions at pairs and the best columns of each row, in compiled code, against brute force; what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from test_native import in_new_process

from dmc import _extensions
from dmc._extensions import core

pytestmark = pytest.mark.skipif(
    _extensions.missing is not None,
    reason=f"the compiled core is not here: {_extensions.missing}; {_extensions.REMEDY}",
)

DTYPES = (np.float32, np.float64)
INDICES = (np.int32, np.int64)
WIDTHS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 64, 66, 100, 128, 129, 130)


def whole(rng, lines, width, dtype):
    """Whole numbers, whose products are exact in any order: ties are ties."""
    return rng.integers(-2, 3, (lines, width)).astype(dtype)


def lines(rng, rows, columns, dtype=np.int32, share=0.3):
    """(first, last, indices) of random columns for each row; in the first row all, in the second none."""
    mask = rng.random((rows, columns)) < share
    mask[:1], mask[1:2] = True, False
    pointers = np.concatenate([[0], np.cumsum(mask.sum(axis=1))])
    return pointers[:-1].copy(), pointers[1:].copy(), np.nonzero(mask)[1].astype(dtype)


def brute(left, right, n, first, last, indices, among=None):
    with np.errstate(invalid="ignore", over="ignore"):
        scores = left.astype(np.float64) @ right.astype(np.float64).T
    for i, own in enumerate(scores):
        own[indices[first[i] : last[i]]] = np.nan
    if among is not None:
        scores[:, np.setdiff1d(np.arange(len(right)), among)] = np.nan
    order = np.argsort(-scores, axis=1, kind="stable")[:, :n]
    best = np.take_along_axis(scores, order, axis=1)
    most = min(n, right.shape[0] if among is None else len(among))
    return np.where(np.isnan(best), -1, order)[:, :most], best[:, :most]


def assert_best(got, wanted):
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
def test_product_at_every_width(width, dtype, index):
    rng = np.random.default_rng(width)
    left, right = (rng.standard_normal((n, width)).astype(dtype) for n in (23, 31))
    rows, cols = (rng.integers(0, n, 9_001).astype(index) for n in (23, 31))
    got = core.product_at(left, right, rows, cols)
    assert got.dtype == dtype
    wanted = (left.astype(np.float64) @ right.astype(np.float64).T)[rows, cols]
    np.testing.assert_allclose(got, wanted, rtol=0, atol=100 * (1 + width) * np.finfo(dtype).eps)


def test_product_at_reads_nothing_beyond_a_line():
    """A vector that reaches into the next line would meet its NaN."""
    for width in range(1, 40):
        left, right = np.full((5, width), np.nan, np.float32), np.full((5, width), np.nan, np.float32)
        left[2] = right[2] = 1
        assert core.product_at(left, right, np.array([2]), np.array([2])) == [width]


def test_factors_beyond_the_cache():
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((70_000, 6)), rng.standard_normal((90_000, 6))
    rows, cols = rng.integers(0, 70_000, 30_000), rng.integers(0, 90_000, 30_000)
    wanted = np.einsum("pk,pk->p", left[rows], right[cols])
    np.testing.assert_allclose(core.product_at(left, right, rows, cols), wanted, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
def test_top_n_every_width_with_ties(width, dtype):
    rng = np.random.default_rng(width)
    left, right = whole(rng, 29, width, dtype), whole(rng, 131, width, dtype)
    excluded = lines(rng, 29, 131)
    for n in (1, 5, 131, 140):
        got = core.top_n(left, right, n, *excluded)
        assert (got[0].dtype, got[1].dtype) == (np.int64, dtype)
        assert_best(got, brute(left, right, n, *excluded))


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize(("rows", "columns"), [(0, 5), (1, 1), (3, 0), (1, 33), (4, 64), (5, 7), (13, 700), (800, 40)])
def test_top_n_of_every_shape(rows, columns, index):
    rng = np.random.default_rng(rows)
    left, right = whole(rng, rows, 5, np.float32), whole(rng, columns, 5, np.float32)
    excluded = lines(rng, rows, columns, index)
    for n in (1, 3, 50):
        assert_best(core.top_n(left, right, n, *excluded), brute(left, right, n, *excluded))


def test_top_n_in_several_slabs_and_ranges():
    """More rows than are prepared at a time, and columns."""
    rng = np.random.default_rng(0)
    left, right = whole(rng, 12_400, 3, np.float64), whole(rng, 90, 3, np.float64)
    excluded = lines(rng, 12_400, 90)
    assert_best(core.top_n(left, right, 4, *excluded), brute(left, right, 4, *excluded))
    left, right = whole(rng, 800, 40, np.float64), whole(rng, 9_000, 40, np.float64)
    excluded = lines(rng, 800, 9_000)
    for n in (10, 300):
        assert_best(core.top_n(left, right, n, *excluded), brute(left, right, n, *excluded))


def test_scores_that_rise_all_the_way():
    left, right = np.ones((2, 1)), np.arange(5_000.0)[:, None]
    none = np.zeros(2, np.int64), np.zeros(2, np.int64), np.zeros(0, np.int32)
    assert_best(core.top_n(left, right, 7, *none), brute(left, right, 7, *none))


@pytest.mark.parametrize("among", [[], [3], [0, 2, 40, 41, 99], list(range(100))])
def test_among(among):
    rng = np.random.default_rng(0)
    among = np.array(among, np.int64)
    for rows in (9, 30):
        left, right = whole(rng, rows, 4, np.float32), whole(rng, 100, 4, np.float32)
        excluded = lines(rng, rows, 100)
        assert_best(core.top_n(left, right, 3, *excluded, among), brute(left, right, 3, *excluded, among))


def similar(rng, dtype, width):
    """Columns so alike that only the last digits of their scores tell them apart."""
    left = rng.standard_normal((40, width))
    right = rng.standard_normal((30, width)).repeat(50, axis=0)
    return left, right * (1 + 4 * np.finfo(dtype).eps * rng.standard_normal(right.shape))


def uneven(rng, dtype, width):
    """Norms that differ by as much as they can; lines of zeros; and lines without measure."""
    left, right = rng.standard_normal((60, width)), rng.standard_normal((1_500, width))
    left *= 10.0 ** rng.integers(-18, 17, (60, 1))
    left[[4, 20]] = 0
    right *= 10.0 ** rng.integers(-18, 9, (1_500, 1))
    right[::7] = 0
    return left, right


def faint(rng, dtype, width):
    """Rows whose squares underflow, and their products with a column do not."""
    left, right = rng.standard_normal((60, width)), rng.standard_normal((1_500, width))
    left[::2] *= np.sqrt(np.finfo(dtype).tiny) / 10.0 ** rng.integers(5, 12, (30, 1))
    return left, right


def faint_columns(rng, dtype, width):
    left, right = rng.standard_normal((60, width)), rng.standard_normal((1_500, width))
    return left, right * np.sqrt(np.finfo(dtype).tiny) * 1e-5


def coarse(rng, dtype, width):
    """One number so large that little is left of the others in whole numbers."""
    left, right = rng.standard_normal((60, width)), rng.standard_normal((1_500, width))
    left[:30, 0], right[:, 0] = 3_000, -3_000
    return left, right


@pytest.mark.parametrize("kind", [similar, uneven, faint, faint_columns, coarse])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 2, 7, 64, 65, 300])
def test_top_n_hides_nothing_by_rounding(width, dtype, kind):
    """The scores are those of `product_at`, and the best of them are found."""
    rng = np.random.default_rng(width)
    left, right = (factor.astype(dtype) for factor in kind(rng, dtype, width))
    rows, cols = (place.ravel() for place in np.indices((len(left), len(right))))
    scores = core.product_at(left, right, rows, cols).reshape(len(left), len(right))
    none = np.zeros(len(left), np.int64), np.zeros(len(left), np.int64), np.zeros(0, np.int32)
    for n in (1, 10, 200):
        order = np.argsort(-scores, axis=1, kind="stable")[:, :n]
        assert_best(core.top_n(left, right, n, *none), (order, np.take_along_axis(scores, order, axis=1)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite(bad, dtype):
    """NaN never counts; −∞ counts as the least of all."""
    rng = np.random.default_rng(0)
    left, right = (rng.integers(1, 4, size).astype(dtype) for size in ((15, 3), (90, 3)))
    left[[2, 14], 1], right[[0, 50, 89], 2] = bad, bad
    excluded = lines(rng, 15, 90)
    for n in (2, 60, 90):
        assert_best(core.top_n(left, right, n, *excluded), brute(left, right, n, *excluded))


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_do_not_depend_on_threads_or_company(dtype):
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((m, 37)).astype(dtype) for m in (1_000, 3_000))
    excluded = lines(rng, 1_000, 3_000)
    found = [core.top_n(left, right, 9, *excluded, n_threads=n_threads) for n_threads in (1, 2, 3)]
    for other in found[1:]:
        assert_best(other, found[0])
    for i in (0, 5, 999):
        alone = core.top_n(left[i : i + 1], right, 9, excluded[0][i : i + 1], excluded[1][i : i + 1], excluded[2])
        assert_best(alone, [a[i : i + 1] for a in found[0]])
    rows, cols = (rng.integers(0, m, 50_000) for m in (1_000, 3_000))
    one, two = (core.product_at(left, right, rows, cols, n_threads=n_threads) for n_threads in (1, 2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("wish", ["plain", "avx2"])
def test_every_instruction_set(wish):
    code = (
        "import numpy as np, test_serving as t; from dmc._extensions import core\n"
        "for width in t.WIDTHS:\n"
        "    for dtype in t.DTYPES:\n"
        "        t.test_top_n_every_width_with_ties(width, dtype)\n"
        "        t.test_product_at_every_width(width, dtype, np.int32)\n"
        "        t.test_what_is_not_finite(np.inf, dtype)\n"
        "t.test_product_at_reads_nothing_beyond_a_line()\n"
        "print(core.instruction_set())"
    )
    assert in_new_process(code, DMC_ISA=wish) in ("plain", wish)  # a wish beyond the processor's is not granted


def arguments(**changes):
    """Valid arguments of top_n for 4 rows and 6 columns, but for the changes."""
    values = {
        "left": np.ones((4, 3)),
        "right": np.ones((6, 3)),
        "n": 2,
        "first": np.array([0, 0, 2, 5]),
        "last": np.array([0, 2, 5, 5]),
        "indices": np.array([1, 5, 0, 2, 2]),
        "among": np.array([0, 3, 5]),
    }
    return {**values, **{name: change(values[name]) for name, change in changes.items()}}


def changed(at, value):
    def change(array):
        array[at] = value
        return array

    return change


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"left": lambda a: a[:, :2].copy()}, ValueError, r"right has shape \(6, 3\); it has to be \(any, 2\)"),
        ({"right": lambda a: a.ravel()}, ValueError, r"right has shape \(18,\)"),
        ({"left": lambda a: a.astype(np.float32)}, TypeError, "incompatible function arguments"),
        ({"left": np.asfortranarray}, TypeError, "incompatible function arguments"),
        ({"n": lambda _: 0}, ValueError, "n is 0; it has to be at least 1"),
        ({"first": lambda a: a[1:]}, ValueError, r"first has shape \(3,\); it has to be \(4,\)"),
        ({"last": lambda a: a[:, None]}, ValueError, r"last has shape \(4, 1\)"),
        ({"first": changed(0, -1)}, ValueError, r"the excluded columns of row 0 are indices\[-1:0\]"),
        ({"last": changed(1, -1)}, ValueError, r"the excluded columns of row 1 are indices\[\d:-1\]"),
        ({"last": changed(3, 6)}, ValueError, r"row 3 are indices\[5:6\]; give increasing bounds from 0 to 5"),
        ({"indices": changed(2, -1)}, ValueError, "excluded column -1 of row 2 is out of range for 6 columns"),
        ({"indices": changed(4, 6)}, ValueError, "excluded column 6 of row 2 is out of range for 6 columns"),
        ({"indices": changed(0, 5)}, None, None),  # repeated: harmless
        ({"indices": changed(4, 1)}, ValueError, "the excluded columns of row 2 have 2 before 1; sort them"),
        ({"indices": lambda a: a[:, None]}, ValueError, r"indices has shape \(5, 1\)"),
        ({"indices": lambda a: a.astype(np.uint32)}, TypeError, "incompatible function arguments"),
        ({"among": changed(0, -1)}, ValueError, "among holds -1, which is out of range for 6 columns"),
        ({"among": changed(2, 6)}, ValueError, "among holds 6, which is out of range for 6 columns"),
        ({"among": changed(1, 0)}, ValueError, "among has 0 before 0; sort it and remove duplicates"),
        ({"among": lambda a: a[None]}, ValueError, r"among has shape \(1, 3\)"),
    ],
)
def test_top_n_refuses(changes, error, said):
    given = arguments(**changes)
    if error is None:
        core.top_n(**given)
        return
    with pytest.raises(error, match=said):
        core.top_n(**given)


def misaligned(array):
    copy = np.empty(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.mark.parametrize("name", ["left", "right", "first", "last", "indices", "among"])
def test_top_n_refuses_what_is_not_aligned(name):
    with pytest.raises(ValueError, match=rf"{name} is not aligned to \d+ bytes in memory; give a copy"):
        core.top_n(**arguments(**{name: misaligned}))


@pytest.mark.parametrize("name", ["left", "right", "rows", "cols"])
def test_product_at_refuses_what_is_not_aligned(name):
    given = {"left": np.ones((4, 3)), "right": np.ones((6, 3)), "rows": np.arange(3), "cols": np.arange(3)}
    with pytest.raises(ValueError, match=f"{name} is not aligned to .* bytes in memory"):
        core.product_at(**{**given, name: misaligned(given[name])})


@pytest.mark.parametrize(
    ("rows", "cols", "error", "said"),
    [
        ([0, 4], [0, 0], ValueError, "rows holds 4, which is out of range for 4 rows"),
        ([0, -1], [0, 0], ValueError, "rows holds -1, which is out of range for 4 rows"),
        ([0, 0], [0, 6], ValueError, "cols holds 6, which is out of range for 6 columns"),
        ([0, 0], [0], ValueError, r"cols has shape \(1,\); it has to be \(2,\)"),
        ([[0, 0]], [0, 0], ValueError, r"rows has shape \(1, 2\); it has to be \(any,\)"),
        ([0.0, 0], [0, 0], TypeError, "incompatible function arguments"),
    ],
)
def test_product_at_refuses(rows, cols, error, said):
    with pytest.raises(error, match=said):
        core.product_at(np.ones((4, 3)), np.ones((6, 3)), np.array(rows), np.array(cols))


numbers = st.integers(-2, 8)


@settings(max_examples=300, deadline=None)
@given(
    first=arrays(np.int64, 4, elements=numbers),
    last=arrays(np.int64, 4, elements=numbers),
    indices=arrays(np.int32, st.integers(0, 7), elements=numbers),
    among=st.none() | arrays(np.int64, st.integers(0, 4), elements=numbers),
    n=st.integers(-1, 9),
)
def test_whatever_is_given_is_answered_or_refused(first, last, indices, among, n):
    left, right = np.arange(8.0).reshape(4, 2) % 3, np.arange(12.0).reshape(6, 2) % 5
    try:
        got = core.top_n(left, right, n, first, last, indices, among)
    except ValueError:
        return
    assert_best(got, brute(left, right, n, first, last, indices, among))
