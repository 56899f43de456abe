"""The compiled kernel against the reference; what its binding refuses; what it leaves alone."""

import gc
import os
import subprocess
import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import kernel_suite as suite
from dmc import Observations, _compiled
from dmc._compiled import core
from dmc.kernels import native, reference

pytestmark = pytest.mark.skipif(
    _compiled.missing is not None, reason=f"the compiled core is not here: {_compiled.missing}; {_compiled.REMEDY}"
)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", suite.DTYPES)
@pytest.mark.parametrize("width", suite.WIDTHS)
def test_every_width_equals_reference(width, dtype, weighted):
    given = suite.case(width, dtype, weighted)
    got = suite.answers(native, given)
    suite.assert_types(given, got)
    suite.assert_same(got, suite.answers(reference, given), dtype)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", suite.DTYPES)
@pytest.mark.parametrize("mask", suite.ODD)
def test_odd_patterns_equal_reference(mask, dtype, weighted):
    for width in (1, 5, 16, 130):
        given = suite.case(width, dtype, weighted, mask)
        suite.assert_same(suite.answers(native, given), suite.answers(reference, given), dtype)


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
    loss, d_left, d_right = native.masked_residual_grad(left, right, given.pattern, given.target)
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
            assert core.max_threads() in (1, n_threads)  # 1 where it was built without OpenMP
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
        cwd=os.path.dirname(__file__),
        env={**os.environ, **environment},
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
        ({"pointers": lambda a: a[:0]}, ValueError, r"pointers has shape \(0,\); it has to be \(lines \+ 1,\)"),
        ({"pointers": lambda a: a[:, None]}, ValueError, r"pointers has shape \(5, 1\)"),
        ({"pointers": lambda a: a + 1}, ValueError, "pointers start at 1"),
        ({"pointers": lambda a: a[[0, 2, 1, 3, 4]]}, ValueError, "pointers fall after line 1"),
        ({"pointers": lambda a: a * 1000}, ValueError, r"indices has shape \(24,\); it has to be \(24000,\)"),
        ({"indices": lambda a: a[:-1]}, ValueError, r"indices has shape \(23,\); it has to be \(24,\)"),
        ({"indices": lambda a: a + 1}, ValueError, "index 6 is out of range for 6 lines"),
        ({"indices": lambda a: a - 1}, ValueError, "index -1 is out of range for 6 lines"),
        ({"other_lines": lambda _: 5}, ValueError, "index 5 is out of range for 5 lines"),
        ({"other_lines": lambda _: -5}, ValueError, "index 0 is out of range for -5 lines"),
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
        ({"own": lambda a: a[:, :3].copy()}, ValueError, r"own has shape \(4, 3\) and other \(6, 4\)"),
        ({"own": lambda a: a[:-1]}, ValueError, "own has 3 lines and other 6; the entries are of 4 and 6"),
        ({"other": lambda a: a[:-1]}, ValueError, "own has 4 lines and other 5; the entries are of 4 and 6"),
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


def test_description_names_instruction_set_and_threads():
    assert core.instruction_set() in native.describe()
    assert f"{core.max_threads()} threads" in native.describe()
