"""Which kernel is chosen and why; that all kernels agree; that BLAS leaves them the cores."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import kernel_suite as suite
from dmc import _extensions, kernels


@pytest.fixture(autouse=True)
def no_wish(monkeypatch):
    monkeypatch.delenv("DMC_KERNEL", raising=False)


@pytest.fixture
def without_native(monkeypatch):
    monkeypatch.setattr(_extensions, "missing", "its module dmc._core was not built")


@pytest.fixture
def without_numba(monkeypatch):
    find = kernels.importlib.util.find_spec
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: None if name == "numba" else find(name))


AVAILABLE = [entry.name for entry in kernels.report() if entry.available]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", suite.DTYPES)
@pytest.mark.parametrize("mask", suite.MASKS)
def test_all_agree(mask, dtype, weighted):
    given = suite.case(20, dtype, weighted, mask)
    first, *others = [suite.answers(kernels.select(name), given) for name in AVAILABLE]
    for other in others:
        suite.assert_same(other, first, dtype)


@pytest.mark.parametrize("name", AVAILABLE)
def test_no_kernel_changes_its_inputs(name):
    given = suite.case(5, weighted=True)
    arrays = [given.left, given.right, *given.target, *given.weights, *given.pattern.by_row, *given.pattern.by_column]
    for array in arrays:
        array.flags.writeable = False
    suite.answers(kernels.select(name), given)
    fresh = suite.case(5, weighted=True)  # compiled code can write to what NumPy calls read-only
    for array, same in zip(arrays, [fresh.left, fresh.right, *fresh.target, *fresh.weights], strict=False):
        np.testing.assert_array_equal(array, same)


@pytest.mark.parametrize("name", AVAILABLE)
def test_name_selects(name):
    assert kernels.select(name).__name__.startswith(f"dmc.kernels.{name}")
    assert kernels.chosen(name) == name


def test_best_comes_first():
    assert kernels.NAMES == ("native", "numba", "reference", "dense")
    assert kernels.chosen() == AVAILABLE[0]


def test_environment_decides_where_no_name_is_given(monkeypatch):
    monkeypatch.setenv("DMC_KERNEL", "reference")
    assert kernels.chosen() == "reference"
    assert kernels.chosen("numba") == "numba"
    monkeypatch.setenv("DMC_KERNEL", "")
    assert kernels.chosen() == AVAILABLE[0]


def test_unknown_name():
    with pytest.raises(ValueError, match="kernel is 'cuda9'; choose one of 'native', 'numba', 'reference'"):
        kernels.select("cuda9")


def test_unknown_name_in_the_environment_is_told_as_such(monkeypatch):
    monkeypatch.setenv("DMC_KERNEL", "fast")
    with pytest.raises(ValueError, match="environment variable DMC_KERNEL is 'fast'"):
        kernels.select()


def test_next_best_serves_where_one_is_missing(without_native, request):
    assert kernels.chosen() == "numba"
    request.getfixturevalue("without_numba")
    assert kernels.chosen() == "reference"


def test_missing_kernel_by_name_says_why_and_what_to_do(without_native, without_numba):
    with pytest.raises(
        ImportError, match=r"native kernel is not available: its module dmc._core was not built; install a C"
    ):
        kernels.select("native")
    with pytest.raises(
        ImportError, match=r"numba kernel is not available: numba is not installed; run: pip install numba"
    ):
        kernels.select("numba")


def test_report_gives_a_reason_for_each_and_a_remedy_for_the_missing(without_native):
    report = {entry.name: entry for entry in kernels.report()}
    assert tuple(report) == kernels.NAMES
    assert all(entry.reason for entry in report.values())
    assert not report["native"].available
    assert "compiler" in report["native"].remedy
    assert report["reference"].available


def blas_threads() -> list[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_blas_leaves_the_cores_to_the_kernel_and_gets_them_back():
    before = blas_threads()
    with kernels.sharing_cores(20):
        assert set(blas_threads()) <= {1}
    assert blas_threads() == before


def test_fits_that_end_in_another_order_give_blas_its_threads_back():
    """In several Python threads, as a server has them: all of NumPy was left with one thread."""
    before = blas_threads()
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        contexts = {first: kernels.sharing_cores(20), second: kernels.threads(1)}
        for thread in (first, second):
            thread.submit(contexts[thread].__enter__).result()
        for thread in (first, second):
            thread.submit(contexts[thread].__exit__, None, None, None).result()
        assert blas_threads() == before


def test_blas_has_the_inner_number_inside_and_the_outer_one_again():
    with kernels.threads(2):
        before = blas_threads()
        with kernels.sharing_cores(20):
            assert set(blas_threads()) == {1}
        assert blas_threads() == before


def test_blas_keeps_its_threads_for_wide_factors():
    before = blas_threads()
    with kernels.sharing_cores(kernels.NARROW + 1):
        assert blas_threads() == before


@pytest.mark.parametrize("name", [n for n in AVAILABLE if n in ("native", "numba")])
def test_threads_are_as_many_as_named_and_given_back(name, monkeypatch):
    monkeypatch.setenv("DMC_KERNEL", name)

    def counts():
        if name == "numba":
            import numba

            return {numba.get_num_threads()}
        return {_extensions.core.max_threads()}

    before = counts(), blas_threads()
    with kernels.threads(1):
        assert counts() == {1}
        assert set(blas_threads()) == {1}
    assert (counts(), blas_threads()) == before
    with kernels.threads(None):
        assert (counts(), blas_threads()) == before


def test_no_threads_at_all_is_refused():
    with pytest.raises(ValueError, match="n_threads is 0; it has to be at least 1"), kernels.threads(0):
        pass
