"""What a `Recommender` is told, checked: settings that the chosen model would not heed are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from dmc import _checks
from dmc._warn import warn
from dmc.recommend import network
from dmc.recommend.network import NetworkSettings
from dmc.solver.callbacks import Progress
from dmc.solver.loop import Callback

Feedback = Literal["explicit", "implicit"]
ModelName = Literal["bayes", "network"]
OF_NETWORKS = ("depth", "l2", "validation_fraction", "device")  # no other model of ratings heeds them
OF_FITS = ("rank", "feedback", "model", "depth", "l2", "validation_fraction", "ensemble", "intervals")
IN_FILES = (*OF_FITS, "random_state", "n_threads", "device", "verbose")


@dataclass(frozen=True)
class RecommenderSettings:
    """The parameters of `dmc.Recommender`, which has their descriptions; None where something was not given."""

    rank: int | None = None
    feedback: Feedback = "explicit"
    model: ModelName | None = None
    depth: int | None = None
    l2: float | None = None
    validation_fraction: float | None = None
    ensemble: int = 1
    intervals: bool = False
    random_state: int | np.random.Generator | None = 0
    n_threads: int | None = None
    device: str | None = None
    verbose: bool = False
    callbacks: Sequence[Callback] = ()

    def checked(self) -> RecommenderSettings:
        """These settings with the model named, and what a network is trained with filled in.

        Raises
        ------
        ValueError, TypeError
            If one cannot be used, or has no effect on the model.
        """
        _checks.choice(self.feedback, "feedback", ("explicit", "implicit"))
        _checks.generator(self.random_state)
        _checks.callables(self.callbacks, "callbacks")
        fraction = self.validation_fraction
        found = replace(
            self,
            rank=None if self.rank is None else _checks.integer(self.rank, "rank", 1),
            depth=None if self.depth is None else _checks.integer(self.depth, "depth", 0),
            l2=None if self.l2 is None else _checks.real(self.l2, "l2", 0),
            validation_fraction=None if fraction is None else _checks.real(fraction, "validation_fraction", 0, 0.5),
            ensemble=_checks.integer(self.ensemble, "ensemble", 1),
            intervals=bool(self.intervals),
            n_threads=None if self.n_threads is None else _checks.integer(self.n_threads, "n_threads", 1),
        )
        if self.feedback == "implicit":
            return found._of_preferences()
        model = self._model_of_ratings()
        return found._of_network() if model == "network" else found._of_bayes()

    def _of_preferences(self) -> RecommenderSettings:
        if self.model is not None:
            raise ValueError(
                f"model is {self.model!r} and feedback 'implicit', which has its own model; leave model out"
            )
        for name in ("intervals", *OF_NETWORKS[:-1]):
            if getattr(self, name) not in (None, False):
                raise ValueError(f"feedback is 'implicit', whose preferences have no {name}; leave {name} out")
        return self

    def _model_of_ratings(self) -> ModelName:
        if self.model is not None:
            _checks.choice(self.model, "model", ("bayes", "network"))
            return self.model
        for name in ("depth", "device"):  # which chose the model before there was `model`
            if getattr(self, name) is not None:
                warn(
                    f"{name} is {getattr(self, name)!r}, which trains a network although model is not set, and no "
                    "longer will in the next release; pass model='network'",
                    DeprecationWarning,
                )
                return "network"
        return "bayes"

    def _of_bayes(self) -> RecommenderSettings:
        for name in OF_NETWORKS:
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, and model 'bayes' has no {name}; leave it out, or pass "
                    "model='network'"
                )
        return replace(self, model="bayes")

    def _of_network(self) -> RecommenderSettings:
        tuned = {name: getattr(network.TUNING, name) for name in ("depth", "l2", "validation_fraction")}
        missing = {name: value for name, value in tuned.items() if getattr(self, name) is None}
        return replace(self, model="network", **missing)

    @property
    def kind(self) -> str:
        """Of the fitted models: one of `dmc.recommend.models.KINDS`."""
        return self.model or "implicit"

    @property
    def network(self) -> NetworkSettings:
        """How a network is trained."""
        assert self.depth is not None
        assert self.l2 is not None
        assert self.validation_fraction is not None
        rank = self.rank or network.TUNING.rank
        return NetworkSettings(rank, self.depth, self.l2, self.validation_fraction, self.device)

    @property
    def watchers(self) -> list[Callback]:
        """What is called at each look: callbacks, and a progress bar if one is wanted."""
        return [*self.callbacks, *([Progress()] if self.verbose else [])]

    def of_fit(self) -> dict[str, Any]:
        """What is fitted, and not where, or who looks on."""
        return {name: getattr(self, name) for name in OF_FITS}

    def for_file(self) -> dict[str, Any]:
        """What a file keeps: all but callbacks, and a generator as the seed, for which it has None."""
        seed = self.random_state
        plain = {
            "random_state": int(seed) if isinstance(seed, (int, np.integer)) else None,
            "device": None if self.device is None else str(self.device),
            "verbose": bool(self.verbose),
        }
        return {name: getattr(self, name) for name in IN_FILES} | plain
