"""A model whose users are in several files, all of which know all items: as `dmc.distributed` writes one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import model_file
from dmc.pattern import SparseIndex

LIST = "model.json"  # of a folder: which files belong together, and the parts of the users in each
FORMAT = "dmc shards"
VERSION = 1

Arrays = dict[str, NDArray[Any]]
# What a file has for each user, besides ratings: of the state, and of the models.
OF_USERS = ("users", "left")
OF_MODELS = (
    *("rows.means", "rows.attributes", "rows.reliability", "columns.loadings"),  # Bayesian
    *("U", "row_bias", "rows.cold"),  # networks and preferences
)


def listed(folder: Path) -> dict[str, list[int]]:
    """The files of a model, and which parts of the users are in each.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder is no model.
    """
    path = folder / LIST
    if not path.exists():
        raise FileNotFoundError(
            f"there is no model in the folder {folder} ({LIST} is missing); give the folder, or the file, of a model"
        )
    try:
        found = json.loads(path.read_text())
        known, version = found["format"] == FORMAT, int(found["version"])
        files = {str(name): [int(part) for part in parts] for name, parts in found["files"].items()}
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ValueError(f"{path} is damaged; save the model again") from None
    if not known or version > VERSION or not files:
        raise ValueError(f"{path} has format version {version} and this dmc reads up to {VERSION}; install a newer dmc")
    return files


def load(paths: Sequence[str | os.PathLike[str]]) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and header of one model of the users of some files, in the order of their ids."""
    read = [model_file.load(path, "Recommender") for path in paths]
    arrays, header = dict(read[0][0]), dict(read[0][1])
    files = [of_one for of_one, _ in read]
    ids = np.concatenate([of_one["users"] for of_one in files])
    order = np.argsort(ids, kind="stable")
    for name in _of_each(arrays):
        if len(arrays[name]) == 0 and name.startswith("model."):  # saved without ratings, it places users by theirs
            continue
        left = name == "left"  # whose last row is of those who are not known
        parts = [of_one[name][:-1] if left else of_one[name] for of_one in files]
        joined = np.concatenate(parts)[order]
        arrays[name] = np.concatenate([joined, arrays[name][-1:]]) if left else joined
    if "seen.pointers" in arrays:
        arrays |= _ratings(files, order)
    else:
        header["n_observed"] = sum(of_one["n_observed"] for _, of_one in read)
    header["models"] = [_model([of_one["models"][i] for _, of_one in read]) for i in range(len(header["models"]))]
    return arrays, header


def _of_each(arrays: Arrays) -> list[str]:
    return [
        name
        for name in arrays
        if name in OF_USERS or (name.startswith("model.") and name.split(".", 2)[2] in OF_MODELS)
    ]


def _ratings(files: Sequence[Mapping[str, NDArray[Any]]], order: NDArray[np.int64]) -> Arrays:
    """Who rated what, and how."""
    counts = np.concatenate([np.diff(of_one["seen.pointers"]) for of_one in files])
    indices = np.concatenate([of_one["seen.indices"] for of_one in files])
    joined = SparseIndex(np.concatenate([[0], np.cumsum(counts)]), indices)
    index, places = joined.take(order)
    found = {"seen.pointers": np.asarray(index.indptr), "seen.indices": np.asarray(index.indices)}
    for name in ("ratings", "weights"):
        if name in files[0]:
            found[name] = np.concatenate([of_one[name] for of_one in files])[places]
    return found


def _model(numbers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found = dict(numbers[0])
    if "n_fitted" in found:
        found["n_fitted"] = sum(int(of_one["n_fitted"]) for of_one in numbers)
    return found
