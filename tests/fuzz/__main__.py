"""python -m fuzz: the long run of `make fuzz`, some of it, or one attempt again."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from fuzz import harness
from fuzz.targets import GROUPS, is_there

LONG = {"binding": 1_000_000, "readers": 100_000, "loaders": 100_000}
CHECKS = ("endings", "memory", "one_state", "flat_memory")  # modules that are programs of their own


def main() -> int:
    """0 where nothing was found, 1 where there were faults."""
    parser = argparse.ArgumentParser("fuzz", description=__doc__)
    parser.add_argument("what", nargs="*", help="GROUP=COUNT or GROUP.TARGET=COUNT; left out: the long run, and checks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of the one attempt to make")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    given = parser.parse_args()
    begun = time.monotonic()
    counts = {name: int(count or 1) for name, _, count in (what.partition("=") for what in given.what)}
    try:
        wrong = [group for group, count in (counts or LONG).items() if not tried(group, count, given)]
        if not counts:
            wrong += [check for check in CHECKS if not checked(check)]
    except KeyboardInterrupt:
        return 130
    print(f"\n{time.monotonic() - begun:.0f} s in all; {'faults in ' + ', '.join(wrong) if wrong else 'no fault'}")
    return bool(wrong)


def tried(group: str, count: int, given: argparse.Namespace) -> bool:
    """Whether a group's targets took so many inputs without a fault."""
    if not is_there(group):
        print(f"{group}: not a part of this checkout")
        return True
    print(f"{group}: {count:,} inputs, seed {given.seed}", flush=True)
    findings = harness.run({group: count}, given.seed, given.workers, given.only)
    print(findings, flush=True)
    if findings.is_interrupted:
        raise KeyboardInterrupt
    return not findings.faults


def checked(check: str) -> bool:
    """Whether one of the other long checks ends well."""
    if not is_there(check):
        print(f"{check}: not a part of this checkout")
        return True
    print(f"\n{check}", flush=True)
    return subprocess.run([sys.executable, "-m", f"fuzz.{check}"], check=False).returncode == 0


if __name__ == "__main__":
    assert set(LONG) == set(GROUPS)
    sys.exit(main())
