"""What is written again and again while somebody ends it: models, fits, predictions, exports, figures, checkpoints."""

from __future__ import annotations

import io
import itertools
import os
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

import dmc
from dmc.cli.main import INTERRUPTED
from dmc.cli.program import run

SIZES = (40, 3_000)  # users of the two models that replace each other


class Scene:
    """Files of a folder that are replaced by others.

    `written` writes the older or the newer ones, whole; `of` says of a file that is there which of them it is.
    """

    name: str
    files: tuple[str, ...]
    command = False  # Ctrl-C ends a command by the signal, and raises an exception elsewhere
    best_so_far = False  # after Ctrl-C it may end well
    span = 0.03  # seconds in which several writings happen

    def written(self, folder: Path, newer: bool) -> None:
        raise NotImplementedError

    def of(self, path: Path) -> bool:
        raise NotImplementedError

    def endless(self, folder: Path) -> None:
        for newer in itertools.cycle((True, False)):
            self.written(folder, newer)


def table(users: int) -> dict[str, Any]:
    rng = np.random.default_rng(users)
    pairs = rng.permutation(users * 20)[: users * 8]
    return {"user": pairs // 20, "item": pairs % 20, "rating": rng.integers(1, 6, len(pairs)).astype(float)}


def fitted(users: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dmc.Recommender(rank=2, random_state=0, n_threads=1).fit(table(users))


class Given:
    """Models and files that all scenes go by."""

    def __init__(self, folder: Path) -> None:
        self.models = [fitted(users) for users in SIZES]
        self.paths = [folder / f"{users}.dmc" for users in SIZES]
        self.tables = [folder / f"{users}.csv" for users in SIZES]
        for users, model, path, csv in zip(SIZES, self.models, self.paths, self.tables, strict=True):
            model.save(path)
            columns = table(users)
            rows = zip(*(column.tolist() for column in columns.values()), strict=True)
            csv.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n")


class Save(Scene):
    name, files = "save", ("model.dmc",)

    def __init__(self, given: Given) -> None:
        self.models = given.models

    def written(self, folder: Path, newer: bool) -> None:
        self.models[newer].save(folder / self.files[0])

    def of(self, path: Path) -> bool:
        return bool(SIZES.index(len(dmc.Recommender.load(path).users_.ids)))


class Export(Scene):
    name = "export"

    def __init__(self, given: Given, format: str) -> None:
        self.models, self.format = given.models, format
        of_one = ("{}s.npy", "{}_factors.npy") if format == "npy" else ("{}s.parquet",)
        self.files = tuple(file.format(name) for name in ("user", "item") for file in of_one)

    def written(self, folder: Path, newer: bool) -> None:
        self.models[newer].export(folder, self.format)

    def of(self, path: Path) -> bool:
        if self.format == "npy":
            found = len(np.load(path))
        else:
            from pyarrow import parquet

            found = parquet.read_table(path).num_rows
        return bool(SIZES.index(found)) if path.name.startswith("user") else found != 20


class Command(Scene):
    """What the program writes: it ends by Ctrl-C's own signal, or with a status of 0."""

    command = True

    def told(self, *arguments: object) -> None:
        with redirect_stdout(io.StringIO()):
            status = run([str(argument) for argument in arguments])
        if status == INTERRUPTED:
            raise KeyboardInterrupt
        if status:
            raise OSError(f"status {status}")


class Predict(Command):
    files = ("out.csv",)
    span = 0.2

    def __init__(self, given: Given, suffix: str) -> None:
        self.given, self.files, self.name = given, (f"out.{suffix}",), f"predict -o .{suffix}"

    def written(self, folder: Path, newer: bool) -> None:
        self.told("predict", self.given.paths[newer], self.given.tables[newer], "-o", folder / self.files[0])

    def of(self, path: Path) -> bool:
        if path.suffix == ".parquet":
            from pyarrow import parquet

            return bool(SIZES.index(parquet.read_table(path).num_rows // 8))
        raw = path.read_bytes()
        assert raw.endswith(b"\n")
        return bool(SIZES.index(raw.count(b"\n") // 8))


class Fit(Command):
    name, files, best_so_far = "fit -o", ("model.dmc",), True
    span = 0.3

    def __init__(self, given: Given) -> None:
        self.given = given

    def written(self, folder: Path, newer: bool) -> None:
        self.told("fit", self.given.tables[newer], "-o", folder / self.files[0], "--rank", 2)

    def of(self, path: Path) -> bool:
        return bool(SIZES.index(len(dmc.Recommender.load(path).users_.ids)))


def scenes(folder: Path) -> Iterator[Scene]:
    """All of them, with what they go by in a folder."""
    given = Given(folder)
    yield Save(given)
    yield Fit(given)
    yield Export(given, "npy")
    yield Predict(given, "csv")
    yield Export(given, "parquet")
    yield Predict(given, "parquet")


def whole(scene: Scene, folder: Path) -> list[str]:
    """Files that are neither the old nor the new one."""
    wrong = []
    for name in scene.files:
        try:
            scene.of(folder / name)
        except Exception as error:
            wrong.append(f"{name} is neither the old nor the new file: {error!r}")
    return wrong


def strangers(scene: Scene, folder: Path) -> list[str]:
    """What stands beside the files."""
    return sorted(set(os.listdir(folder)) - set(scene.files))
