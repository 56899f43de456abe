"""One process of a fit in several, as torchrun starts it: what it is to do comes as JSON, what came of it goes to a
file in the folder named there.

Without torchrun it is the fit in one process.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from dmc._group import Group
from dmc.distributed import Recommender, connected, recommender
from dmc.distributed.dealing import Dealt, deal
from dmc.distributed.sources import batches
from dmc.recommend.fitting import RATING, Columns
from dmc.solver.solution import StepInfo

RANK, LIFE = int(os.environ.get("RANK", 0)), int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


def most_of(field: str) -> int:
    """Bytes that this process had at most: "VmHWM" of memory, "VmPeak" of address space."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))


def forget_most() -> None:
    """The most memory counts from now on."""
    Path("/proc/self/clear_refs").write_text("5")


class Watched:
    """When a fit was where, and what had been sent by then."""

    def __init__(self, group: Group, folder: Path) -> None:
        self.group, self.folder, self.began = group, folder, time.perf_counter()
        self.course: list[tuple[int, int, float, int]] = []  # steps, width, seconds, bytes

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began

    @property
    def sent(self) -> int:
        return getattr(self.group, "sent", 0)

    def deal(self, *given: Any) -> Dealt:
        """In the place of `dealing.deal`, by which the fit and what is before it are told apart."""
        self.before = most_of("VmHWM")
        dealt = deal(*given)
        self.dealt_at, self.sent_by_then, self.most_dealing = self.seconds, self.sent, most_of("VmHWM")
        forget_most()
        return dealt

    def __call__(self, info: StepInfo) -> None:
        if not self.course or info.n_steps > self.course[-1][0]:
            self.course.append((info.n_steps, info.factors.width, self.seconds, self.sent))
            with open(self.folder / f"course-{RANK}-{LIFE}", "a") as file:  # for whoever kills this process
                print(info.n_steps, file=file)


def fit(group: Group, folder: Path, files: list[str], settings: dict[str, Any], **of_fit: Any) -> dict[str, Any]:
    """The figures of a fit whose model goes to folder/model."""
    watched = Watched(group, folder)
    recommender.deal = watched.deal
    model = Recommender(**settings, callbacks=[watched]).fit(files, group=group, **of_fit)
    fitted_at = watched.seconds
    model.save(folder / "model")
    own = model.own_
    return {
        "deal_seconds": watched.dealt_at,
        "fit_seconds": fitted_at - watched.dealt_at,
        "process_seconds": watched.seconds,
        "own_ratings": own.n_observed_,
        "own_users": len(own.users_),
        "items": len(own.items_),
        "rank": own.rank_,
        "steps": own.n_iter_,
        "status": own.status_.name,
        "noise": own.noise_,
        "sent_dealing": watched.sent_by_then,
        "sent": watched.sent,
        "course": watched.course,
        "started_bytes": watched.before,
        "peak_bytes_dealing": watched.most_dealing,
        "peak_bytes_fit": most_of("VmHWM"),
        "address_space_bytes": most_of("VmPeak"),
    }


def deal_only(group: Group, folder: Path, files: list[str]) -> dict[str, Any]:
    """The figures of a dealing."""
    began, columns = time.perf_counter(), Columns("user", "item", RATING, None, None)
    before = most_of("VmHWM")
    dealt = deal(batches(files, columns, group), columns, "explicit", "error", group)
    return {
        "deal_seconds": time.perf_counter() - began,
        "own_ratings": dealt.observations.n_observed,
        "own_users": len(dealt.users),
        "sent": getattr(group, "sent", 0),
        "started_bytes": before,
        "peak_bytes": most_of("VmHWM"),
        "torch": "torch" in sys.modules,
    }


TASKS = {"fit": fit, "deal": deal_only}


def main() -> None:
    given = json.loads(sys.argv[1])
    if "address_space" in given:  # which what is loaded by now is a part of
        resource.setrlimit(resource.RLIMIT_AS, (given["address_space"],) * 2)
    folder = Path(given["folder"])
    (folder / f"pid-{RANK}-{LIFE}").write_text(str(os.getpid()))
    with connected(timeout=given.get("timeout", 120.0)) as group:
        found = TASKS[given["task"]](group, folder, given["files"], **given["arguments"])
        (folder / f"figures-{group.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
