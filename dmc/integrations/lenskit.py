"""LensKit: `CompressedMFScorer`, a component like `lenskit.als.BiasedMFScorer`. Needs `lenskit` 2025.8 or later."""

from __future__ import annotations

from typing import Literal

import numpy as np
from lenskit.data import Dataset, ItemList, QueryInput, RecQuery, Vocabulary
from lenskit.pipeline import Component
from lenskit.training import Trainable, TrainingOptions
from numpy.typing import NDArray
from pydantic import BaseModel, NonNegativeFloat, NonNegativeInt, PositiveInt

from dmc.recommend.recommender import Recommender

__all__ = ["CompressedMFConfig", "CompressedMFScorer"]


class CompressedMFConfig(BaseModel, extra="forbid"):
    """Settings of `CompressedMFScorer`; there is no number of epochs to choose.

    Parameters
    ----------
    embedding_size : int
        Upper bound of the rank; a generous bound does no harm.
    model : {"bayes", "network"}, optional
        Variational Bayes (the default), which takes only the bound of the rank, or a compressed deep network, which is
        trained on the device that LensKit is configured with.
    depth : int, optional
        Network only: number of factors between the outer two; refused otherwise, like `regularization` (see
        `dmc.Recommender`).
    regularization : float, optional
        Network only: relative to the standard deviation of the ratings.
    user_embeddings : True or "prefer"
        As in LensKit's own models. "prefer": a user from training is scored with the factors learnt then. True: any
        user whose query has a history with ratings is folded in from that history, at each query.

    Examples
    --------
    >>> from dmc.integrations.lenskit import CompressedMFConfig  # doctest: +SKIP
    >>> CompressedMFConfig(embedding_size=32).user_embeddings  # doctest: +SKIP
    'prefer'
    """

    embedding_size: PositiveInt = 16
    model: Literal["bayes", "network"] | None = None
    depth: NonNegativeInt | None = None
    regularization: NonNegativeFloat | None = None
    user_embeddings: Literal[True, "prefer"] = "prefer"


class CompressedMFScorer(Component[ItemList], Trainable):
    """`dmc.Recommender` as a scorer in a LensKit pipeline.

    Users who were not in the training data are folded in from the rated items of their query; without any, they get
    what is expected of an average user. Items without training ratings are not scored (NaN), so that a fallback can
    step in.

    Attributes
    ----------
    config : CompressedMFConfig
        The settings.
    recommender : dmc.Recommender
        The fitted model; its ids are the numbers of `users` and `items`.
    users, items : lenskit.data.Vocabulary
        The ids in the training data.

    Examples
    --------
    >>> from lenskit.data import load_movielens  # doctest: +SKIP
    >>> from lenskit.pipeline import topn_pipeline  # doctest: +SKIP
    >>> from dmc.integrations.lenskit import CompressedMFScorer  # doctest: +SKIP
    >>> pipeline = topn_pipeline(CompressedMFScorer(embedding_size=32), predicts_ratings=True)  # doctest: +SKIP
    >>> pipeline.train(load_movielens("ml-latest-small"))  # doctest: +SKIP
    """

    config: CompressedMFConfig
    recommender: Recommender
    users: Vocabulary
    items: Vocabulary

    def is_trained(self) -> bool:
        """Return whether `train` was called.

        Returns
        -------
        bool
            True after `train`.

        Examples
        --------
        >>> CompressedMFScorer().is_trained()  # doctest: +SKIP
        False
        """
        return hasattr(self, "recommender")

    def train(self, data: Dataset, options: TrainingOptions | None = None) -> None:
        """Fit to the ratings of a dataset.

        Parameters
        ----------
        data : lenskit.data.Dataset
            With interactions that have an attribute "rating".
        options : lenskit.training.TrainingOptions, optional
            The random generator, the device and whether to retrain.

        Raises
        ------
        ValueError
            If the dataset has no ratings.

        Examples
        --------
        >>> scorer = CompressedMFScorer()  # doctest: +SKIP
        >>> scorer.train(load_movielens("ml-latest-small"))  # doctest: +SKIP
        """
        options = TrainingOptions() if options is None else options
        if self.is_trained() and not options.retrain:
            return
        matrix = data.interactions().matrix()
        if "rating" not in matrix.attribute_names:
            raise ValueError("the dataset's interactions have no attribute 'rating'; give a dataset with ratings")
        ratings = matrix.scipy(attribute="rating", layout="coo")
        config, device = self.config, None
        if config.model == "network" or config.depth is not None:
            configured = options.configured_device()
            device = None if configured == "cpu" else configured
        self.recommender = Recommender(
            config.embedding_size,
            model=config.model,
            depth=config.depth,
            l2=config.regularization,
            random_state=options.random_generator(),
            device=device,
        ).fit({"user": ratings.row, "item": ratings.col, "rating": ratings.data})
        self.users, self.items = data.users, data.items
        factors = self.recommender.factors_
        self._left, self._right, self._stranger = factors.left, factors.right, self.recommender.user_vector([], [])

    def __call__(self, query: QueryInput, items: ItemList) -> ItemList:
        """Score items for a query, in the order given; NaN where there is no score.

        Parameters
        ----------
        query : lenskit.data.QueryInput
            A user id, or a history.
        items : lenskit.data.ItemList
            The items to score.

        Returns
        -------
        lenskit.data.ItemList
            The items with scores, in the ratings' units.

        Raises
        ------
        RuntimeError
            If `train` was not called.

        Examples
        --------
        >>> scorer(15, ItemList([1, 2, 3])).scores()  # doctest: +SKIP
        """
        if not self.is_trained():
            raise RuntimeError("this CompressedMFScorer is not trained; call train, or train the pipeline it is in")
        query = RecQuery.create(query)
        positions = self.recommender.items_.positions(items.numbers(vocabulary=self.items, missing="negative"))
        known = positions >= 0
        scores = np.full(len(items), np.nan, np.float32)
        scores[known] = self._scores(query, positions[known])
        return ItemList(items, scores=scores)

    def _scores(self, query: RecQuery, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """(items,) what a user gives to items, which come as rows of the factors."""
        recommender = self.recommender
        number = None if query.user_id is None else self.users.number(query.user_id, missing=None)
        user = -1 if number is None else int(recommender.users_.positions([number])[0])
        if user < 0 or self.config.user_embeddings is True:
            rated = self._ratings(query.query_items)
            if rated is not None:
                return np.float32(recommender.mean_) + self._right[positions] @ recommender.user_vector(*rated)
        mean = np.float32(recommender.mean_)
        return mean + self._right[positions] @ (self._stranger if user < 0 else self._left[user])

    def _ratings(self, history: ItemList | None) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
        """Known items of a history, once each, and their ratings; None if there are none."""
        ratings = None if history is None else history.field("rating")
        if history is None or ratings is None:
            return None
        numbers = history.numbers(vocabulary=self.items, missing="negative")
        usable = (self.recommender.items_.positions(numbers) >= 0) & np.isfinite(ratings)
        rated, last = np.unique(numbers[usable][::-1], return_index=True)
        return (rated, ratings[usable][::-1][last]) if len(rated) else None
