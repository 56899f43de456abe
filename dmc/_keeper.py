"""What a fit hands out while it runs, so that it can go on from there after its processes were lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

from numpy.typing import NDArray


class Snapshot(NamedTuple):
    """All that a fit cannot compute again."""

    numbers: dict[str, Any]  # what JSON can hold
    arrays: dict[str, NDArray[Any]]  # the same in all processes
    of_rows: dict[str, NDArray[Any]]  # (own rows, …) of this process


class Keeper:
    """Where snapshots go, by name. This one keeps none."""

    keeps = False
    alone = False  # whether it is of one process, which finds what is kept of its entries in the same order again

    @property
    def due(self) -> bool:
        """Whether a snapshot that is taken at every look is wanted now. Those that are taken once always are."""
        return self.keeps

    def found(self, name: str) -> Snapshot | None:
        """What was kept by this name, by processes that are no more."""
        return None

    def believing(self) -> AbstractContextManager[None]:
        """Inside, what is wrong with something found is told as damage."""
        return nullcontext()

    def keep(self, name: str, snapshot: Snapshot) -> None:
        """Keep it, in the place of what had the name before. Every process calls this."""

    def keep_together(self, snapshots: Mapping[str, Snapshot]) -> None:
        """Keep some that belong together: all of them, or none."""
        for name, snapshot in snapshots.items():
            self.keep(name, snapshot)

    def finish(self) -> None:
        """The fit has ended by itself: nothing is lost if what was kept gives way to another fit's."""


NOTHING_KEPT = Keeper()


class Part(Keeper):
    """A part of a fit, whose names are its own."""

    def __init__(self, whole: Keeper, name: str) -> None:
        self._whole, self._name = whole, name
        self.keeps, self.alone = whole.keeps, whole.alone

    @property
    def due(self) -> bool:
        return self._whole.due

    def found(self, name: str) -> Snapshot | None:
        return self._whole.found(f"{self._name}, {name}")

    def believing(self) -> AbstractContextManager[None]:
        return self._whole.believing()

    def keep(self, name: str, snapshot: Snapshot) -> None:
        self._whole.keep(f"{self._name}, {name}", snapshot)

    def keep_together(self, snapshots: Mapping[str, Snapshot]) -> None:
        self._whole.keep_together({f"{self._name}, {name}": one for name, one in snapshots.items()})


class Fit(NamedTuple):
    """Which fit it is, for what was kept of one to be given to no other.

    Attributes
    ----------
    settings : dict
        As JSON holds them.
    data : str
        A digest.
    """

    settings: dict[str, Any]
    data: str


class Keeping:
    """A callback that has fits keep snapshots."""

    def of(self, fit: Fit, callbacks: Sequence[object]) -> AbstractContextManager[Keeper]:
        """Open the keeper of a fit.

        Parameters
        ----------
        fit : Fit
            Which fit it is.
        callbacks : sequence of callables
            Those of the fit, whose records are kept as well.

        Returns
        -------
        context manager
            Of the keeper, which lasts as long as the block.
        """
        raise NotImplementedError


@contextmanager
def keeper_among(callbacks: Sequence[object], fit: Callable[[], Fit]) -> Iterator[Keeper]:
    """The keeper of a fit with these callbacks; of one without any that keeps, the one that keeps nothing.

    Raises
    ------
    ValueError
        If there are several, or what was kept is of another fit.
    """
    found = [callback for callback in callbacks if isinstance(callback, Keeping)]
    if not found:
        yield NOTHING_KEPT
        return
    if len(found) > 1:
        raise ValueError(f"callbacks holds {len(found)} checkpoints; give one")
    with found[0].of(fit(), callbacks) as keeper:
        yield keeper


def refuse_keeping(callbacks: Sequence[object], what: str, remedy: str) -> None:
    """Refuse callbacks that would keep snapshots of a fit that takes none."""
    if any(isinstance(callback, Keeping) for callback in callbacks):
        raise ValueError(f"{what} keeps no checkpoints; {remedy}")
