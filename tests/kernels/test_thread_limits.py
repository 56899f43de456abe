"""The core's threads as threadpoolctl sees and limits them."""

import threading

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from dmc import _extensions, kernels
from dmc.kernels import thread_limits

core = _extensions.core
pytestmark = pytest.mark.skipif(core is None, reason="dmc._core was not built: there was no compiler")


def pool() -> dict:
    (found,) = [pool for pool in threadpool_info() if pool["internal_api"] == thread_limits.CoreThreads.internal_api]
    return found


def test_info_shows_the_core():
    assert pool()["num_threads"] == core.max_threads()
    assert pool()["filepath"] == core.__file__


@pytest.mark.parametrize("limits", [{"limits": 3}, {"limits": 3, "user_api": "openmp"}])
def test_limits_hold_inside_and_end(limits):
    before = core.max_threads()
    with threadpool_limits(**limits):
        assert core.max_threads() == pool()["num_threads"] == 3
    assert core.max_threads() == before


def test_a_limit_is_that_of_the_thread_that_sets_it():
    """Two fits beside each other, each with its own n_threads."""
    found = []
    with kernels.threads(5):
        thread = threading.Thread(target=lambda: found.append(core.max_threads()))
        thread.start()
        thread.join()
        assert core.max_threads() == 5
    assert found == [core.max_threads()]
