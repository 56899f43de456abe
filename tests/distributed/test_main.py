"""The command: what it writes, and in which one sentence it says what it cannot do."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fit_command import Case, Ended, ended, ratings, run, written

import dmc
from processes import free_port

ONE = {"user": np.zeros(6, np.int64), "item": np.arange(6), "rating": np.arange(6.0)}


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def alone(*arguments: str) -> Ended:
    return ended(0, Case(arguments), free_port())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, and a model and a checkpoint of them by one process."""
    found = tmp_path_factory.mktemp("fits")
    written(found / "data", ratings())
    written(found / "other", ratings(seed=1))
    written(found / "one user", ONE)
    assert alone(f"{found}/data", "-o", f"{found}/model", "--checkpoint", f"{found}/kept").status == 0
    return found


def test_processes_of_torchrun_write_the_model_of_one(folder: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    launcher = ["torch.distributed.run", "--nproc-per-node", "2", "--master-port", f"{free_port()}"]
    ran = subprocess.run(
        [sys.executable, "-m", *launcher, "-m", "dmc.distributed", "fit", f"{folder}/data", "-o", f"{tmp_path}/two"],
        env=environment, capture_output=True, text=True, timeout=120, check=True
    )  # fmt: skip
    assert re.fullmatch(r"2,880 ratings of 240 users and 40 items: rank 2, noise 0\.29\d+, converged.*\n", ran.stdout)
    one, two = (dmc.Recommender.load(path) for path in (folder / "model", tmp_path / "two"))
    assert len(json.loads((tmp_path / "two" / "model.json").read_text())["files"]) == 2
    assert two.noise_ == pytest.approx(one.noise_, rel=1e-5)
    expected, found = (np.asarray(of.predict(ratings())["prediction"]) for of in (one, two))
    assert np.abs(found - expected).max() < 1e-4 * expected.std()


def test_the_shell_gets_a_sentence_and_a_status() -> None:
    command = [sys.executable, "-m", "dmc.distributed", "fit", "nowhere", "-o", "model"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == ("dmc: there is no file or folder nowhere; check the path, which all processes have to see\n")


def wrong_data(folder: Path, out: str) -> dict[str, tuple[Case, str]]:
    """What is wrong with data, and its sentence."""
    (folder / "empty").mkdir()
    table = ratings()
    one, no_time = {name: column[:9] for name, column in table.items()}, folder / "columns"
    written(no_time, {**one, "stars": one["rating"]}, 1)
    pq.write_table(pa.table(one), no_time / "1.parquet")
    mixed = written(folder / "mixed", one, 1)
    pq.write_table(pa.table({**one, "user": [f"u{user}" for user in one["user"]]}), f"{mixed}/1.parquet")
    twice = written(folder / "twice", table, 2)
    pq.write_table(pa.table(one), f"{twice}/2.parquet")
    no_row = written(folder / "no row", {name: column[:0] for name, column in table.items()}, 2)
    return {
        "nowhere": (Case([f"{folder}/no", "-o", out]), f"there is no file or folder {folder}/no; check the path"),
        "no file": (Case([f"{folder}/empty", "-o", out]), f"the folder {folder}/empty holds no Parquet file"),
        "no row": (Case([no_row, "-o", out]), "the table holds no rating; give at least one"),
        "columns": (
            Case([f"{no_time}", "-o", out, "--rating", "stars"]),
            f"{no_time}/1.parquet has no column 'stars', which {no_time}/0.parquet has",
        ),
        "kinds": (Case([mixed, "-o", out]), f"column 'user' holds whole numbers in {mixed}/0.parquet and text in"),
        "duplicates": (Case([twice, "-o", out]), "9 "),
    }


def wrong_places(folder: Path, data: str, out: str) -> dict[str, tuple[Case, str]]:
    """What is wrong with folders, and its sentence."""
    (folder / "file").write_text("x")
    (folder / "things").mkdir()
    (folder / "things" / "notes.txt").write_text("x")
    fit = [data, "-o", out]
    return {
        "output is a file": (Case([data, "-o", f"{folder}/file"]), f"{folder}/file is a file, and a model of several"),
        "output is something else": (
            Case([data, "-o", f"{folder}/things"]), f"the folder {folder}/things holds other things than a model"
        ),
        "output cannot be made": (
            Case([data, "-o", f"{folder}/file/model"]), f"the model cannot be written into {folder}/file/model (not a d"
        ),
        "checkpoint is a file": (
            Case([*fit, "--checkpoint", f"{folder}/file"]), f"the checkpoint folder {folder}/file is a file"
        ),
        "checkpoint vanishes": (
            Case([*fit, "--checkpoint", f"{folder}/gone"], hindered="no folder"),
            f"the checkpoint folder {folder}/gone has been removed; create it again, and start again",
        ),
        "no room for rows": (
            Case([*fit, "--scratch", f"{folder}"], hindered="no scratch"),
            f"rows cannot wait in {folder} (File too large); name a folder on a disk with room as scratch",
        ),
        "no room for a checkpoint": (
            Case([*fit, "--checkpoint", f"{folder}/small"], hindered="no room of the first"),
            f"the checkpoint in {folder}/small cannot be written (file too large)",
        ),
        "no room for the model": (
            Case(fit, hindered="no room"), f"the model cannot be written into {out} (file too large)"
        ),
    }  # fmt: skip


def wrong_checkpoints(folder: Path, data: str, other: str, kept: Path, out: str) -> dict[str, tuple[Case, str]]:
    """Checkpoints that are not of this fit or not whole, and the sentence."""
    import shutil

    for name in ("lacking", "damaged", "no list"):
        shutil.copytree(kept, folder / name)
    lost = next((folder / "lacking").glob("sweep-*-all.safetensors"))
    lost.unlink()
    spoilt = next((folder / "damaged").glob("sweep-*-rows0.safetensors"))
    spoilt.write_bytes(spoilt.read_bytes()[:-9])
    (folder / "no list" / "LATEST.json").write_text("[]")
    anew = "remove the folder to start from the beginning"
    return {
        "of other settings": (
            Case([data, "-o", out, "--checkpoint", f"{kept}", "--rank", "2"]),
            f"the checkpoint in {kept} was made with rank = None, and it is 2 now; fit as before, or give another",
        ),
        "of other data": (
            Case([other, "-o", out, "--checkpoint", f"{kept}"]), f"the checkpoint in {kept} belongs to other data; use"
        ),
        "a file is lost": (
            Case([data, "-o", out, "--checkpoint", f"{folder}/lacking"]),
            f"the checkpoint in {folder}/lacking lacks {lost.name}; bring the file back, or {anew}",
        ),
        "a file is damaged": (
            Case([data, "-o", out, "--checkpoint", f"{folder}/damaged"]), f"{spoilt} is damaged; {anew}"
        ),
        "the list is damaged": (
            Case([data, "-o", out, "--checkpoint", f"{folder}/no list"]),
            f"{folder}/no list/LATEST.json is damaged; {anew}",
        ),
    }  # fmt: skip


def disagreements(folder: Path, data: str, other: str, out: str) -> dict[str, tuple[Case, str]]:
    """Processes that were told different things, and the sentence."""
    fit = [data, "-o", out]
    unseen = "1 of 2 processes do not see the {} folder {} of the first one; give all the same folder, on a disk"
    return {
        "settings": (Case(fit, [*fit, "--rank", "3"]), "rank is None in process 0 and 3 in process 1; use the same"),
        "data": (Case(fit, [other, "-o", out]), "process 1 finds other Parquet files than process 0 (3 too, but"),
        "output": (Case(fit, [data, "-o", f"{folder}/out"]), unseen.format("output", out)),
        "checkpoints": (
            Case([*fit, "--checkpoint", f"{folder}/c0"], [*fit, "--checkpoint", f"{folder}/c1"]),
            unseen.format("checkpoint", f"{folder}/c0"),
        ),
        "one checkpoint": (
            Case(fit, [*fit, "--checkpoint", f"{folder}/c0"]), "checkpointing is False in process 0 and True in process"
        ),
        "core": (Case(fit, hindered="no core"), "process 1 has no compiled core, which fits of several processes need"),
    }  # fmt: skip


def test_bad_input_is_told_once_and_the_model_before_stays(folder: Path, tmp_path: Path) -> None:
    data, other, out = f"{folder}/data", f"{folder}/other", f"{folder}/model"
    before = files_of(folder / "model")
    cases = wrong_data(tmp_path, out) | wrong_places(tmp_path, data, out)
    cases |= wrong_checkpoints(tmp_path, data, other, folder / "kept", out)
    cases |= disagreements(tmp_path, data, other, out)
    wrong: list[Any] = []
    for name, found in run(2, {name: case for name, (case, _) in cases.items()}).items():
        told = [one.told for one in found if one.told]
        sentence = f"dmc: {cases[name][1]}"
        if len(told) != 1 or not told[0].startswith(sentence) or told[0].count("\n") != 1:
            wrong.append((name, told, sentence))
        if [one.status for one in found] != [1, 1] or any(one.printed for one in found):
            wrong.append((name, found))
    assert wrong == [], str(wrong)
    assert files_of(folder / "model") == before
    assert [path.name for path in (tmp_path / "things").iterdir()] == ["notes.txt"]
    assert not list(tmp_path.glob("*/users-*"))


def test_fewer_users_than_processes_and_processes_that_do_not_meet(folder: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        fit = [f"{folder}/data", "-o", f"{tmp_path}/none"]
        kept = [f"{folder}/data", "-o", f"{tmp_path}/again", "--checkpoint", f"{folder}/kept"]
        cases = {
            "one user": Case([f"{folder}/one user", "-o", f"{tmp_path}/one"]),
            "finished": Case(kept),
            "interrupted": Case(fit, hindered="interrupted"),
            "late": Case(fit, hindered="late", timeout=2),
            "port": Case(fit, timeout=2, port=port),
            "alone": Case(fit, hindered="no torch", timeout=2),  # which comes last: torch counts its attempts
        }
        found = run(2, cases)
    assert [one.status for one in found["one user"]] == [0, 0]
    assert found["one user"][0].printed.startswith("6 ratings of 1 users and 6 items")
    assert len(dmc.Recommender.load(tmp_path / "one").users_) == 1
    assert [one.status for one in found["finished"]] == [0, 0]
    assert f", gone on with from {folder}/kept, converged" in found["finished"][0].printed
    one, again = dmc.Recommender.load(folder / "model"), dmc.Recommender.load(tmp_path / "again")
    assert again.noise_ == pytest.approx(one.noise_, rel=1e-8)
    lost = "dmc: process {} of 2 lost its connection to another one ("
    assert [one.status for one in found["interrupted"]] == [1, 130]
    assert found["interrupted"][0].told.startswith(lost.format(0))
    assert found["interrupted"][1].told == "dmc: interrupted before there was anything to save\n"
    assert [one.status for name in ("late", "port", "alone") for one in found[name]] == [1] * 6
    assert found["late"][0].told.startswith(lost.format(0) + "Timed out waiting 2000ms")
    assert found["late"][0].told.endswith("or it is busy for longer, which a longer timeout allows\n")
    assert found["late"][1].told.startswith(lost.format(1))
    at = f"at 127.0.0.1:{port} within 2 s"
    assert found["port"][0].told.startswith(
        f"dmc: process 0 of 2 found no other process {at} (The server socket has failed"
    )
    assert found["port"][1].told.startswith(
        f"dmc: process 1 of 2 found no other process {at} (there is no answer); check that"
    )
    assert found["alone"][0].told.startswith("dmc: process 0 of 2 found no other process at 127.0.0.1:")
    assert found["alone"][1].told == (
        "dmc: several processes communicate through PyTorch, which is not installed; run: pip install 'dmc[torch]'\n"
    )
    assert not list((tmp_path / "none").iterdir())
