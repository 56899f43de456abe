"""Resuming a run of several phases: those that have ended are replaced by their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dmc._keeper import NOTHING_KEPT, Keeper, Snapshot
from dmc._warn import warn
from dmc.solver.kept_state import REMEDY, Arrays, Unkept, pack, unpack

UNDER_WAY, MEMORY = "under way", "seen"
EARLY = 3  # snapshots of a run that fail with an error: with a later one much would be lost


class Course:
    """What moves in a phase, and can be restored to a state of another process.

    Attributes
    ----------
    told : str
        Name of its state in the message that it cannot be kept.
    """

    told = "the state of the fit"

    def standing(self) -> Any:
        """Return all it needs to resume from here: plain values, arrays, and objects of them, as in
        `kept_state.pack`.
        """
        raise NotImplementedError

    def stand(self, standing: Any) -> None:
        """Restore such a state."""
        raise NotImplementedError

    def outcome(self) -> Any:
        """Return what is read of it once the phase has ended."""
        return self.standing()

    def repeat(self, outcome: Any) -> None:
        """Restore the end of the phase."""
        self.stand(outcome)


class Attributes(Course):
    """A course whose moving parts are the attributes of an object: those named, or all."""

    def __init__(self, of: object, names: Sequence[str] | None = None) -> None:
        self._of, self._names = of, names or sorted(vars(of))

    def standing(self) -> dict[str, Any]:
        return {name: getattr(self._of, name) for name in self._names}

    def stand(self, standing: dict[str, Any]) -> None:
        vars(self._of).update({name: standing[name] for name in self._names})


@dataclass(frozen=True)
class Reached:
    """How far a phase had come.

    Attributes
    ----------
    n_steps, taken : int
        Steps of the run, and of the phase.
    seconds : float
        Since the run began.
    status : str or None
        How the phase ended; None: it had not.
    """

    n_steps: int
    taken: int
    seconds: float
    status: str | None


class KeptPhases:
    """The states and outcomes of the phases of a run.

    Parameters
    ----------
    keeper : Keeper
    rng : numpy.random.Generator, optional
        From which phases draw.
    open_end : bool
        Whether a phase that has ended may continue with other settings: then it is looked at once more.
    """

    def __init__(
        self, keeper: Keeper = NOTHING_KEPT, rng: np.random.Generator | None = None, open_end: bool = False
    ) -> None:
        self._keeper, self._rng, self._open_end = keeper, rng, open_end
        self._phase, self._attempts = -1, 0
        self._like: tuple[Any, ...] = ()
        if rng is not None:
            seed_again(keeper, rng)

    def reached(self, course: Course, watches: Sequence[object]) -> Reached | None:
        """Restore the next phase and its callbacks, and return how far it was; None: it had not begun."""
        self._phase += 1
        if not self._keeper.keeps:
            return None
        self._like = (course.standing(), course.outcome())
        over = self._keeper.found(f"phase {self._phase}")
        found = over or self._keeper.found(UNDER_WAY)
        with self._keeper.believing():
            if found is None or found.numbers["of"] != [self._phase, type(course).__name__]:
                return None
            numbers, arrays = found.numbers, Arrays(found.arrays)
            if over is None:
                course.stand(unpack(numbers["course"], self._like[0], arrays))
            else:
                course.repeat(unpack(numbers["course"], self._like[1], arrays))
            Memory(watches).load(found)
            unpack(numbers["random"], self._rng, arrays)
            return Reached(*numbers["reached"])

    def stands(
        self, course: Course, watches: Sequence[object], reached: Callable[[], Reached], last: bool = False
    ) -> None:
        """Keep the state of a phase, before any callback sees it: from time to time, and at its last look."""
        if not self._keeper.keeps or not (last or self._keeper.due):
            return
        self._attempts += 1
        try:
            self._keeper.keep(UNDER_WAY, self._snapshot(course, course.standing(), self._like[0], watches, reached()))
        except Unkept as error:
            if self._attempts <= EARLY:
                raise
            warn(f"from here on no checkpoint is kept: {error}")
            self._keeper = NOTHING_KEPT

    def over(self, course: Course, watches: Sequence[object], reached: Callable[[], Reached]) -> None:
        """Keep the outcome of a phase."""
        if self._keeper.keeps and not self._open_end:
            ended = self._snapshot(course, course.outcome(), self._like[1], watches, reached())
            self._keeper.keep_together({f"phase {self._phase}": ended, UNDER_WAY: Snapshot({"of": []}, {}, {})})

    def _snapshot(self, course: Course, of: Any, like: Any, watches: Sequence[object], reached: Reached) -> Snapshot:
        arrays = Arrays()
        numbers = {
            "of": [self._phase, type(course).__name__],
            "reached": [reached.n_steps, reached.taken, reached.seconds, reached.status],
            "course": _told(of, like, arrays, course.told),
            "random": _told(self._rng, self._rng, arrays, "the seed"),
            MEMORY: Memory(watches).told(arrays),
        }
        return Snapshot(numbers, dict(arrays.stored), {})


class Memory:
    """The records of callbacks that have a `state_dict` and a `load_state_dict`, as in torch."""

    def __init__(self, looking_on: Sequence[object]) -> None:
        self._by_name: dict[str, Any] = {}
        for one in looking_on:
            if hasattr(one, "state_dict") and hasattr(one, "load_state_dict"):
                name = type(one).__name__
                count = sum(key.startswith(f"{name} ") for key in self._by_name)
                self._by_name[f"{name} {count}"] = one

    def told(self, arrays: Arrays) -> dict[str, Any]:
        """The records as a tree of plain values and arrays, as nothing says what they were at the start."""
        return {
            name: _told(one.state_dict(), None, arrays, f"the state_dict() of {type(one).__name__}")
            for name, one in self._by_name.items()
        }

    def snapshot(self) -> Snapshot:
        """A copy of the records, to be kept."""
        arrays = Arrays()
        return Snapshot({MEMORY: self.told(arrays)}, dict(arrays.stored), {})

    def load(self, found: Snapshot) -> None:
        """Restore the records; a callback without one starts anew."""
        arrays, told = Arrays(found.arrays), found.numbers[MEMORY]
        for name, one in self._by_name.items():
            if name in told:
                one.load_state_dict(unpack(told[name], None, arrays))


def seed_again(keeper: Keeper, rng: np.random.Generator) -> None:
    """Restore the generator state in which the fit began, which may be known only here: seed None differs each time."""
    if not keeper.keeps:
        return
    found, arrays = keeper.found("seed"), Arrays()
    if found is not None:
        with keeper.believing():
            unpack(found.numbers["random"], rng, Arrays(found.arrays))
    else:
        numbers = {"random": _told(rng, rng, arrays, "the seed")}
        keeper.keep("seed", Snapshot(numbers, dict(arrays.stored), {}))


def _told(value: Any, like: Any, arrays: Arrays, whose: str) -> Any:
    try:
        return pack(value, like, arrays)
    except Unkept as error:
        raise Unkept(f"{whose} holds {error}, which a checkpoint cannot keep; {REMEDY}") from None
