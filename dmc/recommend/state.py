"""All that a fitted recommender answers by, in one object: it is never changed, only replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from dmc._locks import cached_property, lock
from dmc.factors import Array, Factors
from dmc.observations import Observations
from dmc.pattern import SparseIndex, read_only
from dmc.recommend.intervals import Calibration
from dmc.recommend.models import RatingModel
from dmc.recommend.preferences import Preferences
from dmc.recommend.side_information import Encoding
from dmc.recommend.tables.vocabulary import Vocabulary
from dmc.solver.solution import Record, Status

T = TypeVar("T")


class Lazy(Generic[T]):
    """A value that is made when somebody first asks for it: once, whichever threads ask; later without a lock.

    Parameters
    ----------
    make : callable
        Without arguments. What it raises goes to who asks, and the next one tries again.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make: Callable[[], T] | None = make
        self._lock = lock()

    @classmethod
    def of(cls, value: T) -> Lazy[T]:
        """One that is there already."""
        lazy = cls(lambda: value)
        lazy()
        return lazy

    @property
    def made(self) -> bool:
        """Whether asking costs nothing."""
        return self._make is None

    def __call__(self) -> T:
        if self._make is not None:
            with self._lock:
                if self._make is not None:
                    self._value = self._make()
                    self._make = None  # only now: who sees this finds the value, too
        return self._value

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=lock())


class FitInfo(NamedTuple):
    """What a fit tells of itself."""

    status: Status
    n_iter: int
    validation_rmse: float
    history: list[Record]

    @classmethod
    def of(cls, models: Sequence[RatingModel]) -> FitInfo:
        """The first model's; that the last one was stopped, if so."""
        first, last = models[0], models[-1]
        status = last.status if last.status is Status.STOPPED else first.status
        return cls(status, first.n_iter, first.validation_rmse, first.history)


class Fitted(NamedTuple):
    """What serving seldom needs: the ratings, and the models in full."""

    observations: Observations
    models: Sequence[RatingModel]


class WithoutRatings(NamedTuple):
    """What a model that was saved without its ratings has in their place."""

    models: Lazy[Sequence[RatingModel]]  # without users, for whose vectors they are asked
    n_observed: int
    counts: tuple[NDArray[np.int64], NDArray[np.int64]] | None  # ratings of each user and item, if bounds need them


@dataclass(frozen=True, eq=False)
class Ranking:
    """By what lists are ranked, where that is not the prediction itself; see `dmc.recommend.list_ranking`.

    Attributes
    ----------
    left, right : (users + 1, k) and (items + 1, k) float32
        Their products order the items; the last rows are of those who are not known.
    rating_weight : float
        What a unit of rating counts in them.
    preferences : Lazy of Preferences, optional
        None, where they say nothing.
    """

    left: NDArray[np.float32]
    right: NDArray[np.float32]
    rating_weight: float
    preferences: Lazy[Preferences] | None

    def __post_init__(self) -> None:
        for name in ("left", "right"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.__post_init__()


class Origin(NamedTuple):
    """The ranking that another one grew from, and how: it may have been made of fewer ratings, users and items."""

    ranking: Lazy[Ranking]
    row_of: NDArray[np.int64]  # (rows,) its row of each of ours; −1 for a new one
    column_of: NDArray[np.int64]
    changed: NDArray[np.bool_]  # (rows,) that have ratings it does not know


@dataclass(frozen=True, eq=False)
class State:
    """What is served. Every query takes it once, and so all of its answer is of one model.

    Attributes
    ----------
    columns : (str, str, str)
        Of users, items and ratings in a table.
    weight : str or None
        The column of weights, if there are any.
    users, items : Vocabulary
    encodings : pair of Encoding or None
        How features of users, and of items, become attributes; None: there were none in the fit.
    mean : float
    range : (float, float)
        Lowest and highest rating.
    left, right : (users + 1, k) and (items + 1, k) float32
        Factors and biases as they are multiplied, with a last row for those who are not known.
    seen : SparseIndex
        What each user has rated.
    noise, rank
        Of the first model.
    fit_info : FitInfo
    calibration : Calibration, optional
        None: no intervals.
    fitted : Lazy of Fitted
    ranking : Lazy of Ranking, optional
        None: lists are ranked by the prediction.
    origin : Origin, optional
        Of `ranking`, until that is made.
    without_ratings : WithoutRatings, optional
        Of a model without ratings, whose `seen` is empty, and whose `fitted` refuses.
    """

    columns: tuple[str, str, str]
    weight: str | None
    users: Vocabulary
    items: Vocabulary
    encodings: tuple[Encoding | None, Encoding | None]
    mean: float
    range: tuple[float, float]
    left: NDArray[np.float32]
    right: NDArray[np.float32]
    seen: SparseIndex
    noise: float
    rank: int
    fit_info: FitInfo
    calibration: Calibration | None
    fitted: Lazy[Fitted]
    ranking: Lazy[Ranking] | None = None
    origin: Origin | None = None
    without_ratings: WithoutRatings | None = None

    def __post_init__(self) -> None:
        for name in ("left", "right"):
            object.__setattr__(self, name, read_only(getattr(self, name)))
        for name in ("users", "items"):
            vocabulary = getattr(self, name)
            object.__setattr__(self, name, replace(vocabulary, ids=read_only(vocabulary.ids)))
        object.__setattr__(self, "seen", SparseIndex(*(read_only(np.asanyarray(array)) for array in self.seen)))

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.__post_init__()  # what is unpickled can be written to

    @property
    def served(self) -> Factors:
        """What is added to the mean; the last rows are of those who are not known."""
        return Factors(self.left, (), self.right)

    @property
    def factors(self) -> Factors:
        """The same of those who are known, biases apart."""
        left, right = self.left[:-1], self.right[:-1]
        return Factors(left[:, :-2], (), right[:, :-2], left[:, -2], right[:, -1])

    @cached_property
    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(users + 1,) and (items + 1,) ratings of each; the last are of those who are not known: none."""
        if self.without_ratings is not None and self.without_ratings.counts is not None:
            of_users, of_items = self.without_ratings.counts
            return np.append(of_users, 0), np.append(of_items, 0)
        of_items = np.bincount(self.seen.indices, minlength=len(self.items))
        return np.append(np.diff(self.seen.indptr), 0), np.append(of_items, 0)

    @cached_property
    def rated(self) -> SparseIndex:
        """What each user has rated; the last, who is not known, nothing."""
        return SparseIndex(np.append(self.seen.indptr, self.seen.indptr[-1]), self.seen.indices)

    @cached_property
    def disliked(self) -> SparseIndex:
        """Of clicks: the items that each user dislikes; the last, who is not known, none."""
        index = self.seen
        if self.without_ratings is None:
            index = self.fitted().observations.take(self.fitted().observations.values < 0).pattern.by_row
        return SparseIndex(np.append(index.indptr, index.indptr[-1]), index.indices)

    @cached_property
    def user_directions(self) -> NDArray[np.float32]:
        """(users, k) unit vectors, whose products are the cosines of what users are predicted to rate, biases apart."""
        return _directions(self.factors.U, self.factors.V)

    @cached_property
    def item_directions(self) -> NDArray[np.float32]:
        """(items, k) the same of items. Made when somebody asks what is alike, and kept: a service asks one by one."""
        return _directions(self.factors.V, self.factors.U)

    @property
    def n_observed(self) -> int:
        """Ratings that were fitted."""
        return len(self.seen.indices) if self.without_ratings is None else self.without_ratings.n_observed

    def models(self) -> Sequence[RatingModel]:
        """The models that place a user by ratings that are given; without users of their own, where none are kept."""
        return self.fitted().models if self.without_ratings is None else self.without_ratings.models()

    def same_ratings(self, other: State) -> bool:
        """Whether both know the same users, items and ratings."""
        if len(self.seen.indices) != len(other.seen.indices):
            return False
        pairs: list[tuple[Array, Array]] = [(self.users.ids, other.users.ids), (self.items.ids, other.items.ids)]
        pairs += [*zip(self.seen, other.seen, strict=True)]
        ours, theirs = (state.fitted().observations for state in (self, other))
        pairs += [(ours.values, theirs.values)]
        if ours.weights is not None and theirs.weights is not None:
            pairs += [(ours.weights, theirs.weights)]
        return all(np.array_equal(a, b) for a, b in pairs)


def _directions(own: Array, other: Array) -> NDArray[np.float32]:
    """(known, k) unit vectors whose products are the cosines of the predictions over all of the other side."""
    own, other = (a / (np.abs(a).max(initial=0) or np.float32(1)) for a in (own, other))  # squares may overflow
    values, vectors = np.linalg.eigh(other.T.astype(np.float64) @ other)
    units: NDArray[np.float32] = own @ (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)
    units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return units


def grown(before: State, step: Origin) -> Origin:
    """The way to a state from the last ranking that was made, or will be first, where `step` leads there from `before`.

    So a chain of states holds on to one ranking, and not to all of those between that nobody asked for.
    """
    root = before.origin
    if root is None or step.ranking.made:
        return step
    known, column_known = step.row_of >= 0, step.column_of >= 0
    return Origin(
        root.ranking,
        np.where(known, root.row_of[step.row_of], -1),
        np.where(column_known, root.column_of[step.column_of], -1),
        step.changed | (known & root.changed[step.row_of]),
    )
