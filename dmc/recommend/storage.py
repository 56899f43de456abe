"""What a recommender's file holds, and how one of any version becomes a recommender again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmc import __version__, model_file
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.pattern import SparseIndex
from dmc.recommend import list_ranking
from dmc.recommend.bayesian import VariationalFactorization
from dmc.recommend.implicit import Preferences
from dmc.recommend.intervals import Calibration
from dmc.recommend.state import Course, Fitted, Lazy, Model, Ranking, State
from dmc.recommend.table import Vocabulary
from dmc.solver.solution import Status

Arrays = Mapping[str, NDArray[Any]]
SETTINGS = ("rank", "feedback", "depth", "l2", "validation_fraction", "ensemble", "intervals")


class Found(NamedTuple):
    """What a file holds."""

    settings: dict[str, Any]
    state: State


def write(settings: Any, state: State, path: str | os.PathLike[str]) -> None:
    """What a `Recommender` with these settings serves, into a file."""
    ratings, members = state.fitted()
    arrays = {"left": state.left, "right": state.right, "users": state.users.ids, "items": state.items.ids}
    arrays |= {"seen.pointers": state.seen.indptr, "seen.indices": state.seen.indices, "ratings": ratings.values}
    numbers = []
    for i, member in enumerate(members):
        of_member, its_numbers = member.arrays()
        arrays |= _below(f"member.{i}.", of_member)
        numbers.append(its_numbers)
    if state.calibration is not None:
        arrays |= _below("intervals.", state.calibration.arrays())
    header = {
        "written_by": f"dmc {__version__}",
        "settings": {name: getattr(settings, name) for name in SETTINGS},
        "columns": state.columns,
        "mean": state.mean,
        "noise": state.noise,
        "range": state.range,
        "rank": state.rank,
        "status": state.course.status.name,
        "n_iter": state.course.n_iter,
        "validation_rmse": state.course.validation_rmse,
        "history": state.course.history,
        "members": numbers,
    }
    if state.ranking is not None:
        of_ranking, header["ranking"] = list_ranking.arrays(state.ranking())
        arrays |= _below("ranking.", of_ranking)
    model_file.save(path, "Recommender", arrays, header)


def read(path: str | os.PathLike[str], mmap: bool) -> Found:
    """Settings and state out of a file; the models stay there until they are asked for."""
    arrays, header = model_file.load(path, "Recommender", mmap=mmap)
    settings = header["settings"]
    served = Factors(arrays["left"], (), arrays["right"]) if "members" in header else _version_1(arrays, settings)
    users, items = Vocabulary(arrays["users"]), Vocabulary(arrays["items"])
    feedback = settings.get("feedback", "explicit")
    kept = header.get("members", [])
    fitted = Lazy(partial(_fitted, arrays, kept, feedback, (len(users), len(items))))
    ends = tuple(header["range"])
    state = State(
        columns=tuple(header["columns"]),
        users=users,
        items=items,
        mean=header["mean"],
        range=ends,
        left=served.U,
        right=served.V,
        seen=SparseIndex(arrays["seen.pointers"], arrays["seen.indices"]),
        noise=header.get("noise", header["validation_rmse"]),
        rank=header["rank"],
        course=Course(Status[header["status"]], header["n_iter"], header["validation_rmse"], header.get("history", [])),
        calibration=_calibration(arrays, ends),
        fitted=fitted,
        ranking=_ranking(arrays, header, served, fitted) if kept and feedback == "explicit" else None,
    )
    return Found(settings, state)


def _version_1(arrays: Arrays, settings: Mapping[str, Any]) -> Factors:
    """The network itself, as it is multiplied; it had no line for strangers."""
    U, V, *biases = (arrays[name] for name in ("U", "V", "row_bias", "column_bias"))
    network = Factors(U, [arrays[f"cores.{i}"] for i in range(settings["depth"])], V)
    network = network.truncate(min(network.width, len(U), len(V)))
    U, V, *biases = (np.concatenate([a, np.zeros_like(a[:1])]) for a in (network.U, network.V, *biases))
    served = Factors(U, (), V, *biases)
    return Factors(served.left, (), served.right)


def _calibration(arrays: Arrays, ends: tuple[float, float]) -> Calibration | None:
    ours = _under(arrays, "intervals.")
    if ours:
        return Calibration.from_arrays(ours)
    sizes = arrays.get("residuals", np.zeros(0))  # of versions whose bounds were as wide for every pair
    return Calibration.of_sizes(sizes, ends) if len(sizes) else None


def _ranking(arrays: Arrays, header: Mapping[str, Any], served: Factors, fitted: Lazy[Fitted]) -> Lazy[Ranking]:
    if "ranking" in header:
        ours = _under(arrays, "ranking.")
        return Lazy.of(list_ranking.from_arrays(ours, header["ranking"], served, fitted))
    return Lazy(partial(_ranked, served, fitted))  # of a version that had none


def _ranked(served: Factors, fitted: Lazy[Fitted]) -> Ranking:
    return list_ranking.rank_lists(fitted().observations, served, None, None)


def _fitted(arrays: Arrays, members: list[dict[str, Any]], feedback: str, shape: tuple[int, int]) -> Fitted:
    """The ratings and the models that a file holds.

    Raises
    ------
    ValueError
        If it is of a version that kept none.
    """
    if not members:
        raise ValueError("the model file was written by a version of dmc that did not keep its ratings; fit it again")
    lines = SparseIndex(arrays["seen.pointers"], arrays["seen.indices"])
    ratings = Observations.from_lines(lines, arrays["ratings"], shape)
    kind = VariationalFactorization if feedback == "explicit" else Preferences
    models: list[Model] = [
        kind.from_arrays(_under(arrays, f"member.{i}."), numbers, ratings) for i, numbers in enumerate(members)
    ]
    return Fitted(ratings, models)


def _below(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def _under(arrays: Arrays, prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
