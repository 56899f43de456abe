"""The kernel of numba against the reference."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

import kernel_suite as suite
from dmc.kernels import numba_cpu, reference


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", suite.DTYPES)
@pytest.mark.parametrize("width", suite.WIDTHS)
def test_every_width_equals_reference(width, dtype, weighted):
    given = suite.case(width, dtype, weighted)
    got = suite.answers(numba_cpu, given)
    suite.assert_types(given, got)
    suite.assert_same(got, suite.answers(reference, given), dtype)
    suite.assert_one_sided(numba_cpu, reference, given)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mask", suite.ODD)
def test_odd_patterns_equal_reference(mask, weighted):
    given = suite.case(5, np.float64, weighted, mask)
    suite.assert_same(suite.answers(numba_cpu, given), suite.answers(reference, given), np.float64)
    suite.assert_one_sided(numba_cpu, reference, given)


@pytest.mark.parametrize("dtype", suite.DTYPES)
def test_int64_indices(dtype):
    given = suite.case(6, dtype, weighted=True, index=np.int64)
    suite.assert_same(suite.answers(numba_cpu, given), suite.answers(reference, given), dtype)


def test_number_of_threads_changes_no_bit():
    observations = suite.many_entries()
    pattern = observations.pattern
    rng = np.random.default_rng(3)
    left, right = (rng.standard_normal((lines, 9)) for lines in observations.shape)
    given = suite.Case(left, right, pattern, pattern.both_orders(observations.values), None)
    several = suite.answers(numba_cpu, given)
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        alone = suite.answers(numba_cpu, given)
    finally:
        numba.set_num_threads(before)
    for a, b in zip(alone, several, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_visible(bad):
    """Fast mathematics must not assume that NaN and infinity do not occur: the solver looks for them."""
    given = suite.case(4, mask="all observed")
    given.left[1, 2] = bad
    product, loss, d_left, _ = suite.answers(numba_cpu, given)
    assert not np.isfinite(product[given.pattern.rows == 1]).any()
    assert not np.isfinite(loss)
    assert not np.isfinite(d_left[1]).any()
    assert np.isfinite(d_left[0]).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_works_on_one_thread():
    """numba's OpenMP layer ends a process that asks for threads after a fork."""
    code = (
        "import os, numpy as np, kernel_suite as suite\n"
        "from dmc.kernels import numba_cpu, reference\n"
        "given = suite.case(6)\n"
        "def product(): return numba_cpu.masked_product(given.left, given.right, given.pattern)\n"
        "before, child = product(), os.fork()\n"
        "if not child:\n"
        "    with numba_cpu.threads(2): os._exit(0 if np.allclose(product(), before, rtol=1e-12) else 1)\n"
        "print(os.waitpid(child, 0)[1])"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=300)
    assert (run.returncode, run.stdout.strip()) == (0, "0"), run.stdout + run.stderr


def test_callers_take_turns_where_threads_are_of_the_work_queue():
    """numba's own layer, which serves where there is no OpenMP, ends the process when two callers meet."""
    code = (
        "import threading, numba, numpy as np, kernel_suite as suite\n"
        "from dmc.kernels import numba_cpu\n"
        "observations = suite.many_entries()\n"
        "factors = [np.ones((lines, 9)) for lines in observations.shape]\n"
        "def products(): [numba_cpu.masked_product(*factors, observations.pattern) for _ in range(20)]\n"
        "callers = [threading.Thread(target=products) for _ in range(4)]\n"
        "[caller.start() for caller in callers], [caller.join() for caller in callers]\n"
        "print(numba.threading_layer())"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment |= {"NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "2"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=300)
    assert (run.returncode, run.stdout.strip()) == (0, "workqueue"), run.stdout + run.stderr
