"""From a million clicks in a file to lists for everybody, and on to the next day: seconds of each command."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from _harness import main, record
from clicks import LARGE, Ratings, planted_clicks

DAY = 5_000  # clicks, one in twenty of them by a new user or on a new item


def write(path: Path, clicks: Ratings) -> None:
    pairs = zip(clicks.user.tolist(), clicks.item.tolist(), strict=True)
    path.write_text("user,item\n" + "".join(f"u{user},i{item}\n" for user, item in pairs))


def next_day(seed: int = 1) -> Ratings:
    """Clicks by chance, some by new users and on new items."""
    rng, (users, items, _) = np.random.default_rng(seed), LARGE
    keys = rng.choice(int(1.05 * users) * int(1.05 * items), DAY, replace=False)
    return Ratings(*np.divmod(keys, int(1.05 * items)), np.ones(DAY, np.float32))


def from_the_shell() -> None:
    """From the shell: a million clicks (50,000 × 20,000), fit, evaluate, lists of all, a day's update, lists again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, clicks in zip(("train.csv", "test.csv"), planted_clicks(*LARGE), strict=True):
            write(folder / path, clicks)
        write(folder / "today.csv", next_day())
        commands = {
            "fit": "fit train.csv --feedback implicit -o model.dmc",
            "evaluate": "evaluate --model model.dmc --test test.csv",
            "lists of all": "recommend model.dmc -o lists.parquet",
            "update": "update model.dmc today.csv",
            "lists again": "recommend model.dmc -o later.parquet",
        }
        seconds = {}
        for step, command in commands.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-m", "dmc", *command.split()], cwd=folder, check=True, capture_output=True)
            seconds[step] = round(time.perf_counter() - began, 2)
    record("shell", "a million clicks", seconds=seconds, altogether=float(sum(seconds.values())))


RUNS = {"shell": from_the_shell}

if __name__ == "__main__":
    main(RUNS)
