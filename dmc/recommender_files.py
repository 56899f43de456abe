"""What a recommender's file holds, and how one of any version becomes a recommender again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import __version__, persistence
from dmc.bayesian import Bayesian
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.pattern import Lines
from dmc.preferences import Preferences
from dmc.ratings import Vocabulary
from dmc.recommending import Model
from dmc.solution import Status

Stored = tuple[dict[str, NDArray[Any]], dict[str, Any]]


def write(model: Any, members: Sequence[Model], path: str | os.PathLike[str]) -> None:
    """A fitted `Recommender` into a file."""
    arrays = {"left": model._left, "right": model._right}
    arrays |= {"users": model.users_.ids, "items": model.items_.ids, "residuals": model._residuals}
    arrays |= {"seen.pointers": model._seen.pointers, "seen.indices": model._seen.indices}
    arrays |= {"ratings": model._ratings.values}
    numbers = []
    for i, member in enumerate(members):
        of_member, its_numbers = member.arrays()
        arrays |= {f"member.{i}.{name}": array for name, array in of_member.items()}
        numbers.append(its_numbers)
    names = ("rank", "feedback", "depth", "l2", "validation_fraction", "ensemble", "intervals")
    header = {
        "written_by": f"dmc {__version__}",
        "settings": {name: getattr(model, name) for name in names},
        "columns": model.columns_,
        "mean": model.mean_,
        "noise": model.noise_,
        "range": model.range_,
        "rank": model.rank_,
        "status": model.status_.name,
        "n_iter": model.n_iter_,
        "validation_rmse": model.validation_rmse_,
        "history": model.history_,
        "members": numbers,
    }
    persistence.save(path, "Recommender", arrays, header)


def read(kind: Any, path: str | os.PathLike[str], mmap: bool) -> Any:
    """A `Recommender` out of a file; its models stay there until they are asked for."""
    arrays, header = persistence.load(path, "Recommender", mmap=mmap)
    model = kind(**header["settings"])
    if "members" in header:
        model._left, model._right = arrays["left"], arrays["right"]
    else:  # version 1: the network itself, and no line for strangers
        U, V, *biases = (arrays[name] for name in ("U", "V", "row_bias", "column_bias"))
        cores = [arrays[f"cores.{i}"] for i in range(header["settings"]["depth"])]
        network = Factors(U, cores, V)
        network = network.truncate(min(network.width, len(U), len(V)))
        U, V, *biases = (np.concatenate([a, np.zeros_like(a[:1])]) for a in (network.U, network.V, *biases))
        served = Factors(U, (), V, *biases)
        model._left, model._right = served.left, served.right
    model.users_, model.items_ = Vocabulary(arrays["users"]), Vocabulary(arrays["items"])
    model._seen = Lines(arrays["seen.pointers"], arrays["seen.indices"])
    model.n_observed_ = len(model._seen.indices)
    model._residuals = arrays.get("residuals", np.zeros(0, np.float32))
    model._stored = (arrays, {"members": header.get("members", [])})
    model.columns_ = tuple(header["columns"])
    model.mean_, model.range_ = header["mean"], tuple(header["range"])
    model.rank_, model.n_iter_ = header["rank"], header["n_iter"]
    model.status_ = Status[header["status"]]
    model.validation_rmse_ = header["validation_rmse"]
    model.noise_ = header.get("noise", model.validation_rmse_)
    model.history_ = header.get("history", [])
    return model


def models(stored: Stored, feedback: str, shape: tuple[int, int]) -> tuple[Observations, list[Model]]:
    """The ratings and the models that a file holds.

    Raises
    ------
    ValueError
        If it is of a version that kept none.
    """
    arrays, header = stored
    if not header["members"]:
        raise ValueError("the model file was written by a version of dmc that did not keep its ratings; fit it again")
    lines = Lines(arrays["seen.pointers"], arrays["seen.indices"])
    ratings = Observations.from_lines(lines, arrays["ratings"], shape)
    kind = Bayesian if feedback == "explicit" else Preferences
    members: list[Model] = [
        kind.from_arrays(_under(arrays, f"member.{i}."), numbers, ratings)
        for i, numbers in enumerate(header["members"])
    ]
    return ratings, members


def _under(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
