"""A recommender in a file, and out of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import __version__, model_file
from dmc._warn import warn
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.pattern import SparseIndex
from dmc.recommend import list_ranking, models, shards
from dmc.recommend.forgetting import no_ratings, nothing_of_nobody, without_users
from dmc.recommend.intervals import Calibration
from dmc.recommend.models import RatingModel
from dmc.recommend.settings import RecommenderSettings
from dmc.recommend.side_information import Encoding
from dmc.recommend.state import FitInfo, Fitted, Lazy, Ranking, State, WithoutRatings
from dmc.recommend.tables.vocabulary import Vocabulary
from dmc.solver.solution import Status

Arrays = Mapping[str, NDArray[Any]]
Numbers = dict[str, Any]  # what JSON holds of a model
SERVED = ("columns", "weight", "mean", "noise", "range", "rank")  # of the state, as they are


def write(settings: RecommenderSettings, state: State, path: str | os.PathLike[str], *, ratings: bool) -> None:
    """What a `Recommender` with these settings serves, into a file: with the ratings, or without who rated what."""
    arrays = {"left": state.left, "right": state.right, "users": state.users.ids, "items": state.items.ids}
    header: dict[str, Any] = {"written_by": f"dmc {__version__}", "settings": settings.for_file(), "models": []}
    header |= {name: getattr(state, name) for name in SERVED}
    header["encodings"] = [of and of.as_json() for of in state.encodings]
    header |= state.fit_info._asdict() | {"status": state.fit_info.status.name}
    if ratings:
        known, fitted = state.fitted()
        arrays |= {"seen.pointers": np.asarray(state.seen.indptr), "seen.indices": np.asarray(state.seen.indices)}
        arrays |= {"ratings": np.asarray(known.values)}
        if known.weights is not None:
            arrays["weights"] = np.asarray(known.weights)
    else:
        fitted, header["n_observed"] = without_users(state.models(), np.arange(len(state.items))), state.n_observed
        if state.calibration is not None:
            arrays |= {"counts.users": state.counts[0][:-1], "counts.items": state.counts[1][:-1]}
    for i, model in enumerate(fitted):
        of_model, numbers = model.arrays()
        arrays |= _below(f"model.{i}.", of_model)
        header["models"].append(numbers)
    if state.calibration is not None:
        arrays |= _below("intervals.", state.calibration.arrays())
    if state.ranking is not None and (ranking := _made(state.ranking, path, ratings)) is not None:
        of_ranking, header["ranking"] = list_ranking.arrays(ranking, preferences=ratings)
        arrays |= _below("ranking.", of_ranking)
    if settings.feedback == "explicit" and state.ranking is None:
        header["ranked"] = False
    model_file.save(path, "Recommender", arrays, header)


def _made(ranking: Lazy[Ranking], path: str | os.PathLike[str], ratings: bool) -> Ranking | None:
    """What orders the lists, which may only now be fitted; None on Ctrl-C: the file goes without, as those of old."""
    try:
        return ranking()
    except KeyboardInterrupt:
        if not ratings:  # from which it could be fitted later
            raise
        warn(
            f"interrupted: {path} is saved without the model that sorts lists, which will be fitted when lists are "
            "needed"
        )
        return None


def read(
    path: str | os.PathLike[str] | Sequence[os.PathLike[str]], mmap: bool = False, verify: bool = False
) -> tuple[RecommenderSettings, State]:
    """Settings and state out of a file, out of several of one model, or out of a folder of such; the models stay there
    until they are asked for."""
    paths = [path] if isinstance(path, (str, os.PathLike)) else path
    if len(paths) == 1 and Path(paths[0]).is_dir():
        paths = [Path(paths[0]) / name for name in shards.listed(Path(paths[0]))]
    if len(paths) > 1 and mmap:
        raise ValueError(f"{path} is a folder of {len(paths)} files, which are not mapped as one; load it without mmap")
    arrays, header = shards.load(paths, mmap=mmap, verify=verify)
    with model_file.believed(paths[0]):
        settings = RecommenderSettings(**header["settings"]).checked()
    info = FitInfo(Status[header["status"]], header["n_iter"], header["validation_rmse"], header["history"])
    served = Factors(arrays["left"], (), arrays["right"])
    users, items = Vocabulary(arrays["users"]), Vocabulary(arrays["items"])
    shape = (len(users), len(items))
    without = None if "seen.pointers" in arrays else _without_ratings(arrays, header, settings.kind, len(items))
    if without is None:
        seen = SparseIndex(arrays["seen.pointers"], arrays["seen.indices"])
        fitted = Lazy(partial(_fitted, arrays, settings.kind, header["models"], shape))
    else:
        seen, fitted = no_ratings(len(users)), Lazy(_refused)
    ranking: Lazy[Ranking] | None = None
    if settings.feedback == "explicit" and header.get("ranked", True):
        ranking = _ranking(arrays, header.get("ranking"), served, fitted)
    user, item, rating = header["columns"]
    of_users, of_items = (of if of is None else Encoding.of(of) for of in header["encodings"])
    least, most = header["range"]
    state = State(
        columns=(user, item, rating),
        weight=header["weight"],
        users=users,
        items=items,
        encodings=(of_users, of_items),
        mean=header["mean"],
        range=(least, most),
        left=arrays["left"],
        right=arrays["right"],
        seen=seen,
        noise=header["noise"],
        rank=header["rank"],
        fit_info=info,
        calibration=Calibration.from_arrays(_under(arrays, "intervals.")) if "intervals.scale" in arrays else None,
        fitted=fitted,
        ranking=ranking,
        without_ratings=without,
    )
    return settings, state


def _without_ratings(arrays: Arrays, header: Mapping[str, Any], kind: str, n_items: int) -> WithoutRatings:
    """What a file has that holds no ratings."""
    counts = None if "counts.users" not in arrays else (arrays["counts.users"], arrays["counts.items"])
    place: Lazy[Sequence[RatingModel]] = Lazy(
        partial(_models, arrays, kind, header["models"], nothing_of_nobody(n_items))
    )
    return WithoutRatings(place, header["n_observed"], counts)


def _refused() -> Fitted:
    raise ValueError("the model was saved without its ratings, which this needs; load a file that was saved with them")


def _ranking(arrays: Arrays, numbers: Numbers | None, served: Factors, fitted: Lazy[Fitted]) -> Lazy[Ranking]:
    if numbers is None:
        return Lazy(partial(_ranked, served, fitted))  # of a file that Ctrl-C left without
    return Lazy.of(list_ranking.from_arrays(_under(arrays, "ranking."), numbers, served, fitted))


def _ranked(served: Factors, fitted: Lazy[Fitted]) -> Ranking:
    ratings, found = fitted()
    return list_ranking.rank_lists(ratings, served, found[0].attributes, None, None)


def _fitted(arrays: Arrays, kind: str, numbers: list[Numbers], shape: tuple[int, int]) -> Fitted:
    """The ratings and the models that a file holds."""
    by_row = SparseIndex(arrays["seen.pointers"], arrays["seen.indices"])
    ratings = Observations.from_lines(by_row, arrays["ratings"], shape, arrays.get("weights"))
    return Fitted(ratings, _models(arrays, kind, numbers, ratings))


def _models(arrays: Arrays, kind: str, numbers: list[Numbers], ratings: Observations) -> list[RatingModel]:
    return [models.read(kind, _under(arrays, f"model.{i}."), of_one, ratings) for i, of_one in enumerate(numbers)]


def _below(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def _under(arrays: Arrays, prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
