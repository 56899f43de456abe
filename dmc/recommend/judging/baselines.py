"""Baselines for recommenders: biases of users and items, and popularity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc._locks import cached_property
from dmc.factors import Factors
from dmc.pattern import SparseIndex
from dmc.recommend.settings import Feedback
from dmc.recommend.tables.table import Table
from dmc.recommend.tables.vocabulary import Vocabulary

# Ratings' worth of "no bias" that each user and item starts with: what a fit chooses from. Endless: the mean for all.
DAMPINGS = (1.0, 3.0, 10.0, 30.0, math.inf)
SWEEPS = 10
FOLDS = 5
FEW = 200_000  # ratings: of more, one fold tells enough
SURE = 2.0  # standard errors by which biases have to be better than the mean to be used


class Popularity:
    """Recommend to everybody the items that most users have chosen; predict the mean rating.

    `dmc.evaluation.evaluate` and `dmc.evaluation.compare` accept it as a recommender.

    Parameters
    ----------
    train : data frame, mapping of arrays, or path of a file
        Ratings, or clicks; repeats of a pair count once.
    user, item, rating : str
        Names of the columns; clicks need no ratings. A count below 0 is a dislike and is not counted.
    feedback : {"explicit", "implicit"}
        Whether these are ratings or clicks, as in `dmc.Recommender`.

    Attributes
    ----------
    users_, items_ : Vocabulary
        The ids in the table.
    columns_ : tuple of (str, str, str)
        Names of the columns of users, items and ratings.
    seen_ : SparseIndex
        The items of each user, which are not recommended to that user.
    ranking : (items,) int64 array
        Positions of the items, most popular first.

    Raises
    ------
    ValueError, TypeError, OSError
        If the table cannot be used.

    Examples
    --------
    >>> import dmc
    >>> ratings = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
    >>> popular = dmc.evaluation.Popularity(ratings)
    >>> popular.items_.ids[popular.ranking].tolist()
    ['a', 'b', 'c']
    """

    def __init__(
        self,
        train: Any,
        user: str = "user",
        item: str = "item",
        rating: str = "rating",
        feedback: Feedback = "explicit",
    ) -> None:
        _checks.choice(feedback, "feedback", ("explicit", "implicit"))
        self.columns_: tuple[str, str, str] = (user, item, rating)
        self.feedback = feedback
        source = Table.open(train, self.columns_)
        self.users_: Vocabulary
        self.users_, self._rows = Vocabulary.learn(source.ids(user))
        self.items_: Vocabulary
        self.items_, self._cols = Vocabulary.learn(source.ids(item))
        self._values = values_of(source, rating, feedback)
        if len(self._values) == 0:
            raise ValueError("there are no training ratings; give at least one")
        self.mean: float = float(self._values.mean())
        self.range: tuple[Any, Any] = (self._values.min(), self._values.max())
        n_items = len(self.items_)
        keys = np.unique(self._rows.astype(np.int64) * n_items + self._cols)
        counts = np.bincount(keys // n_items, minlength=len(self.users_))
        self.seen_: SparseIndex = SparseIndex(np.concatenate([[0], np.cumsum(counts)]), keys % n_items)
        liked = slice(None) if feedback == "explicit" else self._values > 0
        chosen = np.unique(self._rows[liked].astype(np.int64) * n_items + self._cols[liked]) % n_items
        self._n_users_of = np.bincount(chosen, minlength=n_items)
        self.ranking: NDArray[np.intp] = np.argsort(-self._n_users_of, kind="stable")

    def __repr__(self) -> str:
        sizes = _checks.count(len(self.users_), "user"), _checks.count(len(self.items_), "item")
        return f"{type(self).__name__}({', '.join(sizes)})"

    def predict(self, table: Any) -> dict[str, NDArray[Any]]:
        """Predict the mean rating for every pair.

        Parameters
        ----------
        table : mapping of arrays
            With the columns of users and items.

        Returns
        -------
        dict of str to array
            "prediction": (rows,) float64.

        Examples
        --------
        >>> import dmc
        >>> ratings = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
        >>> dmc.evaluation.Popularity(ratings).predict({"user": ["ann"], "item": ["c"]})["prediction"].tolist()
        [3.5]
        """
        return {"prediction": np.full(len(table[self.columns_[0]]), self.mean)}

    def recommend(self, users: Any, n: int) -> dict[str, NDArray[Any]]:
        """Recommend to each user the first items of the ranking that the user does not have.

        Parameters
        ----------
        users : mapping of arrays
            With the column of users.
        n : int
            Number of items for each user.

        Returns
        -------
        dict of str to array
            Columns of users and items, best first for each user.

        Examples
        --------
        >>> import numpy as np
        >>> import dmc
        >>> ratings = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
        >>> dmc.evaluation.Popularity(ratings).recommend({"user": np.array(["bob"])}, 1)["item"].tolist()
        ['b']
        """
        user, item, _ = self.columns_
        rows = self.users_.positions(users[user])
        best, _ = self._scores.top_n(rows % (len(self.users_) + 1), n, exclude=self._rated)
        found = best >= 0
        return {user: np.repeat(users[user], found.sum(axis=1)), item: self.items_.ids[best[found]]}

    @cached_property
    def _scores(self) -> Factors:
        """The same order of the items for every user, and for those who are not known, who come last."""
        place = np.argsort(self.ranking).astype(np.float64)
        return Factors(np.ones((len(self.users_) + 1, 1)), (), -place[:, None])

    @property
    def _rated(self) -> SparseIndex:
        return SparseIndex(np.append(self.seen_.indptr, self.seen_.indptr[-1]), self.seen_.indices)


class Biases(Popularity):
    """Predict the mean rating plus a damped bias of the user and of the item; rank by the item's bias.

    The damping is chosen by cross-validation on the training ratings. If no damping predicts held-out ratings clearly
    better than the mean does, all biases are zero, so apart from chance this baseline is never worse than the mean.

    Parameters
    ----------
    train : data frame, mapping of arrays, or path of a file
        Ratings.
    user, item, rating : str
        Names of the columns.
    damping : float, optional
        Above 0: how many ratings of "no bias" each user and item starts with; infinite: no biases. Default: chosen.

    Attributes
    ----------
    users_, items_ : Vocabulary
        The ids in the table.
    columns_ : tuple of (str, str, str)
        Names of the columns of users, items and ratings.
    damping : float
        The damping that was chosen or given.
    of_user, of_item : (users + 1,) and (items + 1,) float64 arrays
        The biases; the last is that of an unknown one: 0.
    ranking : (items,) int64 array
        Positions of the items, largest bias first.

    Raises
    ------
    ValueError, TypeError, OSError
        If the table cannot be used.

    Examples
    --------
    >>> import dmc
    >>> ratings = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
    >>> biases = dmc.evaluation.Biases(ratings, damping=1)
    >>> bool(biases.of_user[0] > 0 > biases.of_user[1])  # ann rates higher than bob
    True
    """

    def __init__(
        self,
        train: Any,
        user: str = "user",
        item: str = "item",
        rating: str = "rating",
        damping: float | None = None,
    ) -> None:
        super().__init__(train, user, item, rating)
        if damping is not None and damping != math.inf:
            _checks.real(damping, "damping", 0, open_ends=True)
        self.damping: float = self._chosen() if damping is None else damping
        of_user, of_item = self._fitted(np.ones(len(self._values), bool), self.damping)
        self.of_user: NDArray[Any] = np.append(of_user, 0)
        self.of_item: NDArray[Any] = np.append(of_item, 0)
        # Of equal biases the more popular first.
        self.ranking: NDArray[np.intp] = np.lexsort((-self._n_users_of, -of_item))

    def _fitted(self, used: NDArray[np.bool_], damping: float) -> tuple[NDArray[Any], NDArray[Any]]:
        """Biases of users and items by some of the ratings, each side the least squares of the other, penalised."""
        rows, cols, residuals = self._rows[used], self._cols[used], self._values[used] - self._values[used].mean()
        of_user, of_item = np.zeros(len(self.users_)), np.zeros(len(self.items_))
        if damping == math.inf:
            return of_user, of_item
        user_weights = np.bincount(rows, minlength=len(of_user)) + damping
        item_weights = np.bincount(cols, minlength=len(of_item)) + damping
        for _ in range(SWEEPS):
            of_item = np.bincount(cols, residuals - of_user[rows], len(of_item)) / item_weights
            of_user = np.bincount(rows, residuals - of_item[cols], len(of_user)) / user_weights
        return of_user, of_item

    def _chosen(self) -> float:
        """The damping that tells ratings best which are held out; endless, unless it is surely better than that."""
        size = len(self._values)
        if size < FOLDS:
            return math.inf
        fold_of = np.random.default_rng(0).permutation(size) % FOLDS
        judged = np.arange(size) if size <= FEW else np.flatnonzero(fold_of == 0)
        squares = np.empty((len(DAMPINGS), size))
        for fold in np.unique(fold_of[judged]):
            held_out = fold_of == fold
            rows, cols = self._rows[held_out], self._cols[held_out]
            actual = self._values[held_out] - self._values[~held_out].mean()
            for k, damping in enumerate(DAMPINGS):
                of_user, of_item = self._fitted(~held_out, damping)
                squares[k, held_out] = np.square(actual - of_user[rows] - of_item[cols])
        best = int(np.argmin(squares[:, judged].sum(axis=1)))
        gained = squares[-1, judged] - squares[best, judged]
        of_users = np.bincount(self._rows[judged], gained)  # whose ratings are not independent
        surely = of_users.sum() > SURE * math.sqrt(float(np.square(of_users).sum()))
        return DAMPINGS[best] if surely else math.inf

    def predict(self, table: Any) -> dict[str, NDArray[Any]]:
        """Predict the mean plus both biases, clipped to the range of the training ratings.

        Parameters
        ----------
        table : mapping of arrays
            With the columns of users and items.

        Returns
        -------
        dict of str to array
            "prediction": (rows,) float64.

        Examples
        --------
        >>> import dmc
        >>> ratings = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
        >>> biases = dmc.evaluation.Biases(ratings, damping=1)
        >>> bool(biases.predict({"user": ["ann"], "item": ["zzz"]})["prediction"][0] > 3.5)
        True
        """
        user, item, _ = self.columns_
        of_user = self.of_user[self.users_.positions(table[user])]
        of_item = self.of_item[self.items_.positions(table[item])]
        return {"prediction": np.clip(self.mean + of_user + of_item, *self.range)}


def values_of(source: Table, rating: str, feedback: Feedback) -> NDArray[np.float64]:
    """(entries,) ratings or counts; of clicks without a column of counts, one each."""
    if feedback == "implicit" and rating not in source.names:
        return np.ones(len(source))
    return source.numbers(rating).astype(np.float64)
