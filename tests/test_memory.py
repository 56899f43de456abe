"""A full memory is a MemoryError of one sentence with a size."""

import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import dmc
from dmc import _memory


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "there is no room left in memory; the process holds"),
        (MemoryError("std::bad_alloc"), "there is no room left in memory; the process holds"),
        (MemoryError("Unable to allocate output buffer."), "Unable to allocate output buffer; the process holds"),
        (ImportError("x.so: failed to map segment from shared object"), "(x.so: failed to map segment from shared"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."), "8 bytes"),
    ],
)
def test_words_and_a_size(error, said):
    with pytest.raises(MemoryError) as told, _memory.words():
        raise error
    assert said in str(told.value)
    assert any(map(str.isdigit, str(told.value)))
    assert told.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [MemoryError("Unable to allocate 8 GiB"), ImportError("no such file"), ValueError("x")]
)
def test_other_errors_pass_as_they_are(error):
    with pytest.raises(type(error)) as told, _memory.words():
        raise error
    assert told.value is error


def test_an_import_that_failed_for_want_of_memory_is_told_by_its_cause():
    error = ImportError("sklearn is not built correctly")
    error.__context__ = MemoryError()
    assert "no room left" in str(_memory.translated(error))


def test_a_call_because_memory_was_full_is_not_taken_for_its_cause():
    @_memory.in_words
    def fails():
        raise RuntimeError("of its own")

    try:
        raise MemoryError
    except MemoryError:
        with pytest.raises(RuntimeError, match="of its own"):
            fails()


def test_many_callers_at_once_ask_blas_for_few_buffers(monkeypatch):
    """OpenBLAS complains on standard error of more than it was built for, and refuses many more."""
    asked = []
    monkeypatch.setattr(_memory, "_keep_buffers", asked.append)
    callers = _memory._Callers()
    together = threading.Barrier(100)

    def call():
        callers.enter()
        together.wait()
        callers.leave()

    threads = [threading.Thread(target=call) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == list(range(1, 33))
    assert callers._inside == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_fork_inside_a_method_leaves_it():
    with _memory.words():
        child = os.fork()
        inside = _memory._callers._inside
    if not child:
        os._exit(0 if (inside, _memory._callers._inside) == (1, 0) else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("kind", [dmc.MatrixCompletion, dmc.Recommender, dmc.TensorCompletion, dmc.Observations])
def test_every_public_method_is_in_words(kind):
    names = [name for name in vars(kind) if not name.startswith("_") and callable(getattr(kind, name))]
    assert names
    for name in names:
        if getattr(kind, name).__module__.startswith("dmc."):
            assert hasattr(getattr(kind, name), "__wrapped__"), name


def test_methods_keep_their_names_signatures_and_docstrings():
    assert dmc.MatrixCompletion.fit.__name__ == "fit"
    assert dmc.MatrixCompletion.fit.__doc__
    assert dmc.MatrixCompletion().get_params()["rank"] is None
    assert isinstance(dmc.Observations.from_entries([0], [0], [1.0], (1, 1)), dmc.Observations)


WALK = """
import os, resource, sys
import numpy as np, dmc
from dmc import kernels
kernels.select()
{prepared}
for room in {rooms}:
    child = os.fork()
    if not child:
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + int(room * 2**20),) * 2)
        try:
            {fit}
        except MemoryError as told:
            os._exit(0 if any(map(str.isdigit, str(told))) else 3)
        os._exit(0)
    ended = os.waitpid(child, 0)[1]
    if ended: print(room, "MB:", os.waitstatus_to_exitcode(ended))
"""
SANITIZED = any(name in os.environ.get("LD_PRELOAD", "") for name in ("asan", "tsan"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the address space as Linux tells it")
@pytest.mark.skipif(SANITIZED, reason="a sanitizer needs address space of its own")
def test_a_fit_in_a_limited_address_space_ends_well_or_in_words():
    """The long walk, for each estimator, is in tests/fuzz/memory.py."""
    code = WALK.format(
        prepared="g = np.random.default_rng(0)\n"
        "x = np.where(g.random((300, 300)) < 0.4, g.standard_normal((300, 3)) @ g.standard_normal((3, 300)), np.nan)\n"
        "dmc.MatrixCompletion",
        rooms=(0, 1, 5, 20, 40, 45, 80, 85),
        fit="dmc.MatrixCompletion(rank=6).fit(x)",
    )
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=300)
    assert (run.returncode, run.stdout) == (0, ""), run.stdout + run.stderr


def test_room_is_looked_for_before_blas_begins():
    """OpenBLAS ends the process when it finds none for its buffers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if not sys.platform.startswith("linux") or SANITIZED:
        pytest.skip("limits the address space as Linux does")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 20), hard))
    try:
        with pytest.raises(MemoryError, match="the 40 MB that BLAS needs to start; the process holds"):
            _memory._check_room(_memory._BUFFER)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert np.isfinite(np.ones((50, 50)) @ np.ones(50)).all()
