"""Recommender: ratings by anybody's users and items in, predictions and recommendations out."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Generic, Literal, NoReturn, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from dmc import _checks, model_file
from dmc.recommend import fitting, forgetting, queries, storage
from dmc.recommend.answers import Output, Unknown
from dmc.recommend.fitting import RATING, Duplicates
from dmc.recommend.queries import Vectors
from dmc.recommend.settings import Feedback, ModelName, RecommenderSettings
from dmc.recommend.state import State
from dmc.solver.loop import Callback

T = TypeVar("T")


class _Fitted(Generic[T]):
    """An attribute that is read from what is served."""

    def __init__(self, read: Callable[[State], T]) -> None:
        self._read = read

    @overload
    def __get__(self, model: None, owner: type) -> _Fitted[T]: ...

    @overload
    def __get__(self, model: Recommender, owner: type) -> T: ...

    def __get__(self, model: Recommender | None, owner: type) -> T | _Fitted[T]:
        return self if model is None else self._read(model._served())

    def __set__(self, model: Recommender, value: Any) -> NoReturn:
        raise AttributeError("what was fitted cannot be set; fit again")


class Recommender:
    """Predict ratings and recommend items, from a table of users, items and ratings with ids of any kind.

    The model is the mean rating, plus a bias of each user and of each item, plus a low-rank part. It is fitted by
    variational Bayes (`recommend.bayesian`): who rated what tells where a user or item is to be expected, and how far
    from there the ratings may move it, and how reliable each user's ratings are, is learnt from all of them; so no
    setting has to be chosen, and nothing is held out. It knows no time: where tastes drift, later ratings are predicted
    worse than a random part of them, which ``dmc.evaluation.split(by="time")`` shows.
    With ``model="network"`` a compressed deep network is trained in its place (`recommend.network`).

    Where there are no ratings but clicks, plays or purchases (``feedback="implicit"``), every pair counts, those
    without any as a weak no (`recommend.implicit`): what is predicted is then a preference, about 1 for what is chosen
    and about 0 for what is not, and only its order means something.

    Parameters
    ----------
    rank : int, optional
        Upper bound of the rank of the interactions; a generous one does no harm. Left out, ratings take directions in
        while those that are there stand out of the noise. Of preferences it is the rank, and left out the one up to
        1,024 that tells held-out clicks best (`history_`); of a network 16.
    feedback : {"explicit", "implicit"}
        Whether the table holds ratings, or counts of what happened (all one, if it has no column "rating" and no other
        is named); counts below 0 are dislikes: of these a list holds none, and less of what is like them.
    model : {"bayes", "network"}, optional
        Of ratings; left out: "bayes". Clicks have one of their own.
    depth : int, optional
        Cores of the network, which is trained for as long as ratings that are held out for that gain from it; 3 if
        left out. Like the next two, refused where it has no effect.
    l2 : float, optional
        Of the network: regularisation, relative to the ratings' standard deviation; that of a user or item grows with
        the square root of its number of ratings. 1.3 if left out.
    validation_fraction : float, optional
        Of the network: share of the ratings held out to find the number of steps; .1 if left out.
    ensemble : int
        Models from as many seeds, whose predictions are averaged.
    intervals : bool
        Also learn how far predictions are off, for ``predict(…, interval=0.9)``: a model without a tenth of the ratings
        is fitted for that, and judged on them (split conformal prediction, `dmc.recommend.intervals`).
    random_state : int, numpy.random.Generator or None
        Seed of the start and of what is held out.
    n_threads : int, optional
        Threads of the fit; left out: as many as OMP_NUM_THREADS says, or as there are cores. The result does not depend
        on it.
    device : str, optional
        Where to train a network, or to fit preferences: "cuda" for a GPU, by torch. The model comes back to the host.
    verbose : bool
        Show a progress bar.
    callbacks : sequence of callables
        See `dmc.callbacks`; one that returns true ends the fit with what was reached.

    Many threads may ask a model while one fits it further: each answer is of the model before or of the one after. What
    it hands out is read-only.

    Attributes
    ----------
    users_, items_ : Vocabulary
        The known ids.
    columns_ : (str, str, str)
        Names of the columns of users, items and ratings.
    n_observed_ : int
        Ratings fitted, repeated ones merged.
    observations_ : Observations
        These ratings; row i is user ``users_.ids[i]``, column j item ``items_.ids[j]``.
    seen_ : SparseIndex
        What each user has rated: user ``users_.ids[i]`` the items ``items_.ids[j]`` for j in
        ``seen_.indices[seen_.indptr[i]:seen_.indptr[i + 1]]``.
    mean_, range_ : float, (float, float)
        The mean rating; the lowest and the highest.
    factors_ : Factors
        What is added to the mean: biases and low-rank part, two-factor, float32.
    user_factors, item_factors : (users, k) and (items, k) float32
        Their products plus the mean are the predictions; the biases are two of the columns.
    ranking_ : Factors
        What `recommend` goes by: row i, column j orders item ``items_.ids[j]`` in the list of user ``users_.ids[i]``,
        and means nothing else. Of clicks these are the predictions.
    rank_ : int
        Directions of the interactions that stand out of the noise.
    noise_ : float
        Standard deviation of a rating around its prediction, as the fit estimates it.
    status_ : Status
    n_iter_ : int
        Sweeps, or steps, of the (first) fit.
    validation_rmse_ : float
        Root mean squared error on the ratings that were held out; NaN where none were.
    history_ : list of dict
        "n_steps" and "noise" after each sweep; of a network "n_steps" and "validation_rmse"; of preferences "phase"
        ("search" or "fit"), "n_steps" and "value" after each sweep, and "rank", "ridge", "ndcg" on held-out clicks and
        its "noise" for each setting that was tried.
    """

    rank: int | None
    feedback: Feedback
    model: ModelName | None
    depth: int | None
    l2: float | None
    validation_fraction: float | None
    ensemble: int
    intervals: bool
    random_state: int | np.random.Generator | None
    n_threads: int | None
    device: str | None
    verbose: bool
    callbacks: Sequence[Callback]

    columns_ = _Fitted(lambda state: state.columns)
    users_ = _Fitted(lambda state: state.users)
    items_ = _Fitted(lambda state: state.items)
    n_observed_ = _Fitted(lambda state: state.n_observed)
    observations_ = _Fitted(lambda state: state.fitted().observations)
    mean_ = _Fitted(lambda state: state.mean)
    range_ = _Fitted(lambda state: state.range)
    factors_ = _Fitted(lambda state: state.factors)
    ranking_ = _Fitted(lambda state: queries.factors(state, "ranking"))
    user_factors = _Fitted(lambda state: state.left[:-1])
    item_factors = _Fitted(lambda state: state.right[:-1])
    seen_ = _Fitted(lambda state: state.seen)
    rank_ = _Fitted(lambda state: state.rank)
    noise_ = _Fitted(lambda state: state.noise)
    status_ = _Fitted(lambda state: state.fit_info.status)
    n_iter_ = _Fitted(lambda state: state.fit_info.n_iter)
    validation_rmse_ = _Fitted(lambda state: state.fit_info.validation_rmse)
    history_ = _Fitted(lambda state: [dict(look) for look in state.fit_info.history])

    # All that answers, in one object: replaced in one assignment, and taken once by each query.
    _state: State | None = None

    def __init__(
        self,
        rank: int | None = None,
        *,
        feedback: Feedback = "explicit",
        model: ModelName | None = None,
        depth: int | None = None,
        l2: float | None = None,
        validation_fraction: float | None = None,
        ensemble: int = 1,
        intervals: bool = False,
        random_state: int | np.random.Generator | None = 0,
        n_threads: int | None = None,
        device: str | None = None,
        verbose: bool = False,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        settings = RecommenderSettings(
            rank, feedback, model, depth, l2, validation_fraction, ensemble, intervals, random_state, n_threads, device,
            verbose, callbacks
        )  # fmt: skip
        vars(self).update(vars(settings.checked()))

    def __repr__(self) -> str:
        state, fitted = self._state, ", not fitted"
        if state is not None:
            fitted = f", {len(state.users):,} users, {len(state.items):,} items"
        return f"Recommender(rank={self.rank}, feedback={self.feedback!r}{fitted})"

    def _settings(self) -> RecommenderSettings:
        """As they are now: they may have been set since."""
        return RecommenderSettings(**{of.name: getattr(self, of.name) for of in fields(RecommenderSettings)}).checked()

    def _served(self) -> State:
        state = self._state
        if state is None:
            from sklearn.exceptions import NotFittedError

            raise NotFittedError("this Recommender is not fitted yet; call fit with a table of ratings first")
        return state

    def fit(
        self,
        table: Any,
        user: str = "user",
        item: str = "item",
        rating: str = RATING,
        duplicates: Duplicates = "error",
        *,
        weight: str | None = None,
        time: str = "timestamp",
        user_features: Any = None,
        item_features: Any = None,
    ) -> Recommender:
        """Fit to a table of ratings.

        Ctrl-C ends the fit with what was reached, and a warning.

        Parameters
        ----------
        table : data frame, mapping of arrays, or path of a file
            One rating a row: see `dmc.recommend.table.Table.open`.
        user, item, rating : str
            Names of the columns. Ids may be text or numbers, with gaps; ratings real numbers on any scale.
        duplicates : {"error", "mean", "last", "latest"}
            What to do when a user rated an item more than once: "last" is the last one in the table, "latest" the one
            of the latest time. Counts of what happened are added up in any case.
        weight : str, optional
            The column of weights, above 0: how much each row of the table counts, such as ``0.5 ** (age / half_life)``.
            A rating of weight w is taken to be as precise as w ratings: only ratios of weights matter. A count counts
            so often: what is less than one, less than a click. Tables of later ratings have to have the column too.
        time : str
            The column of times for ``duplicates="latest"``: numbers, dates or ISO 8601 text.
        user_features, item_features : data frame, mapping of arrays, or path of a file, optional
            Side information: the column of ids named as in `table`, and columns of numbers, dates, text or tags
            (lists, or text such as "drama|war"; `recommend.side_information`). They tell where somebody is to be
            expected, above all who has no rating yet (cold start): who stands in these tables is known to the model.
            Not for networks.

        Returns
        -------
        Recommender
            Itself.

        Raises
        ------
        ValueError, TypeError, OSError
            If the table cannot be used; the message says why, and what to do.
        FloatingPointError
            If the fit overflowed.
        """
        columns = fitting.Columns(user, item, rating, weight, time)
        self._state = fitting.fit(self._settings(), table, columns, duplicates, user_features, item_features)
        return self

    def fold_in(self, table: Any = None, *, user_features: Any = None, item_features: Any = None) -> Recommender:
        """A recommender that also knows the ratings of a table: of new users, new items, and new ones of known users.

        Nothing is fitted again: new items are placed by the ratings of known users, then the table's users by all of
        theirs, each at the mean of its posterior.

        Parameters
        ----------
        table : data frame, mapping of arrays, or path of a file, optional
            With the columns named as in `fit`. Of a rating that is known already the new value counts.
        user_features, item_features : data frame, mapping of arrays, or path of a file, optional
            Of new users and items, or new ones of known ones, with the columns of those in `fit`: who has no rating is
            placed by them.

        Returns
        -------
        Recommender
            Another one; this one stays as it is.

        Raises
        ------
        ValueError, TypeError, OSError
            If the table cannot be used, or the model was saved by a version that did not keep the ratings.
        """
        folded = copy.copy(self)
        folded._state = fitting.fold_in(self._settings(), self._served(), table, user_features, item_features)
        return folded

    def partial_fit(self, table: Any = None, *, user_features: Any = None, item_features: Any = None) -> Recommender:
        """Take more ratings in, and fit all of them again from where the model stands.

        A network is fitted anew, and so are preferences of more than twice as many counts as their settings were found
        with.

        Until it is done, other threads are answered by the model as it was, and then by the new one. If it fails, or
        Ctrl-C ends it before or behind the sweeps, the model stays as it was; Ctrl-C during the sweeps ends them with
        what was reached, and a warning. If the model has all the ratings already, nothing is fitted.

        Parameters
        ----------
        table : data frame, mapping of arrays, or path of a file, optional
            With the columns named as in `fit`, or of the first ratings if it was not fitted before. Of a rating that is
            known already the new value counts; counts of what happened are added to those before.
        user_features, item_features : data frame, mapping of arrays, or path of a file, optional
            As in `fold_in`; in the first fit as in `fit`.

        Returns
        -------
        Recommender
            Itself.
        """
        if self._state is None:
            return self.fit(table, duplicates="last", user_features=user_features, item_features=item_features)
        before = self._state
        return self._replaced(
            before, fitting.fit_further(self._settings(), before, table, user_features, item_features)
        )

    def forget(self, users: Any = None, items: Any = None) -> Recommender:
        """Take users or items out: their ids, vectors, ratings and features, and what lists knew of them.

        Until it is done, other threads are answered by the model as it was. The predictions and lists of all others
        stay. What their vectors learnt from the ratings that are gone stays, too, until `partial_fit` takes new ratings
        in, or the model is fitted again; and what was learnt of all together: means, priors, bounds of predictions.
        Files and models that were made before (`save`, `fold_in`) know who is forgotten here: replace them.

        Parameters
        ----------
        users, items : id, sequence of ids, or data frame or mapping with the column of users or items, optional
            Known ones. Who rates again later is somebody new.

        Returns
        -------
        Recommender
            Itself.

        Raises
        ------
        ValueError
            If one of them is not known; or if no user, no item or no rating would be left. Then nothing is forgotten.
        RuntimeError
            If the model was changed in another thread meanwhile.
        """
        before = self._served()
        return self._replaced(before, forgetting.forget(self._settings(), before, users, items))

    def _replaced(self, before: State, after: State) -> Recommender:
        """Serve what was made of what was served: nothing that came between is lost without a word."""
        if self._state is not before:
            raise RuntimeError(
                "the model was changed in another thread meanwhile, and stays as that left it; call again"
            )
        self._state = after
        return self

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
            Leave out what the user has rated.
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
            items=items, clip=clip, unknown=unknown, output=output
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

    def save(self, path: str | os.PathLike[str], *, ratings: bool = True) -> None:
        """Write the fitted model to a file (safetensors with a JSON header).

        What lists of ratings' users are ranked by is part of it; if nobody has asked for a list yet, it is fitted now.
        docs/privacy.md says what a file keeps of persons.

        Parameters
        ----------
        path : path
            Replaced if it exists; the file appears whole or not at all.
        ratings : bool
            Keep the ratings, and who rated what. Without them the loaded model predicts, bounds included, recommends
            with ``filter_already_liked_items=False``, compares, forgets and makes vectors of new users; what else needs
            ratings (`fold_in`, `partial_fit`, `explain`, `observations_`, a report) it refuses.
        """
        storage.write(self._settings(), self._served(), path, ratings=bool(ratings))

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mmap: bool = False) -> Recommender:
        """Read a model that `save` or ``dmc fit -o`` wrote.

        Parameters
        ----------
        path : path
        mmap : bool
            Map the file into memory in place of reading it: large models are there at once, and processes share them;
            its contents are then not checked for damage.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or it is damaged, foreign or of a newer version.
        """
        settings, state = storage.read(path, mmap)
        model = cls(**settings.for_file())
        model._state = state
        return model

    def export(
        self, folder: str | os.PathLike[str], format: str = "npy", *, vectors: Vectors = "prediction"
    ) -> list[Path]:
        """Write ids and vectors for other programs, such as vector databases.

        They are made for the inner product: that of a user's and an item's vector, plus `mean_`, is the prediction, or
        orders the user's list. An index has to be one of inner products, not of cosines or distances: the length of an
        item's vector tells how much it is liked by all. An index does not know what a user has rated already: ask it
        for more, and leave that out. docs/serving.md has examples.

        Parameters
        ----------
        folder : path
            Made, if it is not there.
        format : {"npy", "parquet"}
            "npy": users.npy, user_factors.npy, items.npy, item_factors.npy. "parquet" (needs pyarrow): users.parquet
            and items.parquet, with columns "id" and "vector".
        vectors : {"prediction", "ranking"}
            Those that predictions are made of; or those whose products order the items as `recommend` does, and say
            nothing else (`ranking_`): lists of ratings do not go by the predicted rating alone. Of clicks they are the
            same.

        Returns
        -------
        list of Path
            The files.
        """
        state = self._served()
        _checks.choice(format, "format", ("npy", "parquet"))
        of = queries.factors(state, vectors)
        tables = {"user": (state.users.ids, np.asarray(of.U)), "item": (state.items.ids, np.asarray(of.V))}
        return model_file.export(folder, format, tables)
