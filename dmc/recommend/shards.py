"""A model whose users are in several files, all of which know all items: as `dmc.distributed` writes one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _container, model_file
from dmc._group import N_PARTS
from dmc._text_arrays import is_text
from dmc.pattern import SparseIndex
from dmc.recommend import file_contents

LIST = "model.json"  # of a folder: which files belong together, and the parts of the users in each
FORMAT = "dmc shards"
VERSION = 1

Arrays = dict[str, NDArray[Any]]
# What a file has for each user, besides ratings: of the state, and of the models.
SHARED = ("columns", "weight", "mean", "range")  # of the headers
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
        found = _container.parsed(path.read_bytes())
        known, version = found["format"] == FORMAT, int(found["version"])
        files = {str(name): [int(part) for part in parts] for name, parts in found["files"].items()}
        whole = all(name == Path(name).name and all(0 <= part < N_PARTS for part in files[name]) for name in files)
    except (OSError, ValueError, OverflowError, KeyError, AttributeError, TypeError):
        raise ValueError(f"{path} is damaged; save the model again") from None
    if not known or version > VERSION or not files:
        raise ValueError(f"{path} has format version {version} and this dmc reads up to {VERSION}; install a newer dmc")
    if not whole:
        raise ValueError(f"{path} is damaged: it names files that no model has; save the model again")
    return files


def load(
    paths: Sequence[str | os.PathLike[str]], *, mmap: bool = False, verify: bool = False
) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and header of one model of the users of some files, in the order of their ids."""
    read: list[tuple[Arrays, dict[str, Any]]] = []
    shared: dict[str, int] = {}
    for path in paths:
        arrays, header = model_file.load(path, "Recommender", mmap=mmap, verify=verify)
        with model_file.believed(path):
            sizes = file_contents.check(arrays, header, trusted=not verify, shared=shared)
            if read:
                _refuse_another_model(read[0], (arrays, header))
        shared = {name: size for name, size in sizes.items() if name not in ("users", "entries")}
        read.append((arrays, header))
    return read[0] if len(read) == 1 else _joined(read, paths[0])


def _refuse_another_model(first: tuple[Arrays, dict[str, Any]], other: tuple[Arrays, dict[str, Any]]) -> None:
    (arrays, header), (others, theirs) = first, other
    same = _common(arrays) == _common(others) and all(header[name] == theirs[name] for name in SHARED)
    settings = theirs["settings"]  # of which files of versions before have fewer
    same = same and all(settings.get(name, value) == value for name, value in header["settings"].items())
    same = same and is_text(arrays["users"]) == is_text(others["users"])
    if not same or not np.array_equal(arrays["items"], others["items"]):
        raise ValueError("it is of another model than the files beside it")


def _common(arrays: Arrays) -> set[str]:
    """The arrays of a file that all files of its model have: lists are not ranked by what a file has for its users."""
    return {name for name in arrays if not name.startswith("ranking.")}


def _joined(
    read: Sequence[tuple[Arrays, dict[str, Any]]], path: str | os.PathLike[str]
) -> tuple[Arrays, dict[str, Any]]:
    """One model of all users."""
    files = [{name: of_one[name] for name in _common(of_one)} for of_one, _ in read]
    arrays, header = dict(files[0]), dict(read[0][1])
    if header.get("ranking"):  # which is fitted anew
        del header["ranking"]
    ids = np.concatenate([of_one["users"] for of_one in files])
    order = np.argsort(ids, kind="stable")
    if (ids[order[1:]] == ids[order[:-1]]).any():
        raise ValueError(f"{Path(path).parent} has the same user in two files; save the model again")
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
