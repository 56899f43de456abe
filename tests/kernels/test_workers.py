"""The core's own threads: as many as named, fewer where none are to be had, whole after a fork, quiet at the end."""

import os
import subprocess
import sys
import sysconfig
import threading

import numpy as np
import pytest

import kernel_suite as suite
from cuda_stand_in import COMPILER, CSRC, compiled
from dmc import _extensions, kernels

core = _extensions.core
pytestmark = pytest.mark.skipif(core is None, reason="dmc._core was not built: there was no compiler")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads as Linux tells of them")
unsanitized = pytest.mark.skipif(
    any(name in os.environ.get("LD_PRELOAD", "") for name in ("asan", "tsan")),
    reason="a sanitizer needs address space of its own, and knows no threads after a fork",
)

# A problem large enough for several threads; `loss()` is the same to the bit for any number.
PREPARED = """
import os, sys, threading, time
import numpy as np
import kernel_suite as suite
from dmc import kernels
from dmc.kernels import native
obs = suite.many_entries()
factors = [np.ones((lines, 40)) for lines in obs.shape]
target = obs.pattern.both_orders(obs.values)
def loss(): return kernels.residual_gradients(native, *factors, obs.pattern, target)[0]
def threads(): return len(os.listdir("/proc/self/task"))
"""


def run(code: str, *, prepared: str = PREPARED, timeout: float = 120, **environment: str) -> str:
    """What code prints, in a process of its own with two threads, which has to end well."""
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", prepared + code],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}
        | environment,
    )
    assert found.returncode == 0, (found.returncode, found.stderr)
    return found.stdout.strip()


@linux
@unsanitized
def test_a_forked_process_has_all_threads_again():
    """Also when others are inside kernels at the moment of the fork, again and again."""
    code = """
before, alone = loss(), threads()
stop = False
def busy():
    while not stop: loss()
others = [threading.Thread(target=busy) for _ in range(2)]
for other in others: other.start()
good = 0
for _ in range(8):
    child = os.fork()
    if not child:
        first = threads()
        os._exit(0 if (first, loss(), threads()) == (1, before, 2) else 1)
    good += os.waitpid(child, 0)[1] == 0
stop = True
for other in others: other.join()
print(good, loss() == before)
"""
    assert run(code) == "8 True"


@linux
@unsanitized
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without processes")
def test_fewer_threads_where_a_user_may_have_no_more():
    """The caller works alone, and has helpers again when it may."""
    code = """
import resource
before = loss()
child = os.fork()
if not child:
    os.setuid(54321)
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
    lonely = loss(), threads()
    resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
    time.sleep(1.1)  # it does not ask at every loop
    os._exit(0 if lonely == (before, 1) and (loss(), threads()) == (before, 2) else 1)
print(os.waitpid(child, 0)[1])
"""
    assert run(code) == "0"


@unsanitized
def test_a_fit_in_a_daemon_thread_does_not_disturb_the_end():
    """Python ends such a thread when it asks for the lock; that must not end the process."""
    code = """
def busy():
    while True: loss()
for _ in range(2): threading.Thread(target=busy, daemon=True).start()
time.sleep(0.2)
"""
    assert run(code) == ""


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("3", 3),
        ("4,2", 4),
        (" 5 ", 5),
        ("", None),
        ("0", None),
        ("-1", None),
        ("abc", None),
        ("2x", None),
        ("9" * 30, None),
    ],
)
@linux
def test_threads_are_those_of_the_environment_or_of_the_affinity(said, wanted):
    code = "import os, dmc._core as c; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); print(c.max_threads())"
    assert run(code, prepared="", OMP_NUM_THREADS=said) == str(wanted or 1)


def test_callers_share_the_threads_and_get_their_own_answers():
    """From eight Python threads at once, whose kernels run without Python's lock."""
    given = suite.many_entries()
    pattern, rng = given.pattern, np.random.default_rng(0)
    native = kernels.select("native")
    problems = [[rng.standard_normal((lines, 9)) for lines in given.shape] for _ in range(8)]

    def answer(sides, n_threads):
        return core.masked_product(pattern.prepared(0), *sides, n_threads)

    wanted, found = [answer(sides, 1) for sides in problems], [[] for _ in problems]

    def work(at):
        for n_threads in (1, 2, 3, 64):
            found[at].append(answer(problems[at], n_threads))

    threads = [threading.Thread(target=work, args=(at,)) for at in range(len(problems))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert native is not None
    for one, several in zip(wanted, found, strict=True):
        for other in several:
            np.testing.assert_array_equal(one, other)


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python is built with its lock")
def test_a_python_without_its_lock_stays_so():
    """An extension that does not say that it can do without brings the lock back for the whole process."""
    code = "import sys; from dmc import _extensions; print(_extensions.missing, sys._is_gil_enabled())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "False"]


@unsanitized
@pytest.mark.skipif(COMPILER is None, reason="there is no g++ to compile the threads by themselves")
def test_loops_inside_loops_and_what_bodies_throw(tmp_path):
    """Of several callers, as the thread sanitizer sees them: it ends the program at a race."""
    program, sources = tmp_path / "program", ("lab/workers_test", "workers", "processors", "runtime")
    options = ("-std=c++17", "-O1", "-pthread", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-fsanitize=thread")
    compiled(COMPILER, *options, *(CSRC / f"{source}.cpp" for source in sources), "-o", program)
    run = subprocess.run([program], capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout) == (0, "0 wrong\n"), run.stdout + run.stderr


@linux
@unsanitized
def test_a_full_memory_is_an_error_of_the_caller():
    """With the bytes that were asked for; after it all goes on. In a process whose heap has nothing free."""
    code = """
import resource
import numpy as np
from dmc import _extensions
core = _extensions.core
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
lines = np.arange(600_000)
entries = core.Entries(np.arange(600_001), lines.astype(np.int32), len(lines))
own = np.ones((len(lines), 33), np.float32)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (30 << 20), hard))
try:
    core.residual_gradient(entries, own, own, None, None, 2)
except MemoryError as told:
    print(any(map(str.isdigit, str(told))))
resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
print(core.residual_gradient(entries, own, own, None, None, 2)[0] / (len(lines) * 33**2 / 2))
"""
    told, value = run(code, prepared="").split()
    assert told == "True"
    assert float(value) == pytest.approx(1)
