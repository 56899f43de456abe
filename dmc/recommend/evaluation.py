"""Judging a recommender: ratings split off before the fit, errors and lists on them, and what simple rivals reach."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from dmc import _checks, metrics
from dmc.factors import Factors
from dmc.pattern import SparseIndex
from dmc.recommend.readers import HEADLESS
from dmc.recommend.table import Table
from dmc.recommend.vocabulary import Vocabulary

By = Literal["random", "user", "time"]
DAMPING = 5.0  # ratings' worth of "no bias" that each user and item starts with
SWEEPS = 10


@dataclass(frozen=True)
class Evaluation:
    """What a recommender reaches on ratings that it has not seen; None where it does not apply.

    Attributes
    ----------
    rmse, mae : float or None
        Errors of the predicted ratings, in their units.
    precision, recall, ndcg, average_precision : float or None
        Of the n items recommended to each user who has a relevant one: see `dmc.metrics`.
    coverage : float or None
        Share of the known items that is recommended to anybody.
    n : int
        Items recommended to each user.
    relevant : float
        Ratings of at least this make an item relevant.
    n_ratings, n_users : int
        Test ratings, and users among them who have a relevant item.
    """

    rmse: float | None
    mae: float | None
    precision: float | None
    recall: float | None
    ndcg: float | None
    average_precision: float | None
    coverage: float | None
    n: int
    relevant: float
    n_ratings: int
    n_users: int

    def asdict(self) -> dict[str, float | None]:
        """The attributes by name."""
        return asdict(self)


class Judged(Protocol):
    """What `evaluate` asks of a recommender; `dmc.Recommender` has it."""

    @property
    def columns_(self) -> tuple[str, str, str]: ...

    @property
    def items_(self) -> Vocabulary: ...

    def predict(self, table: Any) -> Any: ...

    def recommend(self, users: Any, n: int) -> Any: ...


def split(
    table: Any,
    by: By = "random",
    test_fraction: float = 0.2,
    seed: int | np.random.Generator = 0,
    user: str = "user",
    time: str = "timestamp",
) -> tuple[Any, Any]:
    """Split a table of ratings into a part to fit and a part to judge by.

    Parameters
    ----------
    table : data frame, mapping of arrays, or path of a file
        One rating a row: see `dmc.recommend.table.Table.open`.
    by : {"random", "user", "time"}
        "random": any ratings. "user": the same share of each user's ratings, at random; nobody loses the last one.
        "time": the latest ratings, of equally late ones those further down in the table.
    test_fraction : float
        Share of the ratings that go to the test part, rounded to whole ratings (of each user, by "user").
    seed : int or numpy.random.Generator
        The same seed gives the same split; "time" needs none.
    user, time : str
        Names of the columns that "user" and "time" go by. Times may be numbers, dates or ISO 8601 text.

    Returns
    -------
    train, test : the table's own kind; for a file, dicts of arrays
        In the order of the table.

    Raises
    ------
    ValueError, TypeError, OSError
        If the table cannot be used, a time cannot be understood, or one part would be empty.
    """
    _checks.choice(by, "by", ("random", "user", "time"))
    fraction = _checks.real(test_fraction, "test_fraction", 0, 1, open_ends=True)
    rng = _checks.generator(seed, "seed")
    named = ("user" if user in HEADLESS else user, "item", "rating", "timestamp" if time in HEADLESS else time)
    source = Table.open(table, named)
    size = len(source)
    if by == "user":
        test = _share_of_each(source.ids(user), fraction, rng)
    elif by == "time":
        test = np.argsort(_times(source, time), kind="stable")[size - round(fraction * size) :]
    else:
        test = rng.permutation(size)[: round(fraction * size)]
    if not 0 < len(test) < size:
        part = "test" if len(test) == 0 else "training"
        raise ValueError(
            f"{_checks.count(size, 'rating')} split by {by} with test_fraction {fraction:g} leave no {part} part; "
            "give more ratings or another fraction"
        )
    held_out = np.zeros(size, bool)
    held_out[test] = True
    return source.take(np.flatnonzero(~held_out)), source.take(np.flatnonzero(held_out))


def _share_of_each(ids: NDArray[Any], fraction: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of the table: a share of each user's, drawn at random, and never all."""
    _, users = Vocabulary.learn(ids)
    counts = np.bincount(users)
    wanted = np.minimum(np.rint(fraction * counts).astype(np.int64), counts - 1)
    order = np.lexsort((rng.random(len(users)), users))
    places = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[places < wanted[users[order]]]


def _times(source: Table, name: str) -> NDArray[Any]:
    """(entries,) numbers or dates that can be sorted; none may be missing."""
    values = source.column(name)
    if values.dtype.kind in "OUS":
        try:
            values = _checks.as_float(values, f"column {name!r}")
        except TypeError:
            values = np.array([_seconds(value, name) for value in values])
    missing = np.isnat(values) if values.dtype.kind in "mM" else np.isnan(values)
    if missing.any():
        raise ValueError(
            f"column {name!r} holds {_checks.count(int(missing.sum()), 'missing time')}, the first in row "
            f"{int(np.argmax(missing))}; drop those rows"
        )
    return values


def _seconds(value: Any, name: str) -> float:
    """A date as seconds; without a time zone it is taken for UTC."""
    written = value.isoformat() if hasattr(value, "isoformat") else str(value)
    try:
        date = datetime.fromisoformat(written)
    except ValueError:
        raise ValueError(
            f"column {name!r} holds {written!r}, which is no time; give numbers, dates or ISO 8601 text"
        ) from None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def evaluate(recommender: Judged, test: Any, n: int = 10, relevant: float | None = None) -> Evaluation:
    """Judge a fitted recommender by ratings that it has not seen.

    Users and items that were not in the fit are judged too: they get what the recommender has for strangers.

    Parameters
    ----------
    recommender : dmc.Recommender
        Or anything with its `predict`, `recommend`, `columns_` and `items_`.
    test : data frame, mapping of arrays, or path of a file
        Ratings, with columns named as in the fit.
    n : int
        Items to recommend to each user.
    relevant : float, optional
        Ratings of at least this make an item relevant; left out: the mean of the test ratings. If none does, the lists
        are not judged.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError, TypeError, OSError
        If the test ratings cannot be used.
    """
    judge = _Judge(recommender.columns_, test, n, relevant)
    return judge.verdict(recommender, errors=True, lists=True)


def baselines(
    train: Any,
    test: Any,
    n: int = 10,
    relevant: float | None = None,
    user: str = "user",
    item: str = "item",
    rating: str = "rating",
) -> dict[str, Evaluation]:
    """What simple rivals reach, so that a recommender's figures mean something.

    Parameters
    ----------
    train, test : data frame, mapping of arrays, or path of a file
        The ratings that the recommender was fitted to, and those it is judged by.
    n, relevant
        As in `evaluate`.
    user, item, rating : str
        Names of the columns.

    Returns
    -------
    dict of Evaluation
        "mean" (of the training ratings, for everybody), "biases" (the mean, plus a damped deviation of each user and of
        each item: the lists are the same for everybody but for what was rated) and "popularity" (the items that were
        rated most often; it predicts no ratings).

    Raises
    ------
    ValueError, TypeError, OSError
        If the ratings cannot be used.
    """
    named = (user, item, rating)
    judge, train = _Judge(named, test, n, relevant), Table.open(train, named)
    mean, biases, popular = (
        _Baseline(train, named, sweeps=0),
        _Baseline(train, named),
        _Baseline(train, named, sweeps=0),
    )
    popular.ranking = np.argsort(-np.bincount(popular.cols), kind="stable")
    return {
        "mean": judge.verdict(mean, errors=True, lists=False),
        "biases": judge.verdict(biases, errors=True, lists=True),
        "popularity": judge.verdict(popular, errors=False, lists=True),
    }


class _Judge:
    """Test ratings, and what counts as a hit among them."""

    def __init__(self, columns: tuple[str, str, str], test: Any, n: int, relevant: float | None) -> None:
        self.n = _checks.integer(n, "n", 1)
        user, item, rating = columns
        source = Table.open(test, columns)
        self.pairs = {user: source.ids(user), item: source.ids(item)}
        self.actual = source.numbers(rating)
        if len(self.actual) == 0:
            raise ValueError("there are no test ratings; give at least one")
        self.relevant = (
            float(np.mean(self.actual, dtype=np.float64)) if relevant is None else _checks.real(relevant, "relevant")
        )
        good = self.actual >= self.relevant
        self.wanted = self.pairs[user][good], self.pairs[item][good]
        self.users = np.unique(self.wanted[0])

    def verdict(self, recommender: Judged, errors: bool, lists: bool) -> Evaluation:
        found: dict[str, float | None] = dict.fromkeys(
            ("rmse", "mae", "precision", "recall", "ndcg", "average_precision", "coverage")
        )
        if errors:
            predicted = recommender.predict(dict(self.pairs))["prediction"]
            found |= {"rmse": metrics.rmse(predicted, self.actual), "mae": metrics.mae(predicted, self.actual)}
        if lists and len(self.users):
            user, item, _ = recommender.columns_
            given = recommender.recommend({user: self.users}, self.n)
            ranking = metrics.hits((given[user], given[item]), self.wanted)
            for name in ("precision", "recall", "ndcg", "average_precision"):
                found[name] = getattr(metrics, name)(*ranking, self.n)
            found["coverage"] = metrics.coverage(given[item], len(recommender.items_))
        return Evaluation(
            **found, n=self.n, relevant=self.relevant, n_ratings=len(self.actual), n_users=len(self.users)
        )


class _Baseline:
    """Predicts the mean rating, plus a bias of the user and of the item; recommends everybody the same items.

    Attributes
    ----------
    ranking : (items,) int64
        Item numbers, best first.
    """

    def __init__(self, train: Any, columns: tuple[str, str, str], sweeps: int = SWEEPS) -> None:
        user, item, rating = self.columns_ = columns
        source = Table.open(train, columns)
        values = source.numbers(rating).astype(np.float64)
        if len(values) == 0:
            raise ValueError("there are no training ratings; give at least one")
        self.users_, self.rows = Vocabulary.learn(source.ids(user))
        self.items_, self.cols = Vocabulary.learn(source.ids(item))
        self.mean, self.range = float(values.mean()), (values.min(), values.max())
        of_user, of_item = np.zeros(len(self.users_)), np.zeros(len(self.items_))
        for _ in range(sweeps):  # each the least squares of the other, with a penalty of DAMPING
            of_item = self._damped(self.cols, values - self.mean - of_user[self.rows])
            of_user = self._damped(self.rows, values - self.mean - of_item[self.cols])
        self.of_user, self.of_item = np.append(of_user, 0), np.append(of_item, 0)  # the last is a stranger's
        self.ranking = np.argsort(-of_item, kind="stable")

    @staticmethod
    def _damped(positions: NDArray[Any], residuals: NDArray[Any]) -> NDArray[Any]:
        return np.bincount(positions, residuals) / (np.bincount(positions) + DAMPING)

    def predict(self, table: Any) -> dict[str, NDArray[Any]]:
        user, item, _ = self.columns_
        predicted = (
            self.mean
            + self.of_user[self.users_.positions(table[user])]
            + self.of_item[self.items_.positions(table[item])]
        )
        return {"prediction": np.clip(predicted, *self.range)}

    def recommend(self, users: Any, n: int) -> dict[str, NDArray[Any]]:
        """The first items of the ranking that a user has not rated."""
        user, item, _ = self.columns_
        rows = self.users_.positions(users[user])
        best, _ = self._scores.top_n(rows % len(self.of_user), n, exclude=self._rated)
        found = best >= 0
        return {user: np.repeat(users[user], found.sum(axis=1)), item: self.items_.ids[best[found]]}

    @property
    def _scores(self) -> Factors:
        """The same order of the items for every user, and for those who are not known."""
        place = np.argsort(self.ranking).astype(np.float64)
        return Factors(np.ones((len(self.of_user), 1)), (), -place[:, None])

    @property
    def _rated(self) -> SparseIndex:
        """What each user has rated; the last, who is not known, nothing."""
        n_items = len(self.items_)
        pairs = np.sort(self.rows.astype(np.int64) * n_items + self.cols)
        pairs = pairs[np.append(True, pairs[1:] > pairs[:-1])]  # once each
        counts = np.bincount(pairs // n_items, minlength=len(self.of_user))
        return SparseIndex(np.concatenate([[0], np.cumsum(counts)]), pairs % n_items)
