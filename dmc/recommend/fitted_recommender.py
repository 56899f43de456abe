"""What is asked of a fitted recommender: its attributes and its answers, all of them of one served state."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Literal, NoReturn, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.pattern import SparseIndex
from dmc.recommend import queries
from dmc.recommend.answers import Output, Unknown
from dmc.recommend.export import export
from dmc.recommend.queries import Vectors
from dmc.recommend.settings import Feedback
from dmc.recommend.state import State
from dmc.recommend.tables.vocabulary import Vocabulary
from dmc.solver.solution import Status

T = TypeVar("T")


class _Fitted(Generic[T]):
    """An attribute that is read from what is served."""

    def __init__(self, read: Callable[[State], T]) -> None:
        self._read = read

    @overload
    def __get__(self, model: None, owner: type) -> _Fitted[T]: ...

    @overload
    def __get__(self, model: FittedRecommender, owner: type) -> T: ...

    def __get__(self, model: FittedRecommender | None, owner: type) -> T | _Fitted[T]:
        return self if model is None else self._read(model._served())

    def __set__(self, model: FittedRecommender, value: Any) -> NoReturn:
        raise AttributeError("what was fitted cannot be set; fit again")


class FittedRecommender:
    """The part of `dmc.Recommender` that answers; its docstring describes the attributes."""

    feedback: Feedback

    columns_: _Fitted[tuple[str, str, str]] = _Fitted(lambda state: state.columns)
    users_: _Fitted[Vocabulary] = _Fitted(lambda state: state.users)
    items_: _Fitted[Vocabulary] = _Fitted(lambda state: state.items)
    n_observed_: _Fitted[int] = _Fitted(lambda state: state.n_observed)
    observations_: _Fitted[Observations] = _Fitted(lambda state: state.fitted().observations)
    mean_: _Fitted[float] = _Fitted(lambda state: state.mean)
    range_: _Fitted[tuple[float, float]] = _Fitted(lambda state: state.range)
    factors_: _Fitted[Factors] = _Fitted(lambda state: state.factors)
    ranking_: _Fitted[Factors] = _Fitted(lambda state: queries.factors(state, "ranking"))
    user_factors: _Fitted[NDArray[np.float32]] = _Fitted(lambda state: state.left[:-1])
    item_factors: _Fitted[NDArray[np.float32]] = _Fitted(lambda state: state.right[:-1])
    cold_start_factors_: _Fitted[tuple[NDArray[np.float32], NDArray[np.float32]]] = _Fitted(
        lambda state: (state.left[-1], state.right[-1])
    )
    seen_: _Fitted[SparseIndex] = _Fitted(lambda state: state.seen)
    rank_: _Fitted[int] = _Fitted(lambda state: state.rank)
    noise_: _Fitted[float] = _Fitted(lambda state: state.noise)
    status_: _Fitted[Status] = _Fitted(lambda state: state.fit_info.status)
    n_iter_: _Fitted[int] = _Fitted(lambda state: state.fit_info.n_iter)
    validation_rmse_: _Fitted[float] = _Fitted(lambda state: state.fit_info.validation_rmse)
    history_: _Fitted[list[dict[str, Any]]] = _Fitted(lambda state: [dict(look) for look in state.fit_info.history])

    # All that answers, in one object: replaced in one assignment, and taken once by each query.
    _state: State | None = None

    def _served(self) -> State:
        state = self._state
        if state is None:
            from sklearn.exceptions import NotFittedError

            raise NotFittedError("this Recommender is not fitted yet; call fit with a table of ratings first")
        return state

    def predict(
        self,
        table: Any,
        *,
        clip: bool = True,
        interval: float | None = None,
        unknown: Unknown = "mean",
        output: Output | None = None,
    ) -> Any:
        """Predict the rating of each pair of a user and an item.

        Parameters
        ----------
        table : data frame, mapping of arrays, or path of a file
            With the columns of users and items named as in `fit`.
        clip : bool
            Keep the predictions inside the range of the ratings seen in `fit`.
        interval : float, optional
            Also give bounds between which a rating lies with this probability, such as .9; needs
            ``Recommender(intervals=True)``. They are as wide as what is known of the user and of the item asks for, and
            hold for pairs like those that were rated before. They are the shortest found for this probability: those of
            a smaller one need not lie inside. Of later ratings bounds for 90 % have held 83–87 %: judge them by
            ``dmc.evaluation.split(by="time")``.
        unknown : {"mean", "error", "nan"}
            Of users and items that are not known: what is expected of one without ratings, with a warning if none of 20
            or more is known, as ids in another spelling are not; a ValueError; or no prediction.
        output : {"frame", "dict", "records"}, optional
            A data frame of the table's kind, else of pandas; a dict of arrays; or a list with a dict for each row, of
            nothing but str, int, float, bool and None (for NaN), which `json.dumps` takes. Left out: the table's own
            kind; for a file, a dict of arrays.

        Returns
        -------
        data frame, dict or list
            The table with the columns "prediction" (float32), "known" (bool: both the user and the item are, by ratings
            or features), and with `interval` "lower" and "upper" (float32).
        """
        return queries.predict(self._served(), table, clip=clip, interval=interval, unknown=unknown, output=output)

    def recommend(
        self,
        users: Any = None,
        n: int = 10,
        *,
        filter_already_liked_items: bool = True,
        filter_items: Any = None,
        items: Any = None,
        clip: bool = True,
        unknown: Literal["mean", "error"] = "mean",
        output: Output | None = None,
    ) -> Any:
        """The n best items for each user, of those that the user has not rated.

        Lists go by what a user would choose and by how he would rate it: a model of preferences (`recommend.implicit`),
        fitted to who rated what, plus the predicted rating (`recommend.list_ranking`). It is fitted once, when it is
        first needed: by this call, or by `save`, so that a loaded model has it. That takes as long as the fit to the
        ratings or, of millions, several times as long; meanwhile who asks for other lists waits. Where it was chance
        who rated what, lists go by predicted rating alone; with ``feedback="implicit"`` by the preference.

        Parameters
        ----------
        users : id, sequence of ids, or data frame or mapping with the column of users, optional
            All users that are known, if left out; with candidates of each user, those who have some.
        n : int
            Items for each user; fewer where fewer are left.
        filter_already_liked_items : bool
            Leave out what the user has rated. Of clicks, what he dislikes is left out in any case.
        filter_items : ids, as `users`, optional
            Never recommend these.
        items : ids, as `users`, or mapping of user ids to ids, optional
            Recommend only these; of a mapping, such as ``{"ann": ["i1", "i7"], "bob": ["i2"]}``, to each user only his
            own. Unknown items are left out, here and of `filter_items`. (A mapping with the name of the items' column
            among its keys is a table of items.)
        clip : bool
            Keep the predictions inside the range of the ratings seen in `fit`; they do not change the order.
        unknown : {"mean", "error"}
            Of users who are not known: what is chosen often and rated high, with a warning if none of 20 or more is
            known; or a ValueError.
        output : {"frame", "dict", "records"}, optional
            As in `predict`. Left out: a dict of arrays, or a data frame if the users came in one.

        Returns
        -------
        dict, data frame or list
            Columns of users, items (named as in `fit`) and "prediction" (float32): the predicted rating, or
            preference. Best first for each user, in the order given.

        Examples
        --------
        >>> import dmc
        >>> likes = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
        >>> rec = dmc.Recommender().fit(likes)
        >>> [found["item"] for found in rec.recommend("ann", output="records")]
        ['c']
        >>> rec.recommend(items={"bob": ["a", "b"], "ann": []})["item"].tolist()
        ['b']
        """
        return queries.recommend(
            self._served(), users, n, filter_already_liked=filter_already_liked_items, filter_items=filter_items,
            items=items, clip=clip, unknown=unknown, output=output, clicks=self.feedback == "implicit"
        )  # fmt: skip

    def similar_items(self, items: Any, n: int = 10, *, output: Output | None = None) -> Any:
        """The n items most like each of some items: those that the same users are predicted to rate alike.

        Parameters
        ----------
        items : id, sequence of ids, or data frame or mapping with the column of items
            Known ones.
        n : int
        output : {"frame", "dict", "records"}, optional
            As in `predict`. Left out: a dict of arrays, or a data frame if one was given.

        Returns
        -------
        dict, data frame or list
            Columns of items, "similar" (ids) and "similarity" (the cosine, float32), most similar first.
        """
        return queries.similar(self._served(), "item", items, n, output)

    def similar_users(self, users: Any, n: int = 10, *, output: Output | None = None) -> Any:
        """The n users most like each of some users; see `similar_items`."""
        return queries.similar(self._served(), "user", users, n, output)

    def explain(self, user: Any, item: Any, n: int = 10, *, output: Output | None = None) -> Any:
        """Which of a user's ratings speak for an item, and which against it.

        The prediction is what is expected of such a user plus a contribution of each rating, by being higher or lower
        than was expected.

        Parameters
        ----------
        user, item : ids
            Known ones.
        n : int
            How many ratings at most.
        output : {"frame", "dict", "records"}, optional
            As in `predict`. Left out: a dict of arrays.

        Returns
        -------
        dict, data frame or list
            Columns of items, ratings (named as in `fit`) and "contribution" (in the ratings' units, float32), largest
            first by size.
        """
        return queries.explain(self._served(), user, item, n, output)

    def user_vector(self, items: Any, ratings: Any = None, *, vectors: Vectors = "prediction") -> NDArray[np.float32]:
        """What `fold_in` would make of somebody with these ratings alone; quick, for one at a time.

        ``rec.mean_ + rec.item_factors @ rec.user_vector(items, ratings)`` are the predictions for all items, and
        ``rec.ranking_.V @ rec.user_vector(items, ratings, vectors="ranking")`` what a list of them goes by.

        Parameters
        ----------
        items : sequence of ids
            Those that are not known are left out.
        ratings : (items,) real numbers, optional
            Only preferences do without: one each.
        vectors : {"prediction", "ranking"}
            What it is to be multiplied by: `item_factors`, or the items' vectors of `ranking_`, which have another
            width.

        Returns
        -------
        (k,) float32 array

        Raises
        ------
        ValueError
            If the ratings cannot be used; or if lists of ratings are asked for, and the model was saved without its
            ratings.
        """
        return queries.user_vector(self._served(), items, ratings, vectors, clicks=self.feedback == "implicit")

    def export(
        self, folder: str | os.PathLike[str], format: str = "npy", *, vectors: Vectors = "prediction"
    ) -> list[Path]:
        """Write ids and vectors for other programs, such as vector databases.

        They are made for the inner product: that of a user's and an item's vector, plus `mean_`, is the prediction, or
        orders the user's list. An index has to be one of inner products, not of cosines or distances: the length of an
        item's vector tells how much it is liked by all. An index does not know what a user has rated already: ask it
        for more, and leave that out. docs/guide/serving.md has examples.

        Parameters
        ----------
        folder : path
            Made, if it is not there.
        format : {"npy", "parquet"}
            "npy": users.npy, user_factors.npy, items.npy, item_factors.npy. "parquet" (needs pyarrow): users.parquet
            and items.parquet, with columns "id" and "vector". Each file appears whole, and all are written before the
            first is put in place; they are several files all the same: whoever reads while an export replaces another
            should have the new one written into a folder of its own.
        vectors : {"prediction", "ranking"}
            Those that predictions are made of; or those whose products order the items as `recommend` does, and say
            nothing else (`ranking_`): lists of ratings do not go by the predicted rating alone. Of clicks they are the
            same.

        Returns
        -------
        list of Path
            The files.

        Raises
        ------
        OSError
            If a file cannot be written; those that were there then stay.
        """
        state = self._served()
        _checks.choice(format, "format", ("npy", "parquet"))
        of = queries.factors(state, vectors)
        tables = {"user": (state.users.ids, np.asarray(of.U)), "item": (state.items.ids, np.asarray(of.V))}
        return export(folder, format, tables)
