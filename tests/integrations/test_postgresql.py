"""examples/postgresql.py with a server of its own, on a socket in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import dmc
from example_scripts import example

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed here; `make integrations` runs this with it")


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, which Debian keeps out of the path."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed here (Debian: postgresql)")
    place = Path(tempfile.mkdtemp(prefix="dmc-"))  # sockets' paths have to be short
    owner = {"user": pwd.getpwnam("nobody").pw_uid, "cwd": place} if os.getuid() == 0 else {"cwd": place}
    if os.getuid() == 0:  # as which PostgreSQL refuses to run
        os.chown(place, owner["user"], -1)
    made = [folder / "initdb", "-D", place / "data", "-U", "dmc", "--auth=trust", "--no-sync", "--encoding=UTF8"]
    subprocess.run(made, check=True, capture_output=True, **owner)
    started = [folder / "postgres", "-D", place / "data", "-k", place, "-h", "", "-c", "fsync=off"]
    server = subprocess.Popen(started, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **owner)
    name = f"host={place} user=dmc dbname=postgres"
    try:
        deadline = time.monotonic() + 60
        while not answers(name):
            assert server.poll() is None, "PostgreSQL ended by itself"
            assert time.monotonic() < deadline, "PostgreSQL does not start"
            time.sleep(0.1)
        yield name
    finally:
        server.send_signal(signal.SIGINT)  # its fast shutdown
        server.wait(timeout=60)
        shutil.rmtree(place)


def answers(name: str) -> bool:
    try:
        psycopg.connect(name).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture
def connection(database, ratings) -> Iterator[psycopg.Connection]:
    """With the table of ratings, and one whose rating is not known."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE ratings (user_id bigint, item_id bigint, rating real)")
        with connection.cursor().copy("COPY ratings FROM STDIN") as copy:
            for row in zip(*(ratings[name].tolist() for name in ("user", "item", "rating")), strict=True):
                copy.write_row(row)
        connection.execute("INSERT INTO ratings VALUES (1, 999999, NULL)")
        yield connection
        connection.execute("DROP TABLE ratings, recommendations, user_vectors, item_vectors")


def test_lists_and_vectors_come_back(connection, database, ratings, tmp_path, monkeypatch):
    module = example("postgresql")
    monkeypatch.setattr(module, "PIECE", 97)
    module.main(database, str(tmp_path / "model.dmc"))
    rec = dmc.Recommender.load(tmp_path / "model.dmc")
    assert rec.n_observed_ == len(ratings["user"])
    expected = dmc.Recommender().fit({**ratings, "rating": ratings["rating"].astype(np.float32)}).recommend(n=10)
    rows = connection.execute(
        "SELECT user_id, item_id, prediction, place FROM recommendations ORDER BY 1, 4"
    ).fetchall()
    users, items, predictions, places = (np.array(column) for column in zip(*rows, strict=True))
    order = np.argsort(expected["user"], kind="stable")
    np.testing.assert_array_equal(users, expected["user"][order])
    np.testing.assert_array_equal(items, expected["item"][order])
    np.testing.assert_allclose(predictions, expected["prediction"][order], rtol=1e-5)
    assert places.max() == 10
    best = """SELECT item_id FROM item_vectors i, user_vectors u, LATERAL (SELECT sum(a * b) AS score
        FROM unnest(i.vector, u.vector) AS pairs (a, b)) AS product WHERE user_id = 7
        AND NOT EXISTS (SELECT FROM ratings r WHERE r.user_id = 7 AND r.item_id = i.item_id)
        ORDER BY score DESC LIMIT 5"""
    assert [row[0] for row in connection.execute(best)] == items[users == 7][:5].tolist()


def test_readers_see_yesterday_until_all_of_today_is_there(connection, database, tmp_path, monkeypatch):
    module = example("postgresql")
    module.main(database, str(tmp_path / "model.dmc"))
    count = "SELECT count(*), max(user_id) FROM recommendations"
    yesterday = connection.execute(count).fetchone()
    connection.execute("INSERT INTO ratings VALUES (5000, 3, 4), (5000, 13, 5)")
    lists, seen = module.lists, []

    def looked_at_meanwhile(rec, n):
        seen.append(connection.execute(count).fetchone())
        yield from lists(rec, n)
        seen.append(connection.execute(count).fetchone())
        if len(seen) == 2:
            raise RuntimeError("the lights went out")

    monkeypatch.setattr(module, "lists", looked_at_meanwhile)
    with pytest.raises(RuntimeError, match="lights"):
        module.main(database, str(tmp_path / "model.dmc"))
    assert connection.execute(count).fetchone() == yesterday
    module.main(database, str(tmp_path / "model.dmc"))
    assert seen == [yesterday] * 4
    assert connection.execute(count).fetchone() == (yesterday[0] + 10, 5000)
