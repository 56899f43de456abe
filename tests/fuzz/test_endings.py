"""Some of the endings that `make fuzz` tries by the hundred: kills, interrupts, no more room, others beside."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent.parent


def test_old_or_new_whatever_ends_the_writer():
    """In a process that has nothing but one thread, as it forks."""
    given = ["--kills", "6", "--interrupts", "6", "--limits", "6", "--seconds", "0.3"]
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    found = subprocess.run(
        [sys.executable, "-m", "fuzz.endings", *given],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count(" 0 faults") >= 4
