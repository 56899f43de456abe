"""Training one contender: the set-up is timed, looks at test entries are not."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from dmc import _arrays, kernels
from dmc.comparison.costs import NetworkSize, refusal
from dmc.comparison.outcome import Contender
from dmc.comparison.trial_data import TrialData, rms
from dmc.completion.estimator import MatrixCompletion
from dmc.factors import Factors
from dmc.solver import initial
from dmc.solver.callbacks import Progress, TimeLimit
from dmc.solver.loop import Callback, solve
from dmc.solver.solution import Solution, Status, StepInfo
from dmc.solver.steps import Backtracking, DiscrepantDescent

RATE = 0.2  # over the observed share: a tenth of the limit of stability at a solution of spectral norm 1
LOOK_EVERY = 10  # steps
SLOW = 1.0  # seconds of a step from which on it is looked at after each


@dataclass(frozen=True)
class Limits:
    """The limits of a contender.

    Attributes
    ----------
    max_steps : int
        As in `dmc.solve`.
    tol : float
        As in `dmc.solve`.
    time_limit : float
        Seconds for each contender.
    """

    max_steps: int
    tol: float
    time_limit: float


@dataclass(frozen=True)
class Settings:
    """The settings of the networks.

    Attributes
    ----------
    rank : int
        Upper bound r̂ of the rank.
    depth : int
        Number of cores of the compressed network, and of layers of the full-width and narrow ones.
    scale : float
        Scale ε of the starts.
    seed : int
        Of the starts.
    """

    rank: int
    depth: int
    scale: float
    seed: int


class Clock:
    """Seconds since it was made, without excluded spans."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._left_out = 0.0

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began - self._left_out

    @contextmanager
    def stopped(self) -> Iterator[None]:
        since = time.perf_counter()
        try:
            yield
        finally:
            self._left_out += time.perf_counter() - since


@dataclass(frozen=True)
class Network:
    """A kind of network: its size, and its start."""

    name: str
    size: NetworkSize
    start: Callable[[], Factors]


def networks(data: TrialData, settings: Settings) -> dict[str, Network]:
    """The networks by name; none is made yet."""
    observed = data.problem.observations
    (m, n), rank, depth, scale, seed = observed.shape, settings.rank, settings.depth, settings.scale, settings.seed
    width, hidden = min(2 * rank, m, n), max(m, n)

    def size(width: int, n_cores: int) -> NetworkSize:
        return NetworkSize(m, n, width, n_cores, observed.n_observed)

    found = (
        Network("compressed", size(width, depth), lambda: initial.compressed(observed, rank, depth, scale, seed)),
        Network(
            "full width",
            size(hidden, depth - 2),
            lambda: initial.orthogonal((m, n), depth, scale, seed, _arrays.numpy_dtype(observed.dtype)),
        ),
        Network(
            "narrow",
            size(width, depth - 2),
            lambda: initial.narrow((m, n), width, depth, scale, seed, _arrays.numpy_dtype(observed.dtype)),
        ),
        Network("two-factor", size(rank, 0), lambda: initial.spectral(observed, rank, seed)),
    )
    return {network.name: network for network in found}


def train(network: Network, data: TrialData, limits: Limits, speed: float, verbose: bool) -> Contender:
    """Train a network until it has converged, or a limit is reached; Ctrl-C keeps what was measured."""
    why_not = refusal(network.name, network.size, speed, limits.max_steps, limits.time_limit)
    if why_not:
        return Contender(network.name, network.size.n_parameters, refusal=why_not)
    clock = Clock()
    course: list[tuple[float, float, float]] = []

    def watch(info: StepInfo) -> bool:
        if info.status is None:
            seconds = clock.seconds
            with clock.stopped():
                course.append((info.n_steps, seconds, data.error(info.factors)))
        return clock.seconds >= limits.time_limit

    watch.name = "time limit"  # type: ignore[attr-defined]
    callbacks: list[Callback] = [watch, *([Progress(network.name)] if verbose else [])]
    try:
        solution = _solved(
            data.problem,
            network.start(),
            Backtracking(DiscrepantDescent(RATE / data.problem.curvature)),
            max_steps=limits.max_steps,
            tol=limits.tol,
            callbacks=callbacks,
            check_every=1 if network.size.step_operations / speed > SLOW else LOOK_EVERY,
        )
    except KeyboardInterrupt:  # in the set-up; in the loop it is an ending
        return Contender(
            network.name,
            network.size.n_parameters,
            seconds=clock.seconds,
            status=Status.STOPPED,
            max_steps=limits.max_steps,
            stopped_by="interrupt",
        )
    return Contender(
        network.name,
        network.size.n_parameters,
        solution.n_steps,
        clock.seconds,
        np.asarray(course, dtype=np.float64).reshape(-1, 3),
        solution.status,
        limits.max_steps,
        solution.stopped_by,
        plateau_steps=solution.plateau_steps,
    )


def _solved(*arguments: Any, **settings: Any) -> Solution:
    """Run `solve` without its warning about the plateau: the row of the table says so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "after .* the solution is still")
        return solve(*arguments, **settings)


def complete(data: TrialData, rank: int | None, seed: int, time_limit: float, verbose: bool) -> Contender:
    """Fit `MatrixCompletion` to the same entries in their original units, with the weights of the networks' problem.

    Its warnings are passed on.
    """
    clock, limit = Clock(), TimeLimit(time_limit)
    reached: list[bool] = []

    def watch(info: StepInfo) -> bool:
        reached.append(limit(info))
        return reached[-1]

    weights = data.problem.weights
    model = MatrixCompletion(rank, random_state=seed, verbose=verbose, callbacks=[watch])
    name = "MatrixCompletion"
    try:
        model.fit(data.train, weights=None if weights is None else _arrays.place(weights.by_row, None))
    except KeyboardInterrupt:
        return Contender(name, 0, seconds=clock.seconds, status=Status.STOPPED, stopped_by="interrupt")
    except FloatingPointError:
        return Contender(name, 0, seconds=clock.seconds, status=Status.NONFINITE)
    seconds = clock.seconds
    predicted = _arrays.place(model.predict(data.test.rows, data.test.cols), None)
    error = rms(predicted - data.test.values)
    stopped_by = None
    if model.status_ is Status.STOPPED:
        stopped_by = "time limit" if any(reached) else "interrupt"
    return Contender(
        name,
        model.factors_.n_parameters,
        model.n_iter_,
        seconds,
        np.array([[float(model.n_iter_), seconds, error]]),
        model.status_,
        stopped_by=stopped_by,
    )


def prepare(data: TrialData) -> None:
    """Prepare once what all contenders share: both orders of the entries, and the compiled kernel."""
    m, n = data.problem.observations.shape
    like = data.problem.observations.values
    tiny = Factors(np.zeros((m, 1)), (np.zeros((1, 1)),), np.zeros((n, 1)))
    data.problem.value_and_grad(tiny.to(_arrays.of(like)))
    kernels.chosen()
