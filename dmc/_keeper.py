"""What a fit hands out while it runs, so that it can go on from there after its processes were lost."""

from __future__ import annotations

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

    def found(self, name: str) -> Snapshot | None:
        """What was kept by this name, by processes that are no more."""
        return None

    def keep(self, name: str, snapshot: Snapshot) -> None:
        """Keep it, in the place of what had the name before. Every process calls this."""


NOTHING_KEPT = Keeper()
