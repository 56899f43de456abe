"""How long does one wait who asks for a list out of 20,000 items, in the process itself or from examples/service.py?"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from socket import create_server
from typing import Any
from urllib.request import urlopen

import numpy as np

import dmc
from _harness import main, record

USERS, ITEMS, RATINGS, ASKED, N = 20_000, 20_000, 1_000_000, 2_000, 10
EXAMPLES = Path(__file__).parent.parent / "examples"


def planted() -> dict[str, np.ndarray]:
    """Ratings by eight tastes; few items have many of them, as ever."""
    rng = np.random.default_rng(0)
    cells = rng.integers(0, USERS, RATINGS) * ITEMS + (ITEMS * rng.random(RATINGS) ** 2).astype(np.int64)
    user, item = np.divmod(np.unique(cells), ITEMS)
    taste, style = rng.standard_normal((USERS, 8)) / 3, rng.standard_normal((ITEMS, 8))
    noise = 0.5 * rng.standard_normal(len(user))
    return {"user": user, "item": item, "rating": np.clip(3 + np.sum(taste[user] * style[item], axis=1) + noise, 1, 5)}


def waited(ask: Callable[[int], Any]) -> dict[str, float]:
    """Milliseconds a request, one after another, each of another user."""
    users, seconds = np.random.default_rng(1).integers(0, USERS, ASKED + 50).tolist(), []
    for user in users:
        began = time.perf_counter()
        ask(user)
        seconds.append(time.perf_counter() - began)
    median, late = 1e3 * np.percentile(seconds[50:], [50, 99])  # the first ones warm up
    return {"p50_ms": float(median), "p99_ms": float(late), "requests": ASKED}


def library(path: Path) -> None:
    rec = dmc.Recommender.load(path, mmap=True)
    items, ratings = list(range(0, 200, 10)), [4.0] * 20
    runs: dict[str, Callable[[int], Any]] = {
        f"top-{N} of a user": lambda user: rec.recommend([user], N, output="records"),
        "one prediction": lambda user: rec.predict({"user": [user], "item": [7]}, output="records"),
        f"{N} items alike": lambda user: rec.similar_items([user], N, output="records"),
        "vector of a visitor": lambda user: rec.user_vector(items, ratings, vectors="ranking"),
    }
    for name, ask in runs.items():
        record("serving", f"library | {name}", **waited(ask))


def over_http(path: Path) -> None:
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "service:app", "--app-dir", str(EXAMPLES), "--port", str(port)]
    server = subprocess.Popen([*command, "--log-level", "warning"], env=os.environ | {"DMC_MODEL": str(path)})
    try:
        _wait_for(port)
        connection = HTTPConnection("127.0.0.1", port)

        def asked(method: str, path: str, body: Any = None) -> None:
            connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status != 200:
                raise RuntimeError(f"{path} was answered by {answer.status}: {answer.read()!r}")
            answer.read()

        visitor = {"items": list(range(0, 200, 10)), "ratings": [4.0] * 20}
        runs: dict[str, Callable[[int], None]] = {
            f"top-{N} of a user": lambda user: asked("GET", f"/recommend?user={user}&n={N}"),
            "one prediction": lambda user: asked("POST", "/predict", {"users": [user], "items": [7]}),
            f"{N} items alike": lambda user: asked("GET", f"/similar?item={user}&n={N}"),
            f"top-{N} of a visitor": lambda user: asked("POST", "/visitor", visitor),
        }
        for name, ask in runs.items():
            record("serving", f"HTTP | {name}", **waited(ask))
        connection.close()
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int) -> None:
    for _ in range(300):
        try:
            urlopen(f"http://127.0.0.1:{port}/health").close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the service does not answer after half a minute")


def serving() -> None:
    """Top-10 of 20,000 users and items, a million ratings, a process and a request at a time: p50 and p99."""
    os.environ["OMP_NUM_THREADS"] = "1"  # of the service; for this process it has to be set before
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.dmc"
        dmc.Recommender().fit(planted()).save(path)
        library(path)
        if all(importlib.util.find_spec(package) for package in ("fastapi", "uvicorn")):
            over_http(path)
        else:
            print(
                "over HTTP: not measured, for fastapi and uvicorn are not installed here (.venv-integrations has them)"
            )


RUNS = {"serving": serving}

if __name__ == "__main__":
    main(RUNS)
