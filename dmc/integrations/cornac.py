"""Cornac: `CompressedMF`, a model like `cornac.models.MF`. Needs `cornac` 3."""

from __future__ import annotations

import cornac
import numpy as np
from cornac.exception import ScoreException
from numpy.typing import NDArray

from dmc.recommend.recommender import Recommender
from dmc.recommend.settings import ModelName

__all__ = ["CompressedMF"]


class CompressedMF(cornac.models.Recommender):
    """`dmc.Recommender` as a Cornac model, for `cornac.Experiment` and whatever else accepts a model.

    Parameters
    ----------
    name : str
        Name of the model in tables and folders.
    k : int
        Upper bound of the rank; a generous bound does no harm.
    depth : int, optional
        Network only: number of factors between the outer two; refused otherwise, like the next two (see
        `dmc.Recommender`).
    lambda_reg : float, optional
        Network only: regularisation, relative to the standard deviation of the ratings.
    validation_fraction : float, optional
        Network only: share of the training ratings held out to choose the number of steps. Cornac's own validation set
        is not used, so it can still choose between models.
    num_threads : int
        Threads of the fit; 0: one per processor. The result does not depend on it.
    trainable : bool
        Whether `fit` trains; models that Cornac loaded do not.
    verbose : bool
        Show a progress bar.
    seed : int or None
        The same seed gives the same result.
    model : {"bayes", "network"}, optional
        Variational Bayes (the default), which takes only the bound of the rank, or a compressed deep network.

    Attributes
    ----------
    recommender : dmc.Recommender
        The fitted model; its ids are Cornac's indices.

    Examples
    --------
    >>> import cornac  # doctest: +SKIP
    >>> from dmc.integrations.cornac import CompressedMF  # doctest: +SKIP
    >>> split = cornac.eval_methods.RatioSplit(cornac.datasets.movielens.load_feedback())  # doctest: +SKIP
    >>> cornac.Experiment(split, models=[CompressedMF()], metrics=[cornac.metrics.RMSE()]).run()  # doctest: +SKIP
    """

    def __init__(
        self,
        name: str = "CompressedMF",
        k: int = 16,
        depth: int | None = None,
        lambda_reg: float | None = None,
        validation_fraction: float | None = None,
        num_threads: int = 0,
        trainable: bool = True,
        verbose: bool = False,
        seed: int | None = 0,
        *,
        model: ModelName | None = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, verbose=verbose)
        self.k = k
        self.model = model
        self.depth = depth
        self.lambda_reg = lambda_reg
        self.validation_fraction = validation_fraction
        self.num_threads = num_threads
        self.seed = seed

    def fit(self, train_set: cornac.data.Dataset, val_set: cornac.data.Dataset | None = None) -> CompressedMF:
        """Fit to a training set of Cornac's.

        Parameters
        ----------
        train_set : cornac.data.Dataset
            Users, items and ratings.
        val_set : cornac.data.Dataset, optional
            Not used.

        Returns
        -------
        CompressedMF
            The model itself.

        Raises
        ------
        ValueError, TypeError
            If a parameter cannot be used; the message says which, and what to do.

        Examples
        --------
        >>> data = [("ann", "a", 5), ("ann", "b", 3), ("bob", "a", 4), ("bob", "c", 2)]
        >>> CompressedMF().fit(cornac.data.Dataset.from_uir(data))  # doctest: +SKIP
        """
        super().fit(train_set, val_set)
        if not self.trainable:
            return self
        users, items, ratings = train_set.uir_tuple
        self.recommender: Recommender = Recommender(
            self.k,
            model=self.model,
            depth=self.depth,
            l2=self.lambda_reg,
            validation_fraction=self.validation_fraction,
            random_state=self.seed,
            n_threads=self.num_threads or None,
            verbose=self.verbose,
        ).fit({"user": users, "item": items, "rating": ratings})
        factors = self.recommender.factors_  # Cornac's indices have no gaps: they are the rows of the factors
        self._left, self._right, self._item_bias = factors.left, factors.right, np.asarray(factors.column_bias)
        return self

    def score(self, user_idx: int, item_idx: int | None = None) -> NDArray[np.float32] | np.float32:
        """Predict a user's rating of one item, or of all known items.

        As in `cornac.models.MF`, an unknown user gets the mean plus the item's bias.

        Parameters
        ----------
        user_idx : int
            Cornac's index of the user.
        item_idx : int, optional
            Cornac's index of the item. Default: all known items.

        Returns
        -------
        float32 or (items,) float32 array
            In the ratings' units.

        Raises
        ------
        cornac.exception.ScoreException
            If the item is unknown; Cornac then uses its default, the mean.

        Examples
        --------
        >>> data = [("ann", "a", 5), ("ann", "b", 3), ("bob", "a", 4), ("bob", "c", 2)]
        >>> CompressedMF().fit(cornac.data.Dataset.from_uir(data)).score(0).shape  # doctest: +SKIP
        (3,)
        """
        if item_idx is not None and not self.knows_item(item_idx):
            raise ScoreException(f"item {item_idx} is not in the training set")
        which = slice(None) if item_idx is None else item_idx
        mean = np.float32(self.recommender.mean_)
        if self.knows_user(user_idx):
            return mean + self._right[which] @ self._left[user_idx]
        return mean + self._item_bias[which]
