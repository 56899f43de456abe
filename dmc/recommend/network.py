"""The compressed deep network on ratings: by gradient descent, for as long as held-out ratings gain from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dmc._group import ALONE, Group, Share
from dmc._keeper import NOTHING_KEPT, Keeper
from dmc.factors import Array, Factors
from dmc.observations import Observations
from dmc.recommend.network_snapshot import Course, Phase, moved
from dmc.solver import initial, steps
from dmc.solver.callbacks import EarlyStopping, Lowest
from dmc.solver.dealt import DealtLeastSquares
from dmc.solver.loop import Callback, Run, solve_phase
from dmc.solver.protocol import Step
from dmc.solver.solution import Solution, Status


@dataclass(frozen=True)
class NetworkTuning:
    """What was chosen for networks on ratings, on held-out parts of the training ratings of MovieLens 100K and Douban.

    Attributes
    ----------
    rank, depth, l2, validation_fraction
        Of `NetworkSettings`, where they are not given.
    start_scale : float
        Of the factors' entries, for ratings of unit variance.
    rate : float
        Adam's in the first steps, for factors of that size.
    constant_steps : int
        After which the rate falls as 1/√n. Adam divides by the root of the mean square of all gradients so far. That
        falls as 1/√n once they vanish, and the curvature does not: at a constant rate the steps pass the limit of
        stability (Cohen et al., 2022, arXiv 2207.14484; on u1.base at width 256 with two cores at step 80). Two factors
        then settle on larger squares; with cores between them, which multiply each other, an oscillation raises the
        curvature, and the value grows sixtyfold in twenty steps.
    slack : float
        Relative rise of the value by which a step passes; one that raises it further is taken back (`Backtracking`).
        Chosen with the two above, on held-out tenths of the training ratings of MovieLens 100K, Douban and musical
        instruments, beside other slacks (1e-6, 1e-2), shorter memories of Adam (.9, .95, .99) and AMSGrad. Of them a
        rate of .06 that falls after 20 steps came out ahead there by .001, and on Douban's test part behind by .0013.
    max_steps : int
        In which the number of steps is sought.
    patience : int
        Looks without a better error that end the search.
    check_every : int
        Steps between two looks.
    min_held_out, max_held_out : int
        Ratings held out: of fewer the error says nothing, and more would cost time and tell nothing.
    fallback_steps : int
        Steps where too few ratings are there to hold any out.
    gather_bytes : int
        Bytes of factors beyond the caches, where gathering in half the bytes saves time. The noise of ratings hides
        the rounding: test errors on MovieLens and Douban are the same to .0005.
    prior_ridge : float
        Added to the variances of the priors of users and items, for ratings of unit variance.
    max_precision : float
        Of a rating around the network, for ratings of unit variance: as `bayesian_model.MAX_PRECISION`, which float32
        moments carry.
    """

    rank: int = 16
    depth: int = 3
    l2: float = 1.3
    validation_fraction: float = 0.1
    start_scale: float = 0.3
    rate: float = 0.03
    constant_steps: int = 40
    slack: float = 1e-3
    max_steps: int = 1_000
    patience: int = 40
    check_every: int = 5
    min_held_out: int = 20
    max_held_out: int = 200_000
    fallback_steps: int = 100
    gather_bytes: int = 1 << 25
    prior_ridge: float = 1e-6
    max_precision: float = 2e4

    def step(self, rate: float | None = None) -> Step:
        """How to move; at another rate than its own, if one is given."""
        return steps.Backtracking(steps.Adam(rate or self.rate, constant_steps=self.constant_steps), self.slack)


TUNING = NetworkTuning()


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
        Relative to the ratings' standard deviation; that of a user or item grows with the square root of its ratings.
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

    def fit(
        self,
        observations: Observations,
        rng: np.random.Generator,
        callbacks: Sequence[Callback],
        share: Share | None = None,
        keeper: Keeper = NOTHING_KEPT,
    ) -> NetworkFit:
        """Train on a part of the ratings, to see how many steps are best, and then on all of them.

        With a share the ratings are those of one process among several: of its own users, by all items. So are the
        factors; what is left is the same in all of them. The keeper gets what is needed to go on from at each look.
        """
        share = share or Share.whole(observations.shape[0])
        scaled, mean, unit = _scaled(observations, share.group)
        scaled = scaled if self.device is None else scaled.to(self.device)
        start = self._start(scaled, rng, share)
        with Run(callbacks, share.group) as run:
            course = Course(keeper, run)
            watch, solution = self._find_length(run, scaled, start, rng, share, course)
            if run.status is Status.NONFINITE:  # behind what was best, which is trained again
                run.status = Status.COMPLETED
            if not run.ended:
                lowest = course.lowest()  # a last step may land on a spike
                n_steps = max(watch.best_step, 1) if watch else TUNING.fallback_steps
                solution = self._train(run, course, scaled, start, n_steps, lowest, share.group, planned=True)
                solution = replace(solution, factors=lowest.best or solution.factors)
        if solution is None:  # Ctrl-C before the first step
            raise KeyboardInterrupt
        factors = solution.factors
        if solution.status is Status.STOPPED and watch is not None and watch.best is not None:
            factors = watch.best  # somebody asked to stop: better the best so far than an unfinished final training
        errors = [(n, error * unit) for n, error in (watch.errors if watch else [])]
        best = watch.best_error * unit if watch else float("nan")
        if run.status is Status.STOPPED:  # perhaps in the last calls only
            solution = replace(solution, status=run.status, stopped_by=run.stopped_by)
        return NetworkFit(factors.to(None).scaled(unit), mean, best, errors, solution)

    def _start(self, scaled: Observations, rng: np.random.Generator, share: Share) -> Factors:
        m, n = scaled.shape
        width = 2 * min(self.rank, int(share.group.sum(m)), n)
        start = initial.dealt_gaussian(share, n, width, self.depth, TUNING.start_scale, rng, np.float32)
        return replace(start, row_bias=np.zeros(m, np.float32), column_bias=np.zeros(n, np.float32))

    def _find_length(
        self,
        run: Run,
        scaled: Observations,
        start: Factors,
        rng: np.random.Generator,
        share: Share,
        course: Course,
    ) -> tuple[EarlyStopping | None, Solution | None]:
        n_observed = int(share.group.sum(scaled.n_observed))
        fraction = min(self.validation_fraction, TUNING.max_held_out / n_observed)
        if fraction * n_observed < TUNING.min_held_out:
            return None, None
        try:
            train, held_out = scaled.split(fraction, rng, share)
        except ValueError:  # every rating is the only one of its user or item
            return None, None
        watch = EarlyStopping(held_out, patience=TUNING.patience, group=share.group)
        if course.watched(watch):
            return watch, None
        return watch, self._train(run, course, train, start, TUNING.max_steps, watch, share.group)

    def _train(
        self,
        run: Run,
        course: Course,
        scaled: Observations,
        start: Factors,
        n_steps: int,
        watch: EarlyStopping | Lowest,
        group: Group,
        planned: bool = False,
    ) -> Solution:
        pattern = scaled.pattern
        phase: Phase = "all" if planned else "length"
        standing = course.begun(phase)
        l2 = (self.l2 * pattern.row_counts**0.5, self.l2 * group.sum(pattern.column_counts) ** 0.5)
        far = (int(group.sum(start.U.nbytes)) + start.V.nbytes) > TUNING.gather_bytes
        return solve_phase(
            run,
            DealtLeastSquares(scaled, group, l2=l2, gather_dtype="bfloat16" if far else None),
            start,
            TUNING.step(),
            max_steps=n_steps,
            check_every=TUNING.check_every,
            planned=planned,
            watches=[watch],
            standing=standing if standing is None or self.device is None else moved(standing, self.device),
            keep=partial(course.keep, phase, watch if isinstance(watch, Lowest) else None),
        )


def _scaled(observations: Observations, group: Group) -> tuple[Observations, float, float]:
    """Ratings of mean 0, variance 1 and mean weight 1 over all processes; and what their mean and deviation were."""
    mean, unit = mean_and_unit(observations, group)
    scaled = observations.with_values(((observations.values - mean) / unit).astype(np.float32))
    weights = scaled.weights
    if weights is not None:
        scaled = replace(scaled, weights=weights / np.float32(mean_over(np.asarray(weights, np.float64), None, group)))
    return scaled, mean, unit


def mean_and_unit(observations: Observations, group: Group = ALONE) -> tuple[float, float]:
    """Mean and standard deviation of the ratings of all processes, each counting by its weight; of ratings that are all
    the same 1."""
    values, weights = np.asarray(observations.values, np.float64), observations.weights
    mean = mean_over(values, weights, group)
    return mean, math.sqrt(mean_over((values - mean) ** 2, weights, group)) or 1.0


def mean_over(values: NDArray[np.float64], weights: Array | None, group: Group) -> float:
    """Of the numbers of all processes, each counting by its weight."""
    if weights is None:
        total, of = values.sum(), len(values)
    else:
        exact = np.asarray(weights, np.float64)
        total, of = (values * exact).sum(), exact.sum()
    total, of = group.sum(np.array([total, of], np.float64)).tolist()
    return float(total / of)
