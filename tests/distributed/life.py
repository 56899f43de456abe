"""A program for torchrun, whose processes are killed: fits with checkpoints, one after the other, and notes of them.

python life.py FOLDER RATINGS COUNT: in the folder, `sweeps-RANK` gets a line "fit life step" for each sweep of a
process, `pid-RANK` is a process' number, and `K.json` tells how fit K ended.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from dmc._group import Group
from dmc.distributed import Recommender, connected

FEEDBACKS = ("explicit", "implicit")


def fitted(group: Group, data: str, k: int, checkpoint: str | None, watch: Any = None) -> Recommender:
    """The k-th fit: of ratings and of clicks in turn."""
    feedback: Any = FEEDBACKS[k % 2]
    model = Recommender(8, feedback=feedback, random_state=k // 2, callbacks=[] if watch is None else [watch])
    columns = ("user", "item", "rating")
    return model.fit(data, *columns, group=group, checkpoint=checkpoint)


def value_of(model: Recommender) -> float:
    """The noise; of clicks, which have none, what the factors of the items come to."""
    own = model.own_
    return float(own.noise_) if own.feedback == "explicit" else float((own.item_factors.astype(float) ** 2).sum())


class Notes:
    """A callback that tells, from outside of the process, how far it is."""

    def __init__(self, folder: Path, k: int, rank: int) -> None:
        self._life, self._begins = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), f"{k}"
        self._path, self._rank = folder / f"sweeps-{rank}", rank

    def __call__(self, info: Any) -> None:
        if info.status is None:
            with self._path.open("a") as file:
                file.write(f"{self._begins} {self._life} {info.n_steps}\n")


def main(folder: Path, data: str, count: int) -> None:
    with connected(timeout=30) as group:
        (folder / f"pid-{group.rank}").write_text(f"{os.getpid()}")
        for k in range(count):
            done = folder / f"{k}.json"
            if group.any(done.exists()):
                continue
            began = time.perf_counter()
            model = fitted(group, data, k, str(folder / f"checkpoint-{k}"), Notes(folder, k, group.rank))
            seconds = time.perf_counter() - began
            if group.rank == 0:
                part = folder / "part"
                part.write_text(json.dumps({"value": value_of(model), "seconds": seconds}))
                part.replace(done)
        undisturbed = [value_of(fitted(group, data, k, str(folder / f"undisturbed-{k}"))) for k in range(count)]
        if group.rank == 0:
            (folder / "undisturbed.json").write_text(json.dumps(undisturbed))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
