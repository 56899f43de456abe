"""The program's entry: what ends it, and with which status. It is light, so that Ctrl-C is quiet from the start."""

from __future__ import annotations

import sys

from dmc.cli.interrupts import die_of_interrupt, quiet_endings

INTERRUPTED = 130  # what a shell says of a program that Ctrl-C has ended


def main() -> None:
    """Run the command line.

    The exit status is 0; 1 for what is wrong with the data and 2 for wrong use, each told in one sentence; or that of
    a program which Ctrl-C, or the end of a pipe, has ended.
    """
    with quiet_endings():
        from dmc.cli.program import run

        status = run(sys.argv[1:])
    if status == INTERRUPTED:
        die_of_interrupt()
    sys.exit(status)
