"""The cost of a step of a network, estimated before any memory is taken for it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from dmc import _checks

PRODUCT = 384  # rows of the matrices whose product is timed: a few milliseconds
HELD = 7  # times the parameters, 6.4 as measured: present, next and accepted factors, the gradient, products under way
FEW = 50  # steps that a network is to get at least: with fewer there is nothing to see
SETUP_SHARE = 4.0  # floating-point operations of a thin QR, over rows·width²


@dataclass(frozen=True)
class NetworkSize:
    """The sizes that a network's cost depends on: U (rows, width), `depth` cores (width, width), V (columns, width)."""

    rows: int
    columns: int
    width: int
    depth: int
    n_observed: int

    @property
    def n_parameters(self) -> int:
        return self.width * (self.rows + self.columns + self.depth * self.width)

    @property
    def step_operations(self) -> float:
        """Floating-point operations of a value with its gradient: products of factors, and those at the entries.

        Wide factors are multiplied out, narrow ones are read entry by entry, whichever is less.
        """
        m, n, k = float(self.rows), float(self.columns), float(self.width)
        of_factors = 2 * k * k * (3 * m + n) * (self.depth > 0) + 6 * k**3 * self.depth
        return of_factors + 6 * k * min(m * n, 2.0 * self.n_observed)

    @property
    def setup_operations(self) -> float:
        """Floating-point operations of making orthogonal layers."""
        return SETUP_SHARE * self.width**2 * (self.rows + self.columns + self.depth * self.width)


def operations_per_second() -> float:
    """Measure how many floating-point operations per second a product of matrices achieves here."""
    A = np.random.default_rng(0).standard_normal((PRODUCT, PRODUCT))
    A @ A  # the first product of a process waits for threads to be made
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        A @ A
        seconds.append(time.perf_counter() - began)
    return float(2 * PRODUCT**3 / max(min(seconds), 1e-9))


def refusal(name: str, size: NetworkSize, speed: float, max_steps: int, time_limit: float) -> str:
    """Say in a sentence why a network is not run at all; empty if it is run.

    Parameters
    ----------
    name : str
    size : NetworkSize
    speed : float
        Floating-point operations in a second.
    max_steps : int
    time_limit : float
        Seconds in which its set-up and the first steps have to fit.
    """
    step, setup = size.step_operations / speed, size.setup_operations / speed
    if setup + min(FEW, max_steps) * step > time_limit:
        return (
            f"{name} was not run: {max_steps:,} steps would take about {duration(setup + max_steps * step)}, and the "
            f"time limit is {duration(time_limit)} (estimated from 0 steps: by the {size.step_operations:.1e} "
            f"floating-point operations of one, at {speed / 1e9:.0f} GFLOP/s as measured here); raise time_limit or "
            f"leave {name} out of contenders"
        )
    try:
        what = f"{name}, with {size.n_parameters:,} parameters,"
        _checks.memory(8 * HELD * size.n_parameters, what, f"leave {name} out of contenders")
    except MemoryError as error:
        return f"{name} was not run: {error}"
    return ""


def duration(seconds: float) -> str:
    """Format seconds: `8 s`, `3 min`, `2.5 h`, `60 days`."""
    for unit, size in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            amount = seconds / size
            return f"{amount:,.0f} {unit}" if amount >= 10 else f"{amount:.2g} {unit}"
    return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
