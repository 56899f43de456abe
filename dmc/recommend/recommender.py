"""Recommender: predict ratings and recommend items from a table of users, items and ratings."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from dmc import _memory
from dmc._locks import lock
from dmc.recommend import fitting, forgetting
from dmc.recommend.fitting import RATING, Duplicates
from dmc.recommend.settings import Feedback, ModelName, RecommenderSettings
from dmc.recommend.state import State
from dmc.recommend.stored_recommender import StoredRecommender
from dmc.solver.loop import Callback

_REPLACING = lock()  # between the look at what is served and its replacement


@_memory.methods_in_words
class Recommender(StoredRecommender):
    """Predict ratings and recommend items, from a table of users, items and ratings or clicks with ids of any kind.

    Ratings (``feedback="explicit"``) are modelled as the mean, plus a bias for each user and each item, plus a low-rank
    part, fitted by variational Bayes. The prior of a user's or item's factors depends on which pairs were rated; its
    width, the noise, and how reliable each user's ratings are, are all learnt, so there is nothing to tune and nothing
    is held out. The model ignores time: if tastes drift, later ratings are predicted worse than a random part of them
    (compare with ``dmc.evaluation.split(by="time")``). ``model="network"`` trains a compressed deep network instead.

    For clicks, plays or purchases (``feedback="implicit"``) every pair counts: those that did not happen are weak
    evidence against. Predictions are then preferences, about 1 for what is chosen and about 0 for what is not; only
    their order is meaningful.

    Several threads may query a model while another one updates it: each answer comes from the model before or after
    the update. All arrays that the model returns are read-only.

    Parameters
    ----------
    rank : int, optional
        Upper bound of the rank of the interactions; a generous bound does no harm. Default: for ratings, directions are
        added while they stand out of the noise; for clicks, the rank up to 1,024 that predicts held-out clicks best
        (see `history_`); for a network, 16.
    feedback : {"explicit", "implicit"}
        Whether the table holds ratings, or counts of events (all 1 if it has no column "rating" and no other column is
        named). Counts below 0 are dislikes: they are not recommended, and items like them less so.
    model : {"bayes", "network"}, optional
        Model of the ratings. Default: "bayes". Clicks have a model of their own.
    depth : int, optional
        Network only: number of factors between the outer two. Default: 3. Training stops when held-out ratings no
        longer improve.
    l2 : float, optional
        Network only: regularisation, relative to the standard deviation of the ratings. For each user or item it grows
        with the square root of its number of ratings. Default: 1.3.
    validation_fraction : float, optional
        Network only: share of the ratings held out to choose the number of steps. Default: 0.1.
    ensemble : int
        Number of models, from different seeds, whose predictions are averaged.
    intervals : bool
        Also learn prediction intervals, for ``predict(…, interval=0.9)``: a second model is fitted without a tenth of
        the ratings and its errors on them are recorded (split conformal prediction).
    random_state : int, numpy.random.Generator or None
        Seed of the starting point and of what is held out.
    n_threads : int, optional
        Threads of the fit. Default: OMP_NUM_THREADS if it is set, else one per processor. The result does not depend
        on it.
    device : str, optional
        Where to train a network or to fit clicks, such as "cuda" (needs torch). The fitted model is moved back to the
        host.
    verbose : bool
        Show a progress bar.
    callbacks : sequence of callables
        Called during the fit (see `dmc.callbacks`). A callback that returns true ends the fit early; the model found so
        far is kept.

    Attributes
    ----------
    users_, items_ : Vocabulary
        The known ids: ``users_.ids`` is a (users,) array, ``items_.ids`` an (items,) array.
    columns_ : tuple of (str, str, str)
        Names of the columns of users, items and ratings.
    n_observed_ : int
        Number of fitted ratings, after repeated ones are merged.
    observations_ : Observations
        The fitted ratings as a (users, items) matrix: row i is user ``users_.ids[i]``, column j item ``items_.ids[j]``.
    seen_ : SparseIndex
        The items that each user has rated: user ``users_.ids[i]`` rated ``items_.ids[j]`` for j in
        ``seen_.indices[seen_.indptr[i]:seen_.indptr[i + 1]]``.
    mean_ : float
        The mean rating.
    range_ : tuple of (float, float)
        The lowest and the highest rating.
    factors_ : Factors
        Two-factor (users, items) model of the ratings minus `mean_`: biases and low-rank part, float32.
    user_factors : (users, k) float32 array
        With `item_factors`: ``mean_ + user_factors @ item_factors.T`` are the predictions. Two of the k columns carry
        the biases.
    item_factors : (items, k) float32 array
        See `user_factors`.
    cold_start_factors_ : tuple of (k,) and (k,) float32 arrays
        The same for a user, and for an item, that is not known.
    ranking_ : Factors
        The scores that `recommend` sorts by, (users, items); only their order within a row is meaningful. For clicks
        they are the predictions.
    rank_ : int
        Number of directions of the interactions that stand out of the noise.
    noise_ : float
        Estimated standard deviation of a rating around its prediction, in the ratings' units.
    status_ : Status
        How the fit ended; its text includes advice.
    n_iter_ : int
        Sweeps, or steps, of the (first) fit.
    validation_rmse_ : float
        Root mean squared error on the ratings that were held out; NaN if none were.
    history_ : list of dict
        For ratings, "n_steps" and "noise" after each sweep. For a network, "n_steps" and "validation_rmse". For clicks,
        "phase" ("search" or "fit"), "n_steps" and "value" after each sweep, and for each setting that was tried "rank",
        "ridge", "ndcg" on held-out clicks and its "noise".

    See Also
    --------
    dmc.evaluation : Splits, error measures, baselines and comparisons.
    dmc.distributed.Recommender : The same fit in several processes.
    MatrixCompletion : For a matrix or a table with gaps.

    References
    ----------
    Ratings: Y. J. Lim, Y. W. Teh, "Variational Bayesian approach to movie rating prediction", 2007; B. Lakshminarayanan
    et al., "Robust Bayesian matrix factorisation", 2011. Clicks: Y. Hu, Y. Koren, C. Volinsky, "Collaborative filtering
    for implicit feedback datasets", 2008; S. Rendle et al., "Revisiting the performance of iALS on item recommendation
    benchmarks", 2022 (arXiv 2110.14037). Intervals: V. Vovk, A. Gammerman, G. Shafer, "Algorithmic learning in a random
    world", 2005.

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> rng = np.random.default_rng(0)
    >>> taste = rng.standard_normal((40, 2)) @ rng.standard_normal((2, 30))  # 40 users, 30 items, rank 2
    >>> user, item = np.nonzero(rng.random((40, 30)) < 0.5)
    >>> rec = dmc.Recommender().fit({"user": user, "item": item, "rating": 3 + taste[user, item]})
    >>> rec
    Recommender(40 users, 30 items, 592 ratings)
    >>> rec.rank_
    2
    >>> rec.recommend(0, n=3)["item"].shape
    (3,)
    """

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

    def fit(
        self,
        table: Any,
        user: str = "user",
        item: str = "item",
        rating: str = RATING,
        duplicates: Duplicates = "error",
        *,
        weight: str | None = None,
        time: str | None = None,
        user_features: Any = None,
        item_features: Any = None,
    ) -> Recommender:
        """Fit to a table of ratings or clicks.

        Ctrl-C ends the fit and keeps the model found so far, with a warning. A second Ctrl-C, or one while the table is
        read or the result is assembled, raises KeyboardInterrupt and leaves the model as it was. With a
        `dmc.callbacks.Checkpoint` among the callbacks, the fit resumes where an earlier process left it; `partial_fit`
        does not use checkpoints.

        Parameters
        ----------
        table : data frame, mapping of arrays, or path of a file
            One rating per row. CSV, TSV, JSON lines and Parquet files are read, also compressed, and patterns such as
            ``"ratings/*.parquet"``; so are file objects, iterators of tables, and Arrow, pandas and polars data.
        user, item, rating : str
            Names of the columns. Ids may be text or numbers, with gaps; ratings are real numbers on any scale.
        duplicates : {"error", "mean", "last", "latest"}
            What to do if a user rated an item more than once: "last" takes the last one in the table, "latest" the one
            with the latest time. Counts of events are always added up.
        weight : str, optional
            Column of weights above 0: how much each row counts, such as ``0.5 ** (age / half_life)``. A rating of
            weight w is as precise as w ratings, so only ratios of weights matter. A count of weight w counts w times.
            Tables passed later must have the column, too.
        time : str, optional
            Column of times for ``duplicates="latest"``; default "timestamp". Numbers, dates or ISO 8601 text.
        user_features, item_features : data frame, mapping of arrays, or path of a file, optional
            Side information: a column of ids, named as in `table`, and columns of numbers, dates, text or tags (lists,
            or text such as "drama|war"). It shifts the prior, above all for users and items without ratings (cold
            start); everyone in these tables is known to the model. For clicks it only places users and items without
            any click. Not available for networks.

        Returns
        -------
        Recommender
            The recommender itself.

        Raises
        ------
        ValueError, TypeError, OSError
            If the table cannot be used; the message says why, and what to do.
        FloatingPointError
            If the fit overflowed.

        Warns
        -----
        UserWarning
            If all ratings are equal (they may be clicks), every user chose every item, the fit did not settle, or it
            was interrupted.

        Examples
        --------
        >>> import dmc
        >>> ratings = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
        >>> dmc.Recommender().fit(ratings).n_observed_
        4
        >>> plays = {"who": ["ann", "ann", "bob"], "song": [7, 8, 7], "plays": [12, 1, 3]}
        >>> rec = dmc.Recommender(rank=1, feedback="implicit").fit(plays, user="who", item="song", rating="plays")
        >>> rec.recommend("bob")["song"].tolist()
        [8]
        """
        columns = fitting.Columns(user, item, rating, weight, time)
        self._state = fitting.fit(self._settings(), table, columns, duplicates, user_features, item_features)
        return self

    def fold_in(self, table: Any = None, *, user_features: Any = None, item_features: Any = None) -> Recommender:
        """Return a recommender that also knows the ratings of another table, without fitting again.

        The table may hold new users, new items, and new ratings of known users. New items are placed by the ratings of
        known users, then all users of the table by all of their ratings, each at the mean of its posterior.

        Parameters
        ----------
        table : data frame, mapping of arrays, or path of a file, optional
            With the columns named as in `fit`. If a pair is already known, the new rating replaces the old one.
        user_features, item_features : data frame, mapping of arrays, or path of a file, optional
            Features of new users and items, or new features of known ones, with the columns of those in `fit`. Users
            and items without ratings are placed by them.

        Returns
        -------
        Recommender
            A new recommender; this one does not change.

        Raises
        ------
        ValueError, TypeError, OSError
            If the table cannot be used, or the model was saved without its ratings.

        Examples
        --------
        >>> import dmc
        >>> ratings = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
        >>> rec = dmc.Recommender().fit(ratings)
        >>> with_eve = rec.fold_in({"user": ["eve"], "item": ["a"], "rating": [5]})
        >>> len(rec.users_), len(with_eve.users_)
        (2, 3)
        >>> sorted(with_eve.recommend("eve")["item"].tolist())
        ['b', 'c']
        """
        folded = copy.copy(self)
        folded._state = fitting.fold_in(self._settings(), self._served(), table, user_features, item_features)
        return folded

    def partial_fit(self, table: Any = None, *, user_features: Any = None, item_features: Any = None) -> Recommender:
        """Add ratings, and refit to all of them from the current model.

        A network is fitted from scratch. So is a model of clicks once it holds more than twice as many counts as its
        settings were chosen with.

        Until the update is complete, other threads are answered by the current model. If it fails, or Ctrl-C ends it
        before or after the sweeps, the model stays as it was; Ctrl-C during the sweeps keeps what was reached, with a
        warning. If the model already has all the ratings, nothing is fitted.

        Parameters
        ----------
        table : data frame, mapping of arrays, or path of a file, optional
            With the columns named as in `fit`; or the first ratings, if the model was not fitted before. If a pair is
            already known, the new rating replaces the old one; counts of events are added.
        user_features, item_features : data frame, mapping of arrays, or path of a file, optional
            As in `fold_in`; in the first fit as in `fit`.

        Returns
        -------
        Recommender
            The recommender itself.

        Raises
        ------
        ValueError, TypeError, OSError
            If the table cannot be used, or the model was saved without its ratings.
        RuntimeError
            If another thread changed the model meanwhile.

        Examples
        --------
        >>> import dmc
        >>> ratings = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
        >>> rec = dmc.Recommender().fit(ratings)
        >>> rec.partial_fit({"user": ["eve", "ann"], "item": ["a", "c"], "rating": [5, 4]}).n_observed_
        6
        """
        if self._state is None:
            return self.fit(table, duplicates="last", user_features=user_features, item_features=item_features)
        before = self._state
        return self._replaced(
            before, fitting.fit_further(self._settings(), before, table, user_features, item_features)
        )

    def forget(self, users: Any = None, items: Any = None) -> Recommender:
        """Remove users or items: their ids, factors, ratings and features, and their part in the lists.

        Until it is done, other threads are answered by the current model. Predictions and lists of all others do not
        change. What their factors learnt from the removed ratings remains until `partial_fit` adds ratings or the model
        is fitted again, and so does what was learnt from all ratings together: means, priors, bounds of predictions.
        Files and models made earlier (`save`, `fold_in`) still contain who is forgotten here: replace them.

        Parameters
        ----------
        users, items : id, sequence of ids, or data frame or mapping with the column of users or items, optional
            Known ids. A user who rates again later is a new user.

        Returns
        -------
        Recommender
            The recommender itself.

        Raises
        ------
        ValueError
            If an id is not known, or if no user, no item or no rating would be left. Then nothing is forgotten.
        RuntimeError
            If another thread changed the model meanwhile.

        Examples
        --------
        >>> import dmc
        >>> ratings = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
        >>> rec = dmc.Recommender().fit(ratings).forget(users="bob")
        >>> rec.users_.ids.tolist(), rec.n_observed_
        (['ann'], 2)
        """
        before = self._served()
        return self._replaced(before, forgetting.forget(self._settings(), before, users, items))

    def _replaced(self, before: State, after: State) -> Recommender:
        """Serve what was made of what was served: nothing that came between is lost without a word."""
        with _REPLACING:
            if self._state is not before:
                raise RuntimeError("another thread changed the model meanwhile, and its change is kept; call again")
            self._state = after
        return self
