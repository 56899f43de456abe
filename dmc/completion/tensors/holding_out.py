"""Which entries of a tensor are held out to judge models: missing as the missing ones are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dmc.completion.tensors.tuning import TENSORS


def whole_tubes(observed: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Of the tubes along an axis, whether an entry of theirs was observed."""
    return np.asarray(observed.any(axis))


def missing_along(observed: NDArray[np.bool_]) -> int | None:
    """The axis along which whole tubes are missing, and not by chance; None where entries are."""
    missing = observed.size - int(observed.sum())
    if missing == 0:
        return None
    share, most, along = missing / observed.size, TENSORS.whole_tubes, None
    for axis, length in enumerate(observed.shape):
        if length < 2:
            continue
        within = length * int((~whole_tubes(observed, axis)).sum()) / missing
        chance = share ** (length - 1)
        beyond = (within - chance) / (1 - chance) if chance < 1 else 0.0
        if beyond > most:
            most, along = beyond, axis
    return along


def hold_out(observed: NDArray[np.bool_], fraction: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Entries to be held out, among those observed: at random, or whole tubes where such are missing.

    Of a single entry that is itself.
    """
    along = missing_along(observed)
    if along is not None:
        tubes = np.flatnonzero(whole_tubes(observed, along))
        least = min(TENSORS.min_tubes, int(TENSORS.max_share * len(tubes)))
        drawn = np.zeros(observed.size // observed.shape[along], bool)
        drawn[rng.choice(tubes, max(round(fraction * len(tubes)), least, 1), replace=False)] = True
        shape = [n for axis, n in enumerate(observed.shape) if axis != along]
        held = np.expand_dims(drawn.reshape(shape), along) & observed
        if (observed & ~held).any():
            return np.asarray(held)
    at = np.flatnonzero(observed)
    least = min(TENSORS.min_held_out, int(TENSORS.max_share * len(at)))
    count = min(max(round(fraction * len(at)), least, 1), TENSORS.max_held_out)
    held = np.zeros(observed.size, bool)
    held[rng.choice(at, count, replace=False)] = True
    return held.reshape(observed.shape)
