"""Warnings for an adapter that is trained and does not move."""

from __future__ import annotations

import math
import weakref

import torch
from torch import Tensor, nn

from dmc._warn import warn
from dmc.nn.adapters.dense_layers import listed
from dmc.nn.adapters.low_rank import NEGLIGIBLE, LowRankUpdate

FIRST_LOOK = 100  # backward passes; then ten times as many, and so on, until something has moved


class Watch:
    """Counts the backward passes of an adapter's updates, and checks at the hundredth whether any of them has moved.

    A hook on one factor of each update counts, after its gradient is complete: nothing is added to the forward pass,
    nothing that torch.compile would have to follow.

    Parameters
    ----------
    name : str
        The adapter's.
    updates : dict of str to LowRankUpdate
        By the layer's name.
    norms : dict of str to float
        Frobenius norms of the layers' weights.
    """

    def __init__(self, name: str, updates: dict[str, LowRankUpdate], norms: dict[str, float]) -> None:
        self.name = name
        self.updates = updates
        self.norms = norms
        # A start of a large scale, or from a file, is no movement.
        self.first_sizes: dict[str, float] = self.relative_sizes()
        self.passes: dict[str, int] = dict.fromkeys(updates, 0)
        self.next_look: int | None = FIRST_LOOK
        self._listen()

    def __setstate__(self, state: dict[str, object]) -> None:  # hooks do not follow into a copy
        self.__dict__.update(state)
        self._listen()

    def _listen(self) -> None:
        this = weakref.ref(self)

        def listen(layer: str, factor: nn.Parameter) -> None:
            def passed(_: Tensor) -> None:
                watch = this()
                if watch is not None:
                    watch._passed(layer)

            required = factor.requires_grad
            factor.requires_grad_(True).register_post_accumulate_grad_hook(passed)
            factor.requires_grad_(required)  # an adapter that is not active needs none

        for layer, update in self.updates.items():
            listen(layer, update.U)

    def _passed(self, layer: str) -> None:
        if self.next_look is None:
            return
        self.passes[layer] += 1
        if self.passes[layer] >= self.next_look:
            self.look()

    def look(self) -> None:
        """Warn if no update has moved, if some are not finite, or if some layers never got a gradient."""
        most = max(self.passes.values())
        sizes = self.relative_sizes()
        broken = [layer for layer, size in sizes.items() if not math.isfinite(size)]
        if broken:
            self.next_look = None
            warn(
                f"after {most:,} backward passes {len(broken)} of {len(sizes)} updates of adapter {self.name!r} are "
                f"not finite ({listed(broken)}): training has diverged; lower the learning rate, and attach again"
            )
            return
        change = max(abs(size - self.first_sizes[layer]) for layer, size in sizes.items())
        if change > NEGLIGIBLE:
            self.next_look = None
            self._tell_unreached(most)
            return
        self.next_look = 10 * most
        remedy = (
            "raise the learning rate (three layers want about 3e-3 with AdamW): the first gradients are of the size of "
            "scale², which plain SGD, or Adam with a large eps, does not follow"
            if change > 0
            else "give the optimiser the adapter's parameter_groups(), which are there after attach; if it has them, "
            "raise the learning rate"
        )
        warn(
            f"after {most:,} backward passes all {len(sizes)} updates of adapter {self.name!r} are what they were, but "
            f"for {NEGLIGIBLE:g} of their layers' weights (the largest change is {change:.1g}): nothing has been "
            f"learnt yet; {remedy}"
        )

    def relative_sizes(self) -> dict[str, float]:
        """‖ΔW‖ / ‖W‖ of each layer, in the Frobenius norm."""
        with torch.no_grad():
            return {
                layer: float(update.singular_values().norm()) / (self.norms[layer] or 1.0)
                for layer, update in self.updates.items()
            }

    def _tell_unreached(self, most: int) -> None:
        unreached = [layer for layer, passes in self.passes.items() if passes == 0]
        if unreached:
            warn(
                f"{len(unreached)} of the {len(self.passes)} layers of adapter {self.name!r} had no gradient in "
                f"{most:,} backward passes ({listed(unreached)}): the loss does not depend on them; leave them out of "
                "target_modules"
            )
