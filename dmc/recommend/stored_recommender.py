"""A fitted recommender with its settings, in a file and out of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from typing import Self

import numpy as np

from dmc import _checks
from dmc.recommend import storage
from dmc.recommend.fitted_recommender import FittedRecommender
from dmc.recommend.settings import ModelName, RecommenderSettings
from dmc.recommend.state import State
from dmc.solver.loop import Callback

SHOWN = ("rank", "feedback", "model", "depth", "ensemble", "intervals")  # by repr, where they are not the default


class StoredRecommender(FittedRecommender):
    """The part of `dmc.Recommender` that reads and writes files; its docstring describes the parameters."""

    rank: int | None
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

    def __repr__(self) -> str:
        shown = {of.name: getattr(self, of.name) for of in fields(RecommenderSettings) if of.name in SHOWN}
        defaults = vars(RecommenderSettings()) | {"model": "bayes"}
        parts = [f"{name}={value!r}" for name, value in shown.items() if value not in (None, defaults[name])]
        state = self._state
        if state is None:
            return f"Recommender({', '.join([*parts, 'not fitted'])})"
        fitted = "rating" if self.feedback == "explicit" else "pair"
        sizes = (len(state.users), "user"), (len(state.items), "item"), (state.n_observed, fitted)
        return f"Recommender({', '.join([*parts, *(_checks.count(*size) for size in sizes)])})"

    def _settings(self) -> RecommenderSettings:
        """As they are now: they may have been set since."""
        return RecommenderSettings(**{of.name: getattr(self, of.name) for of in fields(RecommenderSettings)}).checked()

    def save(self, path: str | os.PathLike[str], *, ratings: bool = True) -> None:
        """Write the fitted model to a file (safetensors with a JSON header, no pickle).

        The scores that lists of ratings are sorted by are part of the file; if no list was requested yet, they are
        fitted now. All parameters are saved, except callbacks; a generator as `random_state` is saved as None. The same
        model always gives the same bytes. The guide's page on privacy says which personal data a file contains.

        Parameters
        ----------
        path : path
            Replaced if it exists; the file appears complete or not at all.
        ratings : bool
            Save the ratings, and who rated what. Without them a loaded model still predicts (bounds included),
            recommends with ``filter_already_liked_items=False``, finds similar items, forgets, and makes vectors of new
            users; what needs ratings (`fold_in`, `partial_fit`, `explain`, `observations_`, a report) raises a
            ValueError.

        Examples
        --------
        >>> import os, tempfile
        >>> import dmc
        >>> ratings = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     dmc.Recommender().fit(ratings).save(os.path.join(folder, "ratings.safetensors"))
        ...     print(dmc.Recommender.load(os.path.join(folder, "ratings.safetensors")))
        Recommender(2 users, 3 items, 4 ratings)
        """
        storage.write(self._settings(), self._served(), path, ratings=bool(ratings))

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mmap: bool = False, verify: bool = False) -> Self:
        """Read a model that `save` or ``dmc fit -o`` wrote.

        The whole file is checked before it is used: its bytes against their digest, its arrays against each other.

        Parameters
        ----------
        path : path
            Of a file, or of a folder that `dmc.distributed.Recommender.save` wrote.
        mmap : bool
            Map a file of more than 16 MiB into memory instead of reading it: large models are available at once, and
            processes share them. Only the header, the shapes and text ids of such a file are checked. Replace it as
            `save` does, by another file: if it is truncated while mapped, the process ends (SIGBUS).
        verify : bool
            Check all of a mapped file, too, which reads it once.

        Returns
        -------
        Recommender
            The fitted model, without callbacks.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or it is damaged, not a dmc recommender, or of a newer version.
        MemoryError
            If it does not fit into memory.

        Examples
        --------
        >>> import os, tempfile
        >>> import dmc
        >>> ratings = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
        >>> rec = dmc.Recommender().fit(ratings)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rec.save(os.path.join(folder, "ratings.safetensors"))
        ...     loaded = dmc.Recommender.load(os.path.join(folder, "ratings.safetensors"))
        >>> loaded.predict(ratings)["prediction"].tolist() == rec.predict(ratings)["prediction"].tolist()
        True
        """
        return cls._serving(*storage.read(path, mmap, verify))

    @classmethod
    def _serving(cls, settings: RecommenderSettings, state: State) -> Self:
        """One that serves what was fitted or read elsewhere.

        Parameters
        ----------
        settings : RecommenderSettings
            With which it was fitted.
        state : State
        """
        model = cls(**settings.for_file())
        model._state = state
        return model
