"""What a recommender's file holds, and how one of any version becomes a recommender again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmc import __version__, model_file
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.pattern import SparseIndex
from dmc.recommend import list_ranking, models
from dmc.recommend.intervals import Calibration
from dmc.recommend.settings import OF_NETWORKS, RecommenderSettings
from dmc.recommend.state import FitInfo, Fitted, Lazy, Ranking, State
from dmc.recommend.vocabulary import Vocabulary
from dmc.solver.solution import Status

Arrays = Mapping[str, NDArray[Any]]
Numbers = dict[str, Any]  # what JSON holds of a model


@dataclass(frozen=True)
class Header:
    """What a file holds besides arrays.

    Attributes
    ----------
    settings : RecommenderSettings
    columns, mean, noise, range, rank, fit_info
        As in `State`.
    models : sequence of dict
        The numbers of each model; none in files of version 1, which kept neither models nor ratings.
    ranking : dict, optional
        The numbers of the ranking of lists; None in files of versions that had none, and of preferences.
    network_depth : int, optional
        In files of version 1: the cores of the network, which itself is served.
    """

    settings: RecommenderSettings
    columns: tuple[str, str, str]
    mean: float
    noise: float
    range: tuple[float, float]
    rank: int
    fit_info: FitInfo
    models: list[Numbers]
    ranking: Numbers | None
    network_depth: int | None = None

    @classmethod
    def of(cls, settings: RecommenderSettings, state: State, models: list[Numbers], ranking: Numbers | None) -> Header:
        """Of what is served."""
        own = (state.columns, state.mean, state.noise, state.range, state.rank, state.fit_info)
        return cls(settings, *own, models, ranking)

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Header:
        """From a file of any version."""
        info = FitInfo(Status[found["status"]], found["n_iter"], found["validation_rmse"], found.get("history", []))
        user, item, rating = found["columns"]
        least, most = found["range"]
        kept = found.get("models", found.get("members"))  # which they were called up to version 2
        return cls(
            settings=_settings(found["settings"], info),
            columns=(user, item, rating),
            mean=found["mean"],
            noise=found.get("noise", found["validation_rmse"]),
            range=(least, most),
            rank=found["rank"],
            fit_info=info,
            models=kept or [],
            ranking=found.get("ranking"),
            network_depth=found["settings"]["depth"] if kept is None else None,
        )

    def asdict(self) -> dict[str, Any]:
        """What `read` reads."""
        status, n_iter, validation_rmse, history = self.fit_info
        found = {
            "written_by": f"dmc {__version__}",
            "settings": self.settings.for_file(),
            "columns": self.columns,
            "mean": self.mean,
            "noise": self.noise,
            "range": self.range,
            "rank": self.rank,
            "status": status.name,
            "n_iter": n_iter,
            "validation_rmse": validation_rmse,
            "history": history,
            "models": self.models,
        }
        return found if self.ranking is None else {**found, "ranking": self.ranking}


def _settings(found: Mapping[str, Any], info: FitInfo) -> RecommenderSettings:
    """Those of a file; up to version 2 it did not name the model, and kept what a network would be trained with."""
    known = dict(found)
    if "model" not in known and known.get("feedback") != "implicit":
        of_network = known["depth"] is not None or any("validation_rmse" in look for look in info.history)
        known["model"] = "network" if of_network else "bayes"
    if known.get("model") != "network":
        known = {name: value for name, value in known.items() if name not in OF_NETWORKS}
    return RecommenderSettings(**known).checked()


class Found(NamedTuple):
    """What a file holds."""

    settings: RecommenderSettings
    state: State


def write(settings: RecommenderSettings, state: State, path: str | os.PathLike[str]) -> None:
    """What a `Recommender` with these settings serves, into a file."""
    ratings, fitted = state.fitted()
    arrays = {"left": state.left, "right": state.right, "users": state.users.ids, "items": state.items.ids}
    pointers, indices, values = (np.asarray(array) for array in (*state.seen, ratings.values))
    arrays |= {"seen.pointers": pointers, "seen.indices": indices, "ratings": values}
    numbers, ranking = [], None
    for i, model in enumerate(fitted):
        of_model, its_numbers = model.arrays()
        arrays |= _below(f"model.{i}.", of_model)
        numbers.append(its_numbers)
    if state.calibration is not None:
        arrays |= _below("intervals.", state.calibration.arrays())
    if state.ranking is not None:
        of_ranking, ranking = list_ranking.arrays(state.ranking())
        arrays |= _below("ranking.", of_ranking)
    model_file.save(path, "Recommender", arrays, Header.of(settings, state, numbers, ranking).asdict())


def read(path: str | os.PathLike[str], mmap: bool) -> Found:
    """Settings and state out of a file; the models stay there until they are asked for."""
    arrays, found = model_file.load(path, "Recommender", mmap=mmap)
    header = Header.read(found)
    if header.network_depth is None:
        served = Factors(arrays["left"], (), arrays["right"])
    else:
        served = _network_of_version_1(arrays, header.network_depth)
    users, items = Vocabulary(arrays["users"]), Vocabulary(arrays["items"])
    fitted = Lazy(partial(_fitted, arrays, header, (len(users), len(items))))
    state = State(
        columns=header.columns,
        users=users,
        items=items,
        mean=header.mean,
        range=header.range,
        left=np.asanyarray(served.U),
        right=np.asanyarray(served.V),
        seen=SparseIndex(arrays["seen.pointers"], arrays["seen.indices"]),
        noise=header.noise,
        rank=header.rank,
        fit_info=header.fit_info,
        calibration=_calibration(arrays, header.range),
        fitted=fitted,
        ranking=_ranking(arrays, header, served, fitted),
    )
    return Found(header.settings, state)


def _network_of_version_1(arrays: Arrays, depth: int) -> Factors:
    """The network itself, as it is multiplied; it had no row for those who are not known."""
    U, V, *biases = (arrays[name] for name in ("U", "V", "row_bias", "column_bias"))
    network = Factors(U, [arrays[f"cores.{i}"] for i in range(depth)], V)
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


def _ranking(arrays: Arrays, header: Header, served: Factors, fitted: Lazy[Fitted]) -> Lazy[Ranking] | None:
    if not header.models or header.settings.feedback == "implicit":
        return None
    if header.ranking is not None:
        ours = _under(arrays, "ranking.")
        return Lazy.of(list_ranking.from_arrays(ours, header.ranking, served, fitted))
    return Lazy(partial(_ranked, served, fitted))  # of a version that had none


def _ranked(served: Factors, fitted: Lazy[Fitted]) -> Ranking:
    return list_ranking.rank_lists(fitted().observations, served, None, None)


def _fitted(arrays: Arrays, header: Header, shape: tuple[int, int]) -> Fitted:
    """The ratings and the models that a file holds.

    Raises
    ------
    ValueError
        If it is of a version that kept none.
    """
    if not header.models:
        raise ValueError("the model file was written by a version of dmc that did not keep its ratings; fit it again")
    by_row = SparseIndex(arrays["seen.pointers"], arrays["seen.indices"])
    ratings = Observations.from_lines(by_row, arrays["ratings"], shape)
    found = []
    for i, numbers in enumerate(header.models):
        ours = _under(arrays, f"model.{i}.") or _under(arrays, f"member.{i}.")  # up to version 2
        found.append(models.read(header.settings.kind, ours, numbers, ratings))
    return Fitted(ratings, found)


def _below(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def _under(arrays: Arrays, prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
