"""The compressed deep network on ratings: by gradient descent, for as long as held-out ratings gain from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dmc.factors import Factors
from dmc.observations import Observations
from dmc.solver import initial, steps
from dmc.solver.callbacks import EarlyStopping, Lowest
from dmc.solver.loop import Callback, Run, solve_phase
from dmc.solver.problem import MaskedLeastSquares
from dmc.solver.solution import Solution, Status

START_SCALE = 0.3  # of the factors' entries, for ratings of unit variance
RATE = 0.03  # Adam's, for factors of that size
MAX_STEPS = 1_000
MAX_HELD_OUT = 200_000  # ratings: more would cost time and tell nothing
MIN_HELD_OUT = 20  # ratings: with fewer the error says nothing
FALLBACK_STEPS = 100  # when there are too few ratings to hold any out
# Bytes of factors beyond the caches, where gathering in half the bytes saves time. The noise of ratings hides the
# rounding: test errors on MovieLens and Douban are the same to .0005.
FAR = 1 << 25


@dataclass(frozen=True)
class NetworkFit:
    """A network that was trained on ratings.

    Attributes
    ----------
    factors : Factors
        In the ratings' units; the mean comes on top. NumPy arrays.
    mean : float
    held_out_error : float
        Root mean squared error on the ratings that were held out; NaN without.
    errors : list of (int, float)
        Steps and that error, at each look.
    solution : Solution
        Of the final training.
    """

    factors: Factors
    mean: float
    held_out_error: float
    errors: list[tuple[int, float]]
    solution: Solution


@dataclass(frozen=True)
class NetworkSettings:
    """How to train.

    Parameters
    ----------
    rank : int
        Bound of the rank; the network is twice as wide.
    depth : int
        Number of cores.
    l2 : float
        Relative to the ratings' standard deviation; that of a line grows with the square root of its ratings.
    validation_fraction : float
        Share of the ratings held out to find the number of steps.
    device : str, optional
        Where to train.
    """

    rank: int
    depth: int
    l2: float
    validation_fraction: float
    device: str | None

    def fit(self, observations: Observations, rng: np.random.Generator, callbacks: Sequence[Callback]) -> NetworkFit:
        """Train on a part of the ratings, to see how many steps are best, and then on all of them."""
        values = observations.values
        mean, unit = float(np.mean(values, dtype=np.float64)), float(np.std(values, dtype=np.float64)) or 1.0
        scaled = observations.with_values(((values - mean) / unit).astype(np.float32))
        scaled = scaled if self.device is None else scaled.to(self.device)
        start = self._start(scaled, rng)
        with Run(callbacks) as run:
            watch, solution = self._find_length(run, scaled, start, rng)
            if run.status is Status.NONFINITE:  # behind what was best, which is trained again
                run.status = Status.COMPLETED
            if not run.ended:
                lowest = Lowest()  # a last step may land on a spike
                n_steps = max(watch.best_step, 1) if watch else FALLBACK_STEPS
                solution = self._train(run, scaled, start, n_steps, lowest, planned=True)
                solution = replace(solution, factors=lowest.best or solution.factors)
        assert solution is not None
        factors = solution.factors
        if solution.status is Status.STOPPED and watch is not None and watch.best is not None:
            factors = watch.best  # somebody asked to stop: better the best so far than an unfinished final training
        errors = [(n, error * unit) for n, error in (watch.errors if watch else [])]
        best = watch.best_error * unit if watch else float("nan")
        return NetworkFit(factors.to(None).scaled(unit), mean, best, errors, solution)

    def _start(self, scaled: Observations, rng: np.random.Generator) -> Factors:
        m, n = scaled.shape
        width = 2 * min(self.rank, m, n)
        start = initial.gaussian((m, n), width, self.depth, START_SCALE, rng, np.float32)
        return replace(start, row_bias=np.zeros(m, np.float32), column_bias=np.zeros(n, np.float32))

    def _find_length(
        self, run: Run, scaled: Observations, start: Factors, rng: np.random.Generator
    ) -> tuple[EarlyStopping | None, Solution | None]:
        fraction = min(self.validation_fraction, MAX_HELD_OUT / scaled.n_observed)
        if fraction * scaled.n_observed < MIN_HELD_OUT:
            return None, None
        try:
            train, held_out = scaled.split(fraction, rng)
        except ValueError:  # every rating is the only one of its user or item
            return None, None
        watch = EarlyStopping(held_out, patience=40)
        return watch, self._train(run, train, start, MAX_STEPS, watch)

    def _train(
        self, run: Run, scaled: Observations, start: Factors, n_steps: int, watch: Callback, planned: bool = False
    ) -> Solution:
        pattern = scaled.pattern
        l2 = (self.l2 * pattern.row_counts**0.5, self.l2 * pattern.column_counts**0.5)
        far = (start.U.nbytes + start.V.nbytes) > FAR
        return solve_phase(
            run,
            MaskedLeastSquares(scaled, l2=l2, gathered="bfloat16" if far else None),
            start,
            steps.Adam(RATE),
            max_steps=n_steps,
            check_every=5,
            planned=planned,
            watches=[watch],
        )
