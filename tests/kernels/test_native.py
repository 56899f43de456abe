"""The compiled kernel against the reference; what its binding refuses; what it leaves alone."""

import gc
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import sparse
from threadpoolctl import threadpool_limits

import kernel_suite as suite
from dmc import Factors, MaskedLeastSquares, Observations, _extensions, kernels
from dmc._extensions import core
from dmc.kernels import native, reference

pytestmark = pytest.mark.skipif(
    _extensions.missing is not None,
    reason=f"the compiled core is not here: {_extensions.missing}; {_extensions.REMEDY}",
)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", suite.DTYPES)
@pytest.mark.parametrize("width", suite.WIDTHS)
def test_every_width_equals_reference(width, dtype, weighted):
    given = suite.case(width, dtype, weighted)
    got = suite.answers(native, given)
    suite.assert_types(given, got)
    suite.assert_same(got, suite.answers(reference, given), dtype)
    suite.assert_one_sided(native, reference, given)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", suite.DTYPES)
@pytest.mark.parametrize("mask", suite.ODD)
def test_odd_patterns_equal_reference(mask, dtype, weighted):
    for width in (1, 5, 16, 130):
        given = suite.case(width, dtype, weighted, mask)
        suite.assert_same(suite.answers(native, given), suite.answers(reference, given), dtype)
        suite.assert_one_sided(native, reference, given)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("width", "dtype"), [(3, np.float64), (16, np.float64), (20, np.float32)])
def test_long_lines_are_cut_into_segments(width, dtype, weighted):
    """Two lines of 100,000 and 40,000 entries between short ones: more than a segment holds, and not a multiple."""
    rng = np.random.default_rng(width)
    m, n = 6, 100_000
    lengths = [3, 100_000, 0, 40_000, 7, 32_768]
    rows = np.repeat(np.arange(m), lengths)
    cols = np.concatenate([np.sort(rng.choice(n, length, replace=False)) for length in lengths])
    observed = Observations.from_entries(rows, cols, rng.standard_normal(len(rows)).astype(dtype), (m, n))
    weights = rng.random(len(rows)).astype(dtype) if weighted else None
    given = suite.Case(
        rng.standard_normal((m, width)).astype(dtype),
        rng.standard_normal((n, width)).astype(dtype),
        observed.pattern,
        observed.pattern.both_orders(observed.values),
        None if weights is None else observed.pattern.both_orders(weights),
    )
    found = suite.answers(native, given)
    suite.assert_same(found, suite.answers(reference, given), dtype)
    with threadpool_limits(limits=1, user_api="openmp"):
        for one, two in zip(suite.answers(native, given), found, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("dtype", suite.DTYPES)
def test_int64_indices(dtype):
    given = suite.case(6, dtype, weighted=True, index=np.int64)
    suite.assert_same(suite.answers(native, given), suite.answers(reference, given), dtype)


def test_width_zero_predicts_zero():
    given = suite.case(3, mask="all observed")
    left, right = given.left[:, :0], given.right[:, :0]
    loss, d_left, d_right = kernels.residual_gradients(native, left, right, given.pattern, given.target)
    assert not native.masked_product(left, right, given.pattern).any()
    assert loss == pytest.approx(0.5 * np.sum(given.target.by_row**2))
    assert (d_left.shape, d_right.shape) == (left.shape, right.shape)


def test_layout_of_the_factors_does_not_matter():
    """Column-major and strided factors come out of transposes and slices all the time."""
    given = suite.case(6, weighted=True)
    wanted = suite.answers(native, given)
    column_major = given._replace(left=np.asfortranarray(given.left), right=np.repeat(given.right, 2, axis=1)[:, ::2])
    suite.assert_same(suite.answers(native, column_major), wanted, np.float64)


@pytest.mark.parametrize("dtype", suite.DTYPES)
def test_number_of_threads_changes_no_bit(dtype):
    observations = suite.many_entries()
    pattern = observations.pattern
    rng = np.random.default_rng(3)
    left, right = (rng.standard_normal((lines, 17)).astype(dtype) for lines in observations.shape)
    weights = pattern.both_orders(rng.random(pattern.n_observed).astype(dtype))
    given = suite.Case(left, right, pattern, pattern.both_orders(observations.values.astype(dtype)), weights)
    found = []
    for n_threads in (1, 2):
        with threadpool_limits(limits=n_threads, user_api="openmp"):
            assert core.max_threads() == n_threads
            found.append(suite.answers(native, given))
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def in_new_process(code: str, **environment: str) -> str:
    """Standard output of Python code, in a process of its own: the core reads its environment only once."""
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
    )
    return run.stdout.strip()


@pytest.mark.parametrize("wish", ["plain", "avx2"])
def test_every_instruction_set_gives_the_same(wish, tmp_path):
    code = (
        "import numpy as np, kernel_suite as suite; from dmc.kernels import native;"
        "print(native.core.instruction_set());"
        "np.savez('{}', *(a for width in suite.WIDTHS for dtype in suite.DTYPES"
        " for a in suite.answers(native, suite.case(width, dtype, True))))"
    )
    path = (tmp_path / "answers.npz").as_posix()
    # A wish beyond what the processor has is not granted.
    assert in_new_process(code.format(path), DMC_ISA=wish) in ("plain", wish)
    found = list(np.load(path).values())
    for width in suite.WIDTHS:
        for dtype in suite.DTYPES:
            here = suite.answers(native, suite.case(width, dtype, True))
            suite.assert_same(tuple(found[:4]), here, dtype)
            found = found[4:]


def test_denormal_numbers_survive_the_import():
    """-ffast-math at the link would switch on flush-to-zero for the whole process, and change everybody's results."""
    code = (
        "import dmc._core, numpy as np;"
        "halves = [np.array([np.finfo(t).tiny]) / t(2) for t in (np.float32, np.float64)];"
        "print(all(h[0] > 0 and h[0] * 2 == np.finfo(h.dtype).tiny for h in halves))"
    )
    assert in_new_process(code) == "True"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_visible(bad):
    """Compiler flags must not assume that NaN and infinity do not occur: the solver looks for them."""
    given = suite.case(20, mask="all observed")
    given.left[1, 2] = bad
    product, loss, d_left, _ = suite.answers(native, given)
    assert not np.isfinite(product[given.pattern.rows == 1]).any()
    assert not np.isfinite(loss)
    assert not np.isfinite(d_left[1]).any()
    assert np.isfinite(d_left[0]).all()


def entries(**changes):
    """Valid arguments of the entries, but for the changes."""
    pointers, indices = suite.case(4, mask="all observed").pattern.by_row
    values = {"pointers": pointers, "indices": indices, "other_lines": 6}
    return core.Entries(**{**values, **{name: change(values[name]) for name, change in changes.items()}})


def arguments(**changes):
    """Valid arguments of the gradient, but for the changes."""
    given = suite.case(4, mask="all observed")
    values = {"own": given.left, "other": given.right, "target": given.target.by_row, "weights": None}
    return {"entries": entries(), **values, **{name: change(values[name]) for name, change in changes.items()}}


def test_binding_takes_what_is_right():
    loss, d_own = core.residual_gradient(**arguments())
    assert loss > 0
    assert d_own.shape == (4, 4)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"pointers": lambda a: a[:-1]}, ValueError, r"indices has shape \(24,\); it has to be \(18,\)"),
        ({"pointers": lambda a: a[:0]}, ValueError, r"pointers has shape \(0,\); it needs at least one element"),
        ({"pointers": lambda a: a[:, None]}, ValueError, r"pointers has shape \(5, 1\)"),
        ({"pointers": lambda a: a + 1}, ValueError, r"pointers\[0\] is 1; it has to be 0"),
        ({"pointers": lambda a: a[[0, 2, 1, 3, 4]]}, ValueError, r"pointers\[2\] is less than pointers\[1\]"),
        ({"pointers": lambda a: a * 1000}, ValueError, r"indices has shape \(24,\); it has to be \(24000,\)"),
        ({"indices": lambda a: a[:-1]}, ValueError, r"indices has shape \(23,\); it has to be \(24,\)"),
        ({"indices": lambda a: a + 1}, ValueError, "index 6 is out of range for the 6 rows"),
        ({"indices": lambda a: a - 1}, ValueError, "index -1 is out of range for the 6 rows"),
        ({"other_lines": lambda _: 5}, ValueError, "index 5 is out of range for the 5 rows"),
        ({"other_lines": lambda _: -5}, ValueError, "other_lines is -5; give 0 or more"),
        ({"pointers": lambda a: a.astype(np.int32)}, TypeError, "incompatible constructor arguments"),
        ({"indices": lambda a: a.astype(np.uint32)}, TypeError, "incompatible constructor arguments"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_entries_refuse(changes, error, said):
    with pytest.raises(error, match=said):
        entries(**changes)


def test_entries_outlive_the_names_of_their_arrays():
    given = arguments()
    wanted = core.residual_gradient(**given)
    given["entries"] = core.Entries(*(a.copy() for a in suite.case(4, mask="all observed").pattern.by_row), 6)
    gc.collect()
    got = core.residual_gradient(**given)
    assert got[0] == wanted[0]
    np.testing.assert_array_equal(got[1], wanted[1])


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"own": lambda a: a[:, :3].copy()}, ValueError, r"other has shape \(6, 4\); it has to be \(6, 3\)"),
        ({"own": lambda a: a[:-1]}, ValueError, r"own has shape \(3, 4\); it has to be \(4, any\)"),
        ({"other": lambda a: a[:-1]}, ValueError, r"other has shape \(5, 4\); it has to be \(6, 4\)"),
        ({"own": lambda a: a.ravel()}, ValueError, r"own has shape \(16,\)"),
        ({"target": lambda a: a[:-1]}, ValueError, r"target has shape \(23,\)"),
        ({"target": lambda a: a[:, None]}, ValueError, r"target has shape \(24, 1\)"),
        ({"weights": lambda _: np.ones(3)}, ValueError, r"weights has shape \(3,\)"),
        # A wrong dtype or layout is refused, never copied in silence.
        ({"own": lambda a: a.astype(np.float32)}, TypeError, "incompatible function arguments"),
        ({"target": lambda a: a.astype(np.float32)}, TypeError, "incompatible function arguments"),
        ({"weights": lambda _: np.ones(24, int)}, TypeError, "incompatible function arguments"),
        ({"own": np.asfortranarray}, TypeError, "incompatible function arguments"),
        ({"other": lambda a: np.repeat(a, 2, axis=1)[:, ::2]}, TypeError, "incompatible function arguments"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_binding_refuses(changes, error, said):
    given = arguments(**changes)
    with pytest.raises(error, match=said):
        core.residual_gradient(**given)
    if not changes.keys() & {"target", "weights"}:
        del given["target"], given["weights"]
        with pytest.raises(error, match=said):
            core.masked_product(**given)


def misaligned(array):
    """A copy that starts one byte after a multiple of its numbers' size."""
    room = np.empty(array.nbytes + 16, np.uint8)
    start = -room.ctypes.data % 16 + 1
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def sums_arguments(**changes):
    """Valid arguments of the weighted sums, but for the changes."""
    given = suite.case(4, mask="all observed")
    values = {"other": given.right, "coefficients": given.target.by_row}
    return {"entries": entries(), **values, **{name: change(values[name]) for name, change in changes.items()}}


def network_arguments(**changes):
    """Valid arguments of a whole network's value and gradient, but for the changes."""
    given = suite.case(4, mask="all observed")
    by_column = core.Entries(*given.pattern.by_column, 4)
    values = {"U": given.left, "cores": [np.eye(4)], "V": given.right, "row_bias": np.ones(4)}
    values |= {"column_bias": np.ones(6), "row_l2": np.ones(4), "column_l2": np.ones(6)}
    for side, numbers in zip(("row", "column"), given.target, strict=True):
        values |= {f"target_by_{side}": numbers, f"weights_by_{side}": np.abs(numbers)}
    values |= {name: change(values[name]) for name, change in changes.items()}
    return {"by_row": entries(), "by_column": by_column, **values}


MISALIGNED = {
    "entries": (entries, ("pointers", "indices")),
    "gradient": (lambda **c: core.residual_gradient(**arguments(**c)), ("own", "other", "target", "weights")),
    "sums": (lambda **c: core.weighted_sums(**sums_arguments(**c)), ("other", "coefficients")),
    "network": (
        lambda **c: core.value_and_grad(**network_arguments(**c)),
        [*"UV", *(f"{side}_{what}" for side in ("row", "column") for what in ("bias", "l2"))]
        + [f"{what}_by_{side}" for side in ("row", "column") for what in ("target", "weights")],
    ),
}


@pytest.mark.parametrize(("call", "name"), [(call, name) for call, (_, names) in MISALIGNED.items() for name in names])
def test_what_is_not_aligned_is_refused_before_it_is_read(call, name):
    """On x86 it would be read all the same, elsewhere the process would end; the sanitizers look on."""
    function = MISALIGNED[call][0]

    def spoil(array):
        return misaligned(np.ones(24) if array is None else array)

    function()
    with pytest.raises(ValueError, match=rf"{name} is not aligned to [48] bytes in memory; give a copy"):
        function(**{name: spoil})


def test_a_core_that_is_not_aligned_is_refused():
    with pytest.raises(ValueError, match="a core is not aligned to 8 bytes in memory"):
        core.value_and_grad(**network_arguments(cores=lambda cores: [misaligned(cores[0])]))


def test_without_a_target_every_target_is_zero():
    for weights in (None, np.arange(24.0)):
        given = arguments(weights=lambda _, weights=weights: weights)
        zeros = core.residual_gradient(**{**given, "target": np.zeros(24)})
        for found in (core.residual_gradient(**{**given, "target": None}), zeros):
            assert found[0] == zeros[0]
            np.testing.assert_array_equal(found[1], zeros[1])


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", suite.DTYPES)
@pytest.mark.parametrize("width", [0, 1, 7, 16, 33, 300])
def test_weighted_sums_are_those_of_scipy(width, dtype, index):
    """Lines without entries at both ends and between; one that several threads share; a factor beyond the cache."""
    rng = np.random.default_rng(width)
    lengths, others = [0, 3, 100_000 if width < 300 else 40_000, 0, 32_768, 7, *[20] * 300, 0], 5000
    pointers = np.concatenate([[0], np.cumsum(lengths)])
    indices = rng.integers(0, others, pointers[-1]).astype(index)
    other = rng.standard_normal((others, width)).astype(dtype)
    lines = (core.Entries if index is np.int32 else core.WideEntries)(pointers, indices, others)
    for coefficients in (None, rng.standard_normal(len(indices)).astype(dtype)):
        found = [core.weighted_sums(lines, other, coefficients, n_threads) for n_threads in (1, 2)]
        data = np.ones(len(indices)) if coefficients is None else coefficients.astype(float)
        wanted = sparse.csr_array((data, indices, pointers), (len(lengths), others)) @ other.astype(float)
        assert (found[0].dtype, found[0].shape) == (dtype, wanted.shape)
        np.testing.assert_array_equal(*found)
        scale = np.maximum(lengths, 1)[:, None]
        np.testing.assert_allclose(found[0] / scale, wanted / scale, rtol=0, atol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"other": lambda a: a[:-1]}, ValueError, r"other has shape \(5, 4\); it has to be \(6, any\)"),
        ({"other": lambda a: a.ravel()}, ValueError, r"other has shape \(24,\)"),
        ({"coefficients": lambda a: a[:-1]}, ValueError, r"coefficients has shape \(23,\); it has to be \(24,\)"),
        ({"coefficients": lambda a: a.astype(np.float32)}, TypeError, "incompatible function arguments"),
        ({"coefficients": lambda a: np.repeat(a, 2)[::2]}, TypeError, "incompatible function arguments"),
        ({"other": np.asfortranarray}, TypeError, "incompatible function arguments"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_weighted_sums_refuse(changes, error, said):
    with pytest.raises(error, match=said):
        core.weighted_sums(**sums_arguments(**changes))


def rounded(matrix):
    """To bfloat16: the upper half of the bits, to nearest, ties to even."""
    bits = np.ascontiguousarray(matrix).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("mask", suite.MASKS)
@pytest.mark.parametrize("width", suite.WIDTHS)
def test_bfloat16_rounds_the_side_that_is_gathered_and_nothing_else(width, mask):
    given = suite.case(width, np.float32, weighted=True, mask=mask)
    left, right, *rest = given
    got = kernels.residual_gradients(native, *given, gather_dtype="bfloat16")
    loss, d_left, _ = kernels.residual_gradients(reference, left, rounded(right), *rest)
    _, _, d_right = kernels.residual_gradients(reference, rounded(left), right, *rest)
    suite.assert_same((0.0, *got), (0.0, loss, d_left, d_right), np.float32)


def test_bfloat16_keeps_what_is_not_finite():
    given = suite.case(20, np.float32, mask="all observed")
    for bad in (np.nan, np.inf, np.float32(3.4e38)):  # the last rounds up to infinity
        given.right[1, 2] = bad
        with np.errstate(all="ignore"):
            loss, d_left, _ = kernels.residual_gradients(native, *given, gather_dtype="bfloat16")
        assert not np.isfinite(loss)
        assert not np.isfinite(d_left).any()


NETWORKS = {
    "no core": ((7,), False, False),
    "one core": ((7, 7), False, False),
    "three cores": ((20, 20, 20, 20), False, False),
    "cores that are not square": ((9, 33, 5, 17), False, False),
    "both biases": ((16, 16, 16), True, True),
    "bias of the rows": ((5, 5), True, False),
    "bias of the columns": ((130, 8), False, True),
    "no column": ((3, 0), True, True),
}


def network(shape, widths, row_bias, column_bias, dtype):
    rng = np.random.default_rng(5)
    (m, n), draw = shape, lambda *size: rng.standard_normal(size).astype(dtype)
    cores = [draw(a, b) / np.sqrt(a).astype(dtype) for a, b in itertools.pairwise(widths)]
    return Factors(
        draw(m, widths[0]), cores, draw(n, widths[-1]), draw(m) if row_bias else None, draw(n) if column_bias else None
    )


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("mask", suite.MASKS)
@pytest.mark.parametrize("dtype", suite.DTYPES)
@pytest.mark.parametrize("penalised", [False, True])
def test_whole_network_equals_the_reference_path(kind, mask, dtype, penalised):
    given = suite.case(3, dtype, penalised, mask)
    (m, n), rng = given.pattern.shape, np.random.default_rng(6)
    observations = Observations(given.pattern, given.target.by_row)
    weights = given.weights.by_row if penalised else None
    l2 = (rng.random(m), rng.random(n)) if penalised else 0.0
    factors = network((m, n), *NETWORKS[kind], dtype)
    (value, grad), (wanted, oracle) = (
        MaskedLeastSquares(observations, weights, l2, kernel=name).value_and_grad(factors)
        for name in ("native", "reference")
    )
    tolerance = 500 * float(np.finfo(dtype).eps)
    assert value == pytest.approx(wanted, rel=tolerance)
    assert grad.depth == oracle.depth
    largest = max(np.abs(a).max(initial=0) for a in oracle.arrays)
    for a, b in zip(grad.arrays, oracle.arrays, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * largest)


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or "san.so" in os.environ.get("LD_PRELOAD", ""),
    reason="limits the memory as Linux does, and a sanitizer keeps what is freed",
)
def test_memory_kept_for_other_widths_is_given_up_where_it_is_missing():
    said = in_new_process(
        "import resource, numpy as np; from dmc import Observations; from dmc.kernels import native\n"
        "m = 200_000; at = np.arange(m); obs = Observations.from_entries(at, at, np.ones(m, np.float32))\n"
        "def run(k):\n"
        "    a = np.ones((m, k), np.float32); b = np.ones((m, k), np.float32)\n"
        "    native.masked_product(a, b, obs.pattern)\n"
        "for k in (99, 107, 115, 123): run(k)\n"  # each keeps two padded copies
        "taken = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (taken + 300_000_000, -1)); run(91); print('done')"
    )
    assert said == "done"


@pytest.mark.parametrize("gathered", [None, "bfloat16"])
def test_whole_network_is_the_same_for_any_number_of_threads(gathered):
    observations = suite.many_entries()
    pattern = observations.pattern
    observations = Observations(pattern, observations.values.astype(np.float32))
    factors = network(observations.shape, (96, 80), True, True, np.float32)
    problem = MaskedLeastSquares(observations, l2=0.1, kernel="native", gather_dtype=gathered)
    found = []
    for n_threads in (1, 2, 3):
        with threadpool_limits(limits=n_threads, user_api="openmp"):
            value, grad = problem.value_and_grad(factors)
            found.append((value, *grad.arrays))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_entries_are_taken_or_refused_whatever_they_hold(data):
    """Arrays of any content: a sentence, or the answer of the reference; never a crash (the sanitizers look on)."""
    lines, others = data.draw(st.integers(0, 6)), data.draw(st.integers(0, 6))
    wild = st.integers(-2, 9)
    counts = data.draw(st.lists(st.integers(0, 4), min_size=lines, max_size=lines))
    pointers = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    if data.draw(st.booleans()):
        pointers = np.array(data.draw(st.lists(wild, max_size=7)), np.int64)
    length = int(pointers[-1]) if len(pointers) and data.draw(st.booleans()) else data.draw(st.integers(0, 20))
    drawn = st.integers(0, others - 1) if others and data.draw(st.booleans()) else wild
    length = max(length, 0)
    indices = np.array(data.draw(st.lists(drawn, min_size=length, max_size=length)), np.int32)
    valid = (
        len(pointers) > 0
        and pointers[0] == 0
        and (np.diff(pointers) >= 0).all()
        and len(indices) == pointers[-1]
        and ((indices >= 0) & (indices < others)).all()
    )
    if not valid:
        with pytest.raises(ValueError, match=r"pointers|indices|index"):
            core.Entries(pointers, indices, others)
        return
    entries = core.Entries(pointers, indices, others)
    width = data.draw(st.integers(0, 70))
    rng = np.random.default_rng(0)
    own, other = rng.standard_normal((len(pointers) - 1, width)), rng.standard_normal((others, width))
    rows = np.repeat(np.arange(len(own)), np.diff(pointers))
    product = np.einsum("ek,ek->e", own[rows], other[indices])
    np.testing.assert_allclose(core.masked_product(entries, own, other), product, atol=1e-12)
    _, d_own = core.residual_gradient(entries, own, other, np.zeros(len(indices)))
    wanted = np.zeros_like(own)
    np.add.at(wanted, rows, product[:, None] * other[indices])
    np.testing.assert_allclose(d_own, wanted, atol=1e-10)
    with pytest.raises(ValueError, match="own has shape"):
        core.masked_product(entries, rng.standard_normal((len(own) + 1, width)), other)


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or "asan.so" in os.environ.get("LD_PRELOAD", ""),
    reason="reads the peak of memory as Linux tells it, and a sanitizer keeps what is freed",
)
def test_memory_kept_between_calls_is_that_of_one_call():
    """A fit whose width changes at every step must not hold the arrays of all the widths before."""
    code = (
        "import resource, numpy as np, dmc; from dmc import kernels\n"
        "from dmc.kernels import native\n"
        "lines = np.arange(300_000)\n"
        "obs = dmc.Observations.from_entries(lines, lines, np.ones(len(lines)))\n"
        "target = obs.pattern.both_orders(obs.values)\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10\n"
        "def run(k):\n"
        " kernels.residual_gradients(native, *(np.ones((len(lines), k)) for _ in range(2)), obs.pattern, target)\n"
        "run(33); before = peak()\n"
        "for k in range(31, 16, -1): run(k)\n"
        "print(peak() - before)"
    )
    assert int(in_new_process(code, OMP_NUM_THREADS="1")) < 100  # MiB; an array has 40 to 80


def test_large_gradients_are_their_holders_own_and_outlive_the_entries():
    """They come out of a pool of the entries, to which they go back when nobody holds them any more."""
    lines, width = np.arange(40_000), 32
    held = core.Entries(np.arange(40_001), lines.astype(np.int32), len(lines))
    own, nothing = np.ones((len(lines), width), np.float32), np.zeros(len(lines), np.float32)
    first = core.residual_gradient(held, own, own, nothing)[1]
    second = core.residual_gradient(held, own, 2 * own, nothing)[1]
    assert (first == width).all()
    assert (second == 4 * width).all()
    second[:] = 7  # the holder's to write to
    assert (first == width).all()
    del second
    third = core.residual_gradient(held, own, 3 * own, nothing)[1]
    del held
    gc.collect()
    view = third[5:9]
    del third
    gc.collect()
    assert (view == 9 * width).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_does_not_hang():
    """Threads do not survive a fork; whoever waits for them waits for ever."""
    code = (
        "import multiprocessing, numpy as np, kernel_suite as suite; from dmc import kernels\n"
        "from dmc.kernels import native\n"
        "obs = suite.many_entries()\n"
        "factors = [np.ones((lines, 40)) for lines in obs.shape]\n"
        "target = obs.pattern.both_orders(obs.values)\n"
        "def loss(_): return kernels.residual_gradients(native, *factors, obs.pattern, target)[0]\n"
        "before = loss(0)\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "    print(pool.map_async(loss, range(4)).get(timeout=60) == [before] * 4, loss(0) == before)\n"
    )
    assert in_new_process(code, OMP_NUM_THREADS="2") == "True True"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_the_core_brings_no_openmp_runtime():
    """Which would have to be the very one that torch brings, and ends the process where it finds no thread."""
    code = (
        "import dmc._core\n"
        "maps = open('/proc/self/maps').read().split()\n"
        "print({p for p in maps if 'gomp' in p or 'libomp' in p})"
    )
    assert in_new_process(code) == "set()"


def test_omp_num_threads_is_honoured():
    assert in_new_process("import dmc._core as c; print(c.max_threads())", OMP_NUM_THREADS="1") == "1"


def test_description_names_instruction_set_and_threads():
    assert core.instruction_set() in native.describe()
    assert f"{core.max_threads()} thread" in native.describe()
