"""Cornac: `CompressedMF`, a model like `cornac.models.MF`. Needs `cornac` 3."""

from __future__ import annotations

import cornac
import numpy as np
from cornac.exception import ScoreException
from numpy.typing import NDArray

from dmc.recommend.recommender import Recommender
from dmc.recommend.settings import ModelName


class CompressedMF(cornac.models.Recommender):
    """`dmc.Recommender` for a `cornac.Experiment`, and whatever else of Cornac's takes a model.

    Parameters
    ----------
    name : str
        What the model is called in tables and folders.
    k : int
        Upper bound of the rank; a generous one does no harm.
    model : {"bayes", "network"}, optional
        Variational Bayes, which is the default and takes only the bound of the rank, or a compressed deep network.
    depth : int, optional
        Of the network: cores. Like the next two, refused where it has no effect; see `dmc.Recommender`.
    lambda_reg : float, optional
        Of the network: regularisation, relative to the ratings' standard deviation.
    validation_fraction : float, optional
        Of the network: share of the training ratings held out to find the number of steps, so that there is none to
        give. Cornac's own validation set is left to choose between models.
    num_threads : int
        Threads of the fit; 0: all. The result does not depend on it.
    trainable : bool
        Whether `fit` trains; Cornac's loaded models do not.
    verbose : bool
        Show a progress bar.
    seed : int or None
        The same gives the same result.

    Attributes
    ----------
    recommender : dmc.Recommender
        What `fit` fitted, to Cornac's indices.
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
        """Fit to a training set of Cornac's; `val_set` is not looked at.

        Raises
        ------
        ValueError, TypeError
            If a parameter cannot be used; the message says which, and what to do.
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
        """Ratings of a user, for one item or for all known ones.

        As with `cornac.models.MF`, a user who is not known gets the mean and the item's bias.

        Parameters
        ----------
        user_idx : int
        item_idx : int, optional

        Returns
        -------
        float32 number, or (items,) float32 array

        Raises
        ------
        cornac.exception.ScoreException
            If the item is not known; Cornac then takes its default, the mean.
        """
        if item_idx is not None and not self.knows_item(item_idx):
            raise ScoreException(f"item {item_idx} is not in the training set")
        which = slice(None) if item_idx is None else item_idx
        mean = np.float32(self.recommender.mean_)
        if self.knows_user(user_idx):
            return mean + self._right[which] @ self._left[user_idx]
        return mean + self._item_bias[which]
