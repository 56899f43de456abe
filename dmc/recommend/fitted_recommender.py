"""What a fitted recommender answers: its attributes and its queries, each from one served state."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.recommend import queries
from dmc.recommend.answers import Output, Unknown
from dmc.recommend.export import export
from dmc.recommend.fitted_attributes import FittedAttributes
from dmc.recommend.queries import Vectors
from dmc.recommend.settings import Feedback


class FittedRecommender(FittedAttributes):
    """The part of `dmc.Recommender` that answers queries; its docstring describes the attributes."""

    feedback: Feedback

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
            Clip the predictions to the range of the ratings in `fit`.
        interval : float, optional
            Also return bounds that contain a rating with this probability, such as 0.9; needs
            ``Recommender(intervals=True)``. Their width depends on how much is known of the user and of the item. They
            hold for pairs like those that were rated. They are the shortest found for each probability, so those of a
            smaller one need not lie inside. Bounds for 90 % have held only 83–87 % of later ratings: check with
            ``dmc.evaluation.split(by="time")``.
        unknown : {"mean", "error", "nan"}
            For unknown users and items: predict what is expected without ratings ("mean", with a warning if there are
            20 or more and none is known, since their ids are then probably spelt differently), raise a ValueError, or
            return NaN.
        output : {"frame", "dict", "records"}, optional
            A data frame (of the table's kind, or else pandas), a dict of arrays, or a list with one dict per row that
            `json.dumps` accepts: str, int, float, bool, and None for NaN. Default: the table's own kind; for a file, a
            dict of arrays.

        Returns
        -------
        data frame, dict or list
            The table with the columns "prediction" (float32), "known" (bool: both the user and the item are known, by
            ratings or features), and with `interval` "lower" and "upper" (float32).

        Raises
        ------
        ValueError, TypeError, OSError
            If the table cannot be used, an id is unknown and ``unknown="error"``, or the model has no intervals.

        Warns
        -----
        UserWarning
            If there are 20 or more ids and none is known.

        Examples
        --------
        >>> import dmc
        >>> ratings = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
        >>> rec = dmc.Recommender().fit(ratings)
        >>> found = rec.predict({"user": ["ann", "zoe"], "item": ["c", "c"]})
        >>> list(found), found["known"].tolist()
        (['user', 'item', 'prediction', 'known'], [True, False])
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
        """Return the n best items for each user, among those that the user has not rated.

        Lists are sorted by what a user would choose and how the user would rate it: a preference model fitted to who
        rated what, plus the predicted rating. It is fitted once, when first needed, by this call or by `save` (so a
        loaded model has it). That takes about as long as the fit to the ratings, and several times as long for millions
        of them; other threads that need lists wait meanwhile. If it was chance who rated what, lists are sorted by
        predicted rating alone; with ``feedback="implicit"`` by the preference.

        Parameters
        ----------
        users : id, sequence of ids, or data frame or mapping with the column of users, optional
            Default: all known users; if `items` is a mapping, its users.
        n : int
            Number of items for each user; fewer if fewer are left.
        filter_already_liked_items : bool
            Leave out the items that the user has rated. With clicks, dislikes are always left out.
        filter_items : id, sequence of ids, or data frame or mapping with the column of items, optional
            Never recommend these.
        items : id, sequence of ids, data frame, or mapping of user ids to item ids, optional
            Recommend only these. With a mapping such as ``{"ann": ["i1", "i7"], "bob": ["i2"]}``, each user has
            candidates of its own. Unknown items are ignored, here and in `filter_items`. A mapping that has the name of
            the item column among its keys is a table of items.
        clip : bool
            Clip the predictions to the range of the ratings in `fit`; the order does not change.
        unknown : {"mean", "error"}
            For unknown users: recommend what is chosen often and rated high ("mean", with a warning if there are 20 or
            more and none is known), or raise a ValueError.
        output : {"frame", "dict", "records"}, optional
            As in `predict`. Default: a data frame if the users came in one, else a dict of arrays.

        Returns
        -------
        dict, data frame or list
            Columns of users and items, named as in `fit`, and "prediction" (float32): the predicted rating, or
            preference. Users in the order given, best item first.

        Raises
        ------
        ValueError, TypeError
            If ids cannot be used, a user is unknown and ``unknown="error"``, or the model was saved without its ratings
            and rated items are to be left out.

        Warns
        -----
        UserWarning
            If there are 20 or more users and none is known.

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
        """Return the n items most similar to each of some items: those that users are predicted to rate alike.

        Parameters
        ----------
        items : id, sequence of ids, or data frame or mapping with the column of items
            Known items.
        n : int
            Number of similar items for each.
        output : {"frame", "dict", "records"}, optional
            As in `predict`. Default: a data frame if one was given, else a dict of arrays.

        Returns
        -------
        dict, data frame or list
            Columns of items, "similar" (ids) and "similarity" (cosine, float32), most similar first.

        Raises
        ------
        ValueError, TypeError
            If an item is not known, or the ids cannot be used.

        Examples
        --------
        >>> import dmc
        >>> likes = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
        >>> sorted(dmc.Recommender().fit(likes).similar_items("a", n=2)["similar"].tolist())
        ['b', 'c']
        """
        return queries.similar(self._served(), "item", items, n, output)

    def similar_users(self, users: Any, n: int = 10, *, output: Output | None = None) -> Any:
        """Return the n users most similar to each of some users: those who are predicted to rate items alike.

        Parameters
        ----------
        users : id, sequence of ids, or data frame or mapping with the column of users
            Known users.
        n : int
            Number of similar users for each.
        output : {"frame", "dict", "records"}, optional
            As in `predict`. Default: a data frame if one was given, else a dict of arrays.

        Returns
        -------
        dict, data frame or list
            Columns of users, "similar" (ids) and "similarity" (cosine, float32), most similar first.

        Raises
        ------
        ValueError, TypeError
            If a user is not known, or the ids cannot be used.

        Examples
        --------
        >>> import dmc
        >>> likes = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
        >>> dmc.Recommender().fit(likes).similar_users("ann", n=1)["similar"].tolist()
        ['bob']
        """
        return queries.similar(self._served(), "user", users, n, output)

    def explain(self, user: Any, item: Any, n: int = 10, *, output: Output | None = None) -> Any:
        """Return the user's ratings that contribute most to the prediction for an item.

        The prediction is what is expected of such a user plus one contribution per rating, for being higher or lower
        than expected.

        Parameters
        ----------
        user, item : id
            A known user and a known item.
        n : int
            Number of ratings at most.
        output : {"frame", "dict", "records"}, optional
            As in `predict`. Default: a dict of arrays.

        Returns
        -------
        dict, data frame or list
            Columns of items and ratings, named as in `fit`, and "contribution" (float32, in the ratings' units),
            largest absolute value first.

        Raises
        ------
        ValueError
            If the user or the item is not known, or the model was saved without its ratings.

        Examples
        --------
        >>> import dmc
        >>> likes = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
        >>> reasons = dmc.Recommender().fit(likes).explain("ann", "c")
        >>> sorted(reasons["item"].tolist()), list(reasons)
        (['a', 'b'], ['item', 'rating', 'contribution'])
        """
        return queries.explain(self._served(), user, item, n, output)

    def user_vector(self, items: Any, ratings: Any = None, *, vectors: Vectors = "prediction") -> NDArray[np.float32]:
        """Return the vector of a user who has these ratings alone; fast for one user at a time.

        `fold_in` would place the user there, too. ``rec.mean_ + rec.item_factors @ rec.user_vector(items, ratings)``
        are the predictions for all items, and ``rec.ranking_.V @ rec.user_vector(items, ratings, vectors="ranking")``
        the scores that a list is sorted by.

        Parameters
        ----------
        items : sequence of ids
            Items that were rated or chosen; unknown ones are ignored.
        ratings : (items,) array of real numbers, optional
            May be left out only with ``feedback="implicit"``: one count each.
        vectors : {"prediction", "ranking"}
            What the vector will be multiplied by: `item_factors`, or the items' vectors of `ranking_`, which have
            another width.

        Returns
        -------
        (k,) float32 array
            The user's factors.

        Raises
        ------
        ValueError
            If the ratings cannot be used; or with ``vectors="ranking"``, if the model of ratings was saved without
            them.

        Examples
        --------
        >>> import dmc
        >>> likes = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
        >>> rec = dmc.Recommender().fit(likes)
        >>> vector = rec.user_vector(["a", "b"], [5, 1])
        >>> (rec.mean_ + rec.item_factors @ vector).shape
        (3,)
        """
        return queries.user_vector(self._served(), items, ratings, vectors, clicks=self.feedback == "implicit")

    def export(
        self, folder: str | os.PathLike[str], format: str = "npy", *, vectors: Vectors = "prediction"
    ) -> list[Path]:
        """Write ids and vectors for other programs, such as vector databases.

        The vectors are made for the inner product: that of a user's and an item's vector, plus `mean_`, is the
        prediction, or orders the user's list. Use an index of inner products, not of cosines or distances: the length
        of an item's vector says how well it is liked overall. An index does not know what a user has rated already: ask
        it for more items, and leave those out. The guide's page on serving has examples.

        Parameters
        ----------
        folder : path
            Created if it does not exist.
        format : {"npy", "parquet"}
            "npy": users.npy, user_factors.npy, items.npy, item_factors.npy. "parquet" (needs pyarrow): users.parquet
            and items.parquet, with columns "id" and "vector". Each file appears complete, and all are written before
            the first is put in place. They are still several files: if readers may open them while an export replaces
            another, write the new one to a folder of its own.
        vectors : {"prediction", "ranking"}
            The vectors that predictions are made of; or those whose products order the items as `recommend` does, and
            mean nothing else (`ranking_`). For clicks they are the same.

        Returns
        -------
        list of Path
            The files.

        Raises
        ------
        OSError
            If a file cannot be written; existing files then stay.

        Examples
        --------
        >>> import tempfile
        >>> import dmc
        >>> likes = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorted(path.name for path in dmc.Recommender().fit(likes).export(folder))
        ['item_factors.npy', 'items.npy', 'user_factors.npy', 'users.npy']
        """
        state = self._served()
        _checks.choice(format, "format", ("npy", "parquet"))
        of = queries.factors(state, vectors)
        tables = {"user": (state.users.ids, np.asarray(of.U)), "item": (state.items.ids, np.asarray(of.V))}
        return export(folder, format, tables)
