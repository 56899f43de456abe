"""What several test files share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

import cuda_stand_in as stand_in
import gpu_at_hand
from command_line import ratings, write

# No test is timed: how long an example takes is up to what else the machine does.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real ratings: the folder that DMC_DATA names, or shared/data beside the project."""
    folder = Path(os.environ.get("DMC_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"there is no folder {folder}: put the rating data there, or name their folder in DMC_DATA")
    return folder


@pytest.fixture(scope="session")
def cuda_stand_in(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """dmc._cuda as compiled for the processor."""
    if stand_in.COMPILER is None:
        pytest.skip("there is no g++ to compile the CUDA kernels for the processor")
    return stand_in.build(tmp_path_factory.mktemp("cuda"))


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """By torch, on the processor, and on a GPU where there is one."""
    if request.param == "cuda" and gpu_at_hand.missing():
        pytest.skip(gpu_at_hand.missing())
    return str(request.param)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ratings, pairs, a model fitted to the ratings, and files that are none of these."""
    from dmc import Recommender

    folder = tmp_path_factory.mktemp("files")
    write(folder / "train.csv", ratings()[:-40])
    write(folder / "test.csv", ratings()[-40:])
    write(folder / "pairs.csv", [("u1", 2), ("stranger", 3)], "user,item")
    write(folder / "repeats.csv", [("a", 1, 2), ("a", 1, 3), ("b", 1, 4)])
    write(folder / "words.csv", [("a", 1, "good")])
    (folder / "cut.csv").write_text("user,item,rating\na,1,2\nb,2")
    Recommender().fit(folder / "train.csv").save(folder / "model")
    return folder


@pytest.fixture
def dmc_in(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line, in the folder, as its user does: exit status, output, error output."""

    def run(*arguments: object) -> tuple[int, str, str]:
        from dmc.cli import main

        monkeypatch.chdir(files)
        monkeypatch.setattr(sys, "argv", ["dmc", *map(str, arguments)])
        with pytest.raises(SystemExit) as ending:
            main.main()
        return ending.value.code or 0, *capsys.readouterr()

    return run
