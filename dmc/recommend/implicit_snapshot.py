"""A fit to clicks that goes on where it was: fits of the search that are over are repeated by their outcomes alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from dmc._keeper import Keeper, Snapshot
from dmc.recommend.all_pairs import AllPairs, Descent
from dmc.solver.loop import Run
from dmc.solver.solution import Status

NAME = "sweep"


class Course:
    """What a search, and the fit behind it, have come to.

    Parameters
    ----------
    keeper : Keeper
    run : Run
    rng : numpy.random.Generator
    """

    def __init__(self, keeper: Keeper, run: Run, rng: np.random.Generator) -> None:
        self._keeper, self._run, self._rng = keeper, run, rng
        self._found = keeper.found(NAME)
        with keeper.believing():
            self._ahead: list[dict[str, Any]] = [] if self._found is None else list(self._found.numbers["outcomes"])
        self._outcomes: list[dict[str, Any]] = []

    @property
    def repeats(self) -> bool:
        """Whether more outcomes are known than were asked for."""
        return bool(self._ahead)

    def outcome(self) -> dict[str, Any]:
        """That of the next fit, which is over."""
        with self._keeper.believing():
            known = self._ahead.pop(0)
            self._outcomes.append(known)
            self._run.n_steps = known["n_steps"]
            return known

    def over(self, **outcome: Any) -> None:
        """A fit is over, with this outcome."""
        self._outcomes.append(outcome | {"n_steps": self._run.n_steps})

    def best(self, problem: AllPairs, rank: int) -> Descent:
        """The best of the fits that are over; in its place, where its factors are needed no more, those of a later
        one."""
        assert self._found is not None
        with self._keeper.believing():
            name = "best" if "best" in self._found.arrays else "own"
            return Descent(problem, *(of[:, :rank] for of in (self._found.of_rows[name], self._found.arrays[name])))

    def begun(self, problem: AllPairs) -> Descent | None:
        """The fit that was under way, where nothing else is left to repeat; None: none was."""
        if self._found is None:
            return None
        found, self._found = self._found, None
        with self._keeper.believing():
            descent = Descent(problem, found.of_rows["own"], found.arrays["own"])
            descent.falls = list(found.numbers["falls"])
            if "predicted" in found.arrays:
                descent.standing = found.numbers["known"], found.arrays["predicted"]
            else:
                descent.standing = found.numbers["known"], descent.standing[1]
            self._rng.bit_generator.state = found.numbers["random"]
            self._run.go_on(found.numbers["n_steps"], found.numbers["seconds"])
            ended = found.numbers["status"]
            self._run.status = None if ended is None else Status[ended]
            return descent

    def keep(self, best: Descent | None, own: Descent, status: Status | None) -> None:
        """Keep where the fit under way stands, and what those before it came to."""
        if not self._keeper.keeps or not own.falls or status is Status.NONFINITE:
            return
        if not self._keeper.alone:  # as a fit that resumes here begins, whether or not this sweep is kept
            own.forget_rounding()
        if status is None and not self._keeper.due:
            return
        known = {"own": own} if best is None else {"own": own, "best": best}
        arrays = {name: np.asarray(of.factors().V) for name, of in known.items()}
        of_rows = {name: np.asarray(of.factors().U) for name, of in known.items()}
        numbers = {"outcomes": self._outcomes, "falls": own.falls, "random": self._rng.bit_generator.state}
        numbers |= {"n_steps": self._run.n_steps, "status": status and status.name, "seconds": self._run.elapsed}
        numbers["known"], predicted = own.standing
        if self._keeper.alone:  # what rounding has made of them; of several processes each would have other entries
            arrays["predicted"] = predicted
        self._keeper.keep(NAME, Snapshot(numbers, arrays, of_rows))
