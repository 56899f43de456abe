"""When a path down the penalty, or a phase of the rank search, has done its work."""

from __future__ import annotations

import math

from dmc.observations import Observations
from dmc.solver.callbacks import EarlyStopping, Remembering
from dmc.solver.solution import StepInfo


class Settled(Remembering):
    """Stops a path whose width stays while the level falls: nothing is near to joining, and a finish may be tried.

    At the bound a width stays in any case. There the path has settled when the entries are nearly matched, and is
    stuck when the value no longer falls either.

    Parameters
    ----------
    bound : int
        Of the width.
    zero : float
        The value of the problem at zero.
    decay : float
        Factor of the level from look to look: what counts is how far it has fallen, in however many looks.
    patience : float
        Exponent of that fall: with 2 the level has to fall by the square.
    """

    remembers: tuple[str, ...] = ("_before", "_in_a_row", "stuck")
    level_fall: float = 0.84**5
    value_fall: float = 0.97**5
    little: float = 1e-3

    def __init__(self, bound: int, zero: float, decay: float, patience: float = 1.0) -> None:
        self._bound, self._little = bound, self.little * zero
        least = math.log(self.level_fall) / math.log(decay)
        self._looks = max(round(patience * least), 2)
        self._fall = self.value_fall ** (1 / least)
        self._before: tuple[int, float] | None = None  # width and value at the last look
        self._in_a_row = 0
        self.stuck: bool = False

    def __call__(self, info: StepInfo) -> bool:
        before, self._before = self._before, (info.factors.width, info.value)
        if before is None:
            return False
        counts = info.factors.width == before[0]
        if info.factors.width >= self._bound and info.value > self._little:
            counts = self.stuck = counts and info.value > self._fall * before[1]
        else:
            self.stuck = False
        self._in_a_row = self._in_a_row + 1 if counts else 0
        return self._in_a_row >= self._looks


class Patience(EarlyStopping):
    """Ends a path on which held-out entries are predicted no better: soon where directions have joined since, and late
    where none has, for a large first direction may be followed by small ones far down."""

    remembers: tuple[str, ...] = (*EarlyStopping.remembers, "_width")
    soon: int = 8
    late: int = 40

    def __init__(self, held_out: Observations) -> None:
        super().__init__(held_out, patience=self.soon)
        self._width = 0

    def __call__(self, info: StepInfo) -> bool:
        before = self.mark[0]
        stopped = super().__call__(info)
        if self.mark[0] != before or self._width == 0:
            self._width = info.factors.width
        return stopped and (info.factors.width > self._width or info.n_steps - self.mark[0] >= self.late)
