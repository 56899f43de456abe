"""examples/service.py asked over the loopback by several at once, while its model is replaced under it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

import dmc
from example_scripts import EXAMPLES
from http_service import Client, ask_health, service

for package in ("fastapi", "uvicorn"):
    pytest.importorskip(package, reason=f"{package} is not installed here; `make integrations` runs this with it")

WORKERS, CLIENTS, SWAPS, REQUESTS = 4, 4, 10, 1000  # requests of each kind
ASKED = np.arange(1, 31)
RATED = {"items": [3, 13, 23, 33], "ratings": [5.0, 2.0, 4.0, 3.0]}


def version(path: Path) -> str:
    with safe_open(path, "numpy") as file:
        return file.metadata()["checksum"]


def put(model: Path, place: Path) -> None:
    """A file in the place of another one, as `mv` does it."""
    os.replace(shutil.copy(model, place.with_suffix(".new")), place)


def expected(rec: dmc.Recommender) -> dict[str, list[list[dict[str, Any]]]]:
    """What a model says to all that is asked here; of a visitor, once he is folded in."""
    with_him = rec.fold_in({"user": [-1] * 4, "item": RATED["items"], "rating": RATED["ratings"]})
    return {
        "predict": [rec.predict({"user": [user] * 2, "item": [3, "?"]}, output="records") for user in ASKED.tolist()],
        "recommend": [rec.recommend([user], 5, output="records") for user in ASKED.tolist()],
        "visitor": [with_him.recommend([-1], 5, output="records")] * len(ASKED),
    }


def ask(client: Client, kind: str, user: int) -> tuple[int, Any]:
    if kind == "predict":
        return client.post("/predict", users=[user] * 2, items=[3, "?"])
    if kind == "recommend":
        return client.get("/recommend", user=user, n=5)
    return client.post("/visitor", **RATED, n=5)


def close(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """The same items in the same order, with the same predictions up to rounding: versions differ by .1 and more."""
    return len(found) == len(expected) and all(
        one["item"] == other["item"] and abs(one["prediction"] - other["prediction"]) < 0.01
        for one, other in zip(found, expected, strict=True)
    )


@pytest.fixture(scope="module")
def models(ratings, tmp_path_factory) -> list[Path]:
    """A file a version: the ratings of each are .1 higher than those of the one before, and a part is left out."""
    folder, found = tmp_path_factory.mktemp("models"), []
    for i in range(SWAPS + 1):
        kept = np.random.default_rng(i).random(len(ratings["user"])) < 0.8
        table = {name: values[kept] for name, values in ratings.items()}
        found.append(folder / f"{i}.dmc")
        dmc.Recommender(4).fit(table | {"rating": table["rating"] + 0.1 * i}).save(found[-1])
    return found


def test_every_answer_is_of_the_model_it_names_while_models_are_replaced(models, tmp_path):
    place, answers = tmp_path / "model.dmc", {version(path): expected(dmc.Recommender.load(path)) for path in models}
    assert len(answers) == SWAPS + 1
    put(models[0], place)
    kinds, seen, wrong = ("predict", "recommend", "visitor"), [], []
    total = REQUESTS * len(kinds)
    turn = iter(range(total))

    def asks(port: int) -> None:
        while some := list(islice(turn, 25)):
            with closing(Client(port)) as client:  # another connection: another worker, as may be
                for i in some:
                    kind, user = kinds[i % len(kinds)], i % len(ASKED)
                    status, found = ask(client, kind, int(ASKED[user]))
                    of = answers.get(found.get("version"))
                    told = found.get("items", found.get("predictions"))
                    if status != 200 or of is None or not close(told, of[kind][user]):
                        wrong.append((kind, status, found))
                    seen.append(found.get("version"))

    def replaces() -> None:
        for i, path in enumerate(models[1:], 1):
            while len(seen) < total * i / (SWAPS + 1):
                time.sleep(0.01)
            put(path, place)

    with service(place, WORKERS) as port, ThreadPoolExecutor(CLIENTS + 1) as threads:
        for job in [threads.submit(replaces), *(threads.submit(asks, port) for _ in range(CLIENTS))]:
            job.result()
        assert wrong == []
        assert len(seen) == total
        assert set(seen) == set(answers)  # every version was served
        wait_for(port, version(models[-1]))


def wait_for(port: int, version: str, deadline: float = 30) -> None:
    """Until all workers serve it."""
    end, found = time.monotonic() + deadline, {}
    while len(found) < WORKERS or set(found.values()) != {version}:
        assert time.monotonic() < end, f"workers that do not serve {version}: {found}"
        told = ask_health(port)
        found[told["worker"]] = told["version"]


def test_a_broken_file_leaves_the_old_model_and_health_says_so(models, tmp_path):
    place = tmp_path / "model.dmc"
    put(models[0], place)
    with service(place, 1) as port, closing(Client(port)) as client:

        def told_of(problem: bool) -> dict[str, Any]:
            end = time.monotonic() + 30
            while bool((told := client.get("/health")[1])["problem"]) != problem:
                assert time.monotonic() < end
                time.sleep(0.02)
            return told

        assert told_of(False)["version"] == version(models[0])
        (tmp_path / "half").write_bytes(models[1].read_bytes()[:-1000])
        for break_it in (lambda: os.replace(tmp_path / "half", place), place.unlink):
            break_it()
            told = told_of(True)
            assert told["version"] == version(models[0])
            assert "model" in told["problem"]
            assert client.get("/recommend", user=1)[1]["version"] == version(models[0])
            put(models[0], place)  # as it was: also a file like the one that is served
            told_of(False)
        status, found = client.post("/visitor", items=[3])
        assert status == 422
        assert found["detail"].startswith("ratings is missing")
        assert client.get("/similar", item="?")[1]["detail"].startswith("item '?' is not known")
        assert client.get("/recommend", user=1, n=0)[0] == 422
        assert client.get("/recommend", user="nobody")[1]["known"] is False
        likest = client.get("/similar", item=13, n=2)[1]["items"]
        assert likest == dmc.Recommender.load(models[0]).similar_items(["13"], 2, output="records")


def test_clicks_of_named_users(ratings, tmp_path):
    clicks = {"user": [f"né {user}/&?" for user in ratings["user"]], "item": ratings["item"]}
    rec = dmc.Recommender(8, feedback="implicit").fit(clicks)
    rec.save(tmp_path / "model.dmc")
    had = [3, 13, 23, 999_999]
    with_him = rec.fold_in({"user": ["him"] * 3, "item": had[:3]})
    with service(tmp_path / "model.dmc", 1) as port, closing(Client(port)) as client:
        assert client.get("/recommend", user="né 7/&?", n=3)[1]["items"] == rec.recommend(
            "né 7/&?", 3, output="records"
        )
        found = client.post("/visitor", items=had, n=4)[1]["items"]
        assert close(found, with_him.recommend("him", 4, output="records"))
        assert len(client.post("/visitor", items=had, n=1000)[1]["items"]) == len(rec.items_) - 3
        nobody = client.post("/visitor", items=[999_999], n=4)[1]["items"]
        assert close(nobody, rec.recommend("nobody", 4, output="records"))


def test_what_the_page_says_runs(models, tmp_path):
    page = (EXAMPLES.parent / "docs" / "guide" / "serving.md").read_text()
    start, *blocks = re.findall(r"^```sh\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    assert start in (EXAMPLES / "service.py").read_text()
    for program in ("curl", "flock"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed here")
    put(models[0], tmp_path / "model.dmc")
    put(models[1], tmp_path / "fresh.dmc")
    (tmp_path / "today.csv").write_text("user,item,rating\n1,3,5\nsomebody new,13,4\n")
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with service(tmp_path / "model.dmc", 1) as port:
        for block in blocks:
            script = block.replace("localhost:8000", f"127.0.0.1:{port}").replace("curl ", "curl --silent --fail ")
            command = ["bash", "-euc", script]
            done = subprocess.run(
                command, cwd=tmp_path, env=os.environ | {"PATH": programs}, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            assert done.stdout.count('"version"') == script.count("curl")
    assert version(tmp_path / "model.dmc") != version(models[1])  # it was updated, too


def test_the_nightly_update_is_served(models, tmp_path):
    place = tmp_path / "model.dmc"
    put(models[0], place)
    (tmp_path / "today.csv").write_text("user,item,rating\n1,3,5\nsomebody new,13,4\nsomebody new,new,2\n")
    with service(place, 1) as port:
        before = ask_health(port)
        command = [sys.executable, "-m", "dmc", "update", str(place), str(tmp_path / "today.csv")]
        subprocess.run(command, check=True, capture_output=True)
        end = time.monotonic() + 30
        while (now := ask_health(port))["version"] == before["version"]:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert (now["users"], now["items"]) == (before["users"] + 1, before["items"] + 1)
        with closing(Client(port)) as client:
            assert client.get("/recommend", user="somebody new")[1]["known"] is True
