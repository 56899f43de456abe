"""Surprise: `CompressedMF`, an algorithm like `surprise.SVD`. Needs `scikit-surprise`."""

from __future__ import annotations

from typing import Any

import numpy as np
from surprise import AlgoBase, PredictionImpossible, Trainset

from dmc.recommend.recommender import Recommender
from dmc.recommend.settings import ModelName

__all__ = ["CompressedMF"]


class CompressedMF(AlgoBase):
    """`dmc.Recommender` as an algorithm of Surprise, for `cross_validate`, `GridSearchCV` and the like.

    As in `surprise.SVD`, an unknown user or item is predicted by the other side's bias; if both are unknown, the
    prediction is impossible and Surprise uses its default, the mean. A pair that is rated twice counts with the mean of
    its ratings.

    Parameters
    ----------
    n_factors : int
        Upper bound of the rank; a generous bound does no harm.
    depth : int, optional
        Network only: number of factors between the outer two; refused otherwise, like the next two (see
        `dmc.Recommender`).
    reg_all : float, optional
        Network only: regularisation, relative to the standard deviation of the ratings.
    validation_fraction : float, optional
        Network only: share of the training ratings held out to choose the number of steps.
    random_state : int, numpy.random.Generator or None
        The same seed gives the same result.
    verbose : bool
        Show a progress bar.
    model : {"bayes", "network"}, optional
        Variational Bayes (the default), which takes only the bound of the rank, or a compressed deep network.

    Attributes
    ----------
    recommender : dmc.Recommender
        The fitted model; its ids are Surprise's inner ids.

    Examples
    --------
    >>> from surprise import Dataset  # doctest: +SKIP
    >>> from surprise.model_selection import cross_validate  # doctest: +SKIP
    >>> from dmc.integrations.surprise import CompressedMF  # doctest: +SKIP
    >>> cross_validate(CompressedMF(), Dataset.load_builtin("ml-100k"), measures=["RMSE"], cv=5)  # doctest: +SKIP
    """

    def __init__(
        self,
        n_factors: int = 16,
        depth: int | None = None,
        reg_all: float | None = None,
        validation_fraction: float | None = None,
        random_state: int | np.random.Generator | None = 0,
        verbose: bool = False,
        *,
        model: ModelName | None = None,
    ) -> None:
        AlgoBase.__init__(self)
        self.n_factors = n_factors
        self.model = model
        self.depth = depth
        self.reg_all = reg_all
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, trainset: Trainset) -> CompressedMF:
        """Fit to a training set of Surprise's.

        Parameters
        ----------
        trainset : surprise.Trainset
            Users, items and ratings.

        Returns
        -------
        CompressedMF
            The algorithm itself.

        Raises
        ------
        ValueError, TypeError
            If a parameter cannot be used; the message says which, and what to do.

        Examples
        --------
        >>> trainset = Dataset.load_builtin("ml-100k").build_full_trainset()  # doctest: +SKIP
        >>> CompressedMF().fit(trainset).predict("196", "302").est  # doctest: +SKIP
        """
        AlgoBase.fit(self, trainset)
        users, items, ratings = (np.asarray(column) for column in zip(*trainset.all_ratings(), strict=True))
        self.recommender: Recommender = Recommender(
            self.n_factors,
            model=self.model,
            depth=self.depth,
            l2=self.reg_all,
            validation_fraction=self.validation_fraction,
            random_state=self.random_state,
            verbose=self.verbose,
        ).fit({"user": users, "item": items, "rating": ratings}, duplicates="mean")
        factors = self.recommender.factors_  # inner ids have no gaps: they are the rows of the factors
        self._left, self._right = factors.left, factors.right
        self._user_bias, self._item_bias = np.asarray(factors.row_bias), np.asarray(factors.column_bias)
        return self

    def estimate(self, u: Any, i: Any) -> float:
        """Predict the rating of a pair of inner ids; Surprise calls this from `predict`.

        Parameters
        ----------
        u, i : int
            Surprise's inner ids of a user and an item.

        Returns
        -------
        float
            In the ratings' units, not clipped.

        Raises
        ------
        surprise.PredictionImpossible
            If neither of them is known.

        Examples
        --------
        >>> CompressedMF().fit(trainset).estimate(0, 0)  # doctest: +SKIP
        """
        known_user, known_item = self.trainset.knows_user(u), self.trainset.knows_item(i)
        mean = self.recommender.mean_
        if known_user and known_item:
            return mean + float(self._left[u] @ self._right[i])
        if known_user:
            return mean + float(self._user_bias[u])
        if known_item:
            return mean + float(self._item_bias[i])
        raise PredictionImpossible("the user and the item are unknown")
