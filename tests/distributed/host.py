"""A process on a host of its own: what it computes, and what that sends, as one line of JSON.

python host.py TASK RANK ADDRESS PORT INTERFACE DATA
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from dealt_cases import bytes_of_steps

from dmc._group import Group
from dmc.distributed import LostProcess, Recommender, connected
from dmc.recommend import bayesian

TIMEOUT = 5.0


def sent(group: Any, interface: str) -> tuple[int, int]:
    """Bytes by the group's count, and by the interface's."""
    return group.sent, int(Path(f"/sys/class/net/{interface}/statistics/tx_bytes").read_text())


def fit(group: Any, interface: str, data: str) -> dict[str, Any]:
    """A Bayesian fit: its answer, and for each sweep bytes sent, and those of the columns' moments."""
    sweeps, widths, sweep = [], [], bayesian._Fit.sweep

    def watched(of: Any) -> None:
        before = sent(group, interface)
        sweep(of)
        sweeps.append(np.subtract(sent(group, interface), before).tolist())
        widths.append(of.columns.moments.nbytes)

    bayesian._Fit.sweep = watched  # type: ignore[method-assign]
    before = sent(group, interface)
    model = Recommender().fit(data, group=group)
    whole = np.subtract(sent(group, interface), before).tolist()
    return {"noise": model.own_.noise_, "sweeps": sweeps, "moments": widths, "whole": whole}


def solve(group: Any, interface: str, data: str) -> dict[str, Any]:
    """Some steps of a network: bytes sent, and those of the columns' factors."""
    before = sent(group, interface)
    _, numbers = bytes_of_steps(group, (60, 4000), 8, 3)
    return {"whole": np.subtract(sent(group, interface), before).tolist(), "formula": 8 * numbers}


def cut(group: Group, interface: str, data: str) -> dict[str, Any]:
    """A slow fit, that tells of its sweeps."""

    def tell(info: Any) -> None:
        print(f"sweep {info.n_steps}", flush=True)  # noqa: T201
        time.sleep(0.2)

    try:
        Recommender(callbacks=[tell]).fit(data, group=group)
    except LostProcess as error:
        return {"lost": str(error)}
    return {"lost": None}


def main(task: str, rank: str, address: str, port: str, interface: str, data: str) -> None:
    with connected(int(rank), 2, address, int(port), timeout=TIMEOUT) as group:
        for name in task.split(","):
            print(json.dumps({"fit": fit, "solve": solve, "cut": cut}[name](group, interface, data)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
