"""Surprise: `CompressedMF`, an algorithm like `surprise.SVD`. Needs `scikit-surprise`."""

from __future__ import annotations

from typing import Any

import numpy as np
from surprise import AlgoBase, PredictionImpossible, Trainset

from dmc.recommend.recommender import Recommender
from dmc.recommend.settings import ModelName


class CompressedMF(AlgoBase):
    """`dmc.Recommender` for Surprise's `cross_validate`, `GridSearchCV` and whatever else takes an algorithm.

    Parameters
    ----------
    n_factors : int
        Upper bound of the rank; a generous one does no harm.
    model : {"bayes", "network"}, optional
        Variational Bayes, which is the default and takes only the bound of the rank, or a compressed deep network.
    depth : int, optional
        Of the network: cores. Like the next two, refused where it has no effect; see `dmc.Recommender`.
    reg_all : float, optional
        Of the network: regularisation, relative to the ratings' standard deviation.
    validation_fraction : float, optional
        Of the network: share of the training ratings held out to find the number of steps, so that there is none to
        give.
    random_state : int, numpy.random.Generator or None
        Seed. The same gives the same result.
    verbose : bool
        Show a progress bar.

    Attributes
    ----------
    recommender : dmc.Recommender
        What `fit` fitted, to Surprise's inner ids.

    Notes
    -----
    As with `surprise.SVD`, of an unknown user or item the other side's bias is used; where both are unknown the
    prediction is impossible and Surprise's default, the mean, is given. A rating given twice counts as its mean.
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

        Raises
        ------
        ValueError, TypeError
            If a parameter cannot be used; the message says which, and what to do.
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
        """The rating of a pair of inner ids.

        Raises
        ------
        surprise.PredictionImpossible
            If neither of them is known.
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
