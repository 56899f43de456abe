"""How the rank is found and the answer made exact: paths down a penalty, a finish without it, held-out judgement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from dmc import _arrays
from dmc.completion import tuning
from dmc.completion.exactness import Exactness, left
from dmc.completion.phases import Phase, Phases
from dmc.completion.results import rms, submatrix
from dmc.completion.stopping import Patience, Settled
from dmc.factors import Array, Factors
from dmc.observations import Observations
from dmc.pattern import COLUMNS, ROWS
from dmc.solver import initial, steps
from dmc.solver.callbacks import EarlyStopping, Lowest, Stagnation
from dmc.solver.loop import Callback, solve_phase
from dmc.solver.problem import MaskedLeastSquares
from dmc.solver.rank_path import FIRST_LEVEL, RankPath
from dmc.solver.row_solve import towards_prior

POLISH = steps.Backtracking(steps.GaussNewton())


class Trained(NamedTuple):
    """A model of the training entries that held-out ones judge, and how it is made again from all entries."""

    kind: str
    factors: Factors
    error: float  # root mean square over the held-out entries
    matched: bool  # whether it matches the training entries to rounding
    finish: Callable[[], Phase]


class RankSearch:
    """The search of one matrix for its rank: what it is fitted to and how it is judged.

    Parameters
    ----------
    observations : Observations
        Of about unit size.
    bound : int
        Width at most.
    depth : int
        Of the network whose penalty the path pays.
    rng : numpy.random.Generator
    phases : Phases
    weights : (observed,) array, optional
        Of the entries.
    intercept : bool
        Whether each column has a bias of its own, which is fitted and not penalised.
    rounding : (columns,) array, optional
        Size of the rounding of the entries, where it is more than that of their own size: of data that were shifted.
    """

    def __init__(
        self,
        observations: Observations,
        bound: int,
        depth: int,
        rng: np.random.Generator,
        phases: Phases,
        weights: Array | None = None,
        intercept: bool = False,
        rounding: Array | None = None,
    ) -> None:
        self.observations: Observations = observations
        self.depth: int = depth
        self.rng: np.random.Generator = rng
        self.phases: Phases = phases
        self.intercept: bool = intercept
        self.weights: Array | None = weights
        self._rounding = rounding
        # One problem, for its order of the data and its norm are computed once.
        self.problem: MaskedLeastSquares = MaskedLeastSquares(observations, weights)
        self.exactness: Exactness = Exactness(self.problem, intercept, rounding, rng)
        self.size: float = self.exactness.size
        # Directions may join on the path that leave again: there it may pass the bound, and what entries can tell.
        # Beyond a wide bound they cost more than they find.
        widest = max(bound, min(bound + tuning.RANK_SEARCH.beyond_bound, tuning.WARNINGS.default_bound))
        ranks = range(1, min(widest, *self.exactness.filled) + 1)
        least = tuning.RANK_SEARCH.min_oversampling
        self.carried: int = max((r for r in ranks if self.exactness.oversampling(r) >= least), default=1)
        self.bound: int = min(bound, 2 * self.carried, *observations.shape)
        self.room: int = min(2 * self.carried + tuning.RANK_SEARCH.further_room, widest, *observations.shape)
        # Whether a path has ended because nothing but noise is left, or because the entries cannot decide on as many
        # directions as it had before they were cut off.
        self.noise: bool = False
        self.lost: bool = False

    def within(self, rows: NDArray[np.bool_], cols: NDArray[np.bool_], weights: Array | None = None) -> RankSearch:
        """The search of some rows and columns, with weights of all entries."""
        host = self.observations.to(None)
        part, entries = submatrix(host, rows, cols)
        weights = self.weights if weights is None else weights
        of_part = None if weights is None else weights[entries]
        rounding = None if self._rounding is None else self._rounding[cols]
        return RankSearch(
            part.to(self.observations.device),
            self.bound,
            self.depth,
            self.rng,
            self.phases,
            of_part,
            self.intercept,
            rounding,
        )

    def start(self, observations: Observations) -> Factors:
        """The leading direction, as large as the first level of the path leaves it."""
        start = initial.spectral(observations, 1).scaled(1 - FIRST_LEVEL)
        return replace(start, column_bias=0 * start.V[:, 0]) if self.intercept else start

    def explore(self, decay: float, patience: float = 1.0, room: int | None = None) -> Phase:
        """Down the path on all entries, with a finish wherever the rank has settled, until they are matched exactly,
        nothing but noise is left, or the model has more freedom than the entries can decide.

        Parameters
        ----------
        decay : float
            Of the path's level.
        patience : float
            Of `Settled`.
        room : int, optional
            Width on the path at most, if not that of the search.
        """
        room = self.room if room is None else room
        zero = 0.5 * self.observations.n_observed * self.size**2
        problem, level = self.problem, FIRST_LEVEL
        model = self.start(self.observations)
        for _ in range(tuning.RANK_SEARCH.rounds):
            settled = Settled(room, zero, decay, patience)
            step = RankPath(room, self.depth, level, decay, self.rng)
            reached = self.solve("path", problem, settled, model, step, tuning.RANK_SEARCH.path_steps)
            if reached.ended or settled.stuck or reached.factors.width > self.carried:
                self.lost = not reached.ended
                return self._within_bound(reached)
            reached = self.polish(problem, reached.factors)
            model = reached.factors
            if reached.ended or self.exactness.matched(model) or model.width >= room:
                break
            residual = self.exactness.left(model)
            self.noise = self.exactness.is_noise(residual)
            if self.noise:
                break
            level = residual.spectral_norm() / (problem.curvature * problem.target_norm)
        if not reached.ended and self.exactness.matched(reached.factors):
            reached = self.trim(reached)
        return self._within_bound(reached)

    def _within_bound(self, reached: Phase) -> Phase:
        model = reached.factors
        return replace(reached, factors=model.truncate(self.bound)) if model.width > self.bound else reached

    def trim(self, reached: Phase) -> Phase:
        """An exact model without directions that only fill in where few entries check them, if it is exact without."""
        model = reached.factors
        rank = _gap(model.singular_values(), tuning.RANK_SEARCH.exact_gap)
        if rank == model.width:
            return reached
        trimmed = replace(reached, factors=model.truncate(rank))
        if not self.exactness.matched(trimmed.factors):
            trimmed = self.polish(self.problem, trimmed.factors)
        return trimmed if self.exactness.matched(trimmed.factors) else reached

    def polish(
        self, problem: MaskedLeastSquares, start: Factors, judge: Callable[[Factors], float] | None = None
    ) -> Phase:
        """Steps without the penalty."""
        return self.solve(
            "polish", problem, Stagnation(8, 1e-2), start, POLISH, tuning.RANK_SEARCH.polish_steps, judge=judge
        )

    def candidates(self, explored: Phase, train: Observations, held_out: Observations) -> list[Trained]:
        """Models of part of the entries: the best of a path, with as many steps without its penalty as do good; its
        directions before the gap, and the model that was explored, both without penalty."""
        problem = MaskedLeastSquares(train, _of_train(self.weights, self.observations, train))
        start, path = self.start(train), Patience(held_out)
        step = RankPath(self.bound, self.depth, FIRST_LEVEL, tuning.RANK_SEARCH.path_decay, self.rng)
        trained = self.solve("path", problem, path, start, step, tuning.RANK_SEARCH.path_steps)
        if path.best is None:
            model = explored.factors
            return [Trained("explored", model, path.error(model), False, lambda: explored)]
        if trained.ended:
            best = replace(trained, factors=path.best)
            return [Trained("penalised", path.best, path.best_error, False, lambda: best)]
        polish = EarlyStopping(held_out, patience=8, min_change=1e-3)
        self.solve("polish", problem, polish, path.best, POLISH, tuning.RANK_SEARCH.polish_steps)
        found = self._plain_candidates(explored.factors, problem, path)
        better = path.best if path.best_error <= polish.best_error else polish.best
        assert better is not None
        error = min(path.best_error, polish.best_error)
        finish = partial(self._finish_penalised, start, step, path, polish.best_step)
        return [*found, Trained("penalised", self.steady(better, error, problem), error, False, finish)]

    def _plain_candidates(self, explored: Factors, problem: MaskedLeastSquares, path: EarlyStopping) -> list[Trained]:
        assert path.best is not None
        starts = {"cut": path.best.truncate(_gap(path.best.singular_values()))}
        # Else its start would know the held-out entries.
        ample = self.exactness.oversampling(explored.width) > tuning.RANK_SEARCH.ample_oversampling
        if ample and not self.exactness.apart(explored):
            starts["explored"] = explored
        found = []
        for kind, begin in starts.items():
            if not self.phases.ended and begin.width <= self.carried:
                plain = self.polish(problem, begin, path.error)
                model, error = plain.factors, plain.held_out_error
                assert error is not None
                matched = self.exactness.to_rounding(left(problem, model))
                finish = partial(self._finish_plain, model)
                found.append(Trained(kind, self.steady(model, error, problem), error, matched, finish))
        return found

    def _finish_plain(self, found: Factors) -> Phase:
        return self._final(Stagnation(8, 1e-6), found, POLISH, tuning.RANK_SEARCH.polish_steps)

    def _finish_penalised(self, start: Factors, step: RankPath, path: EarlyStopping, polished: int) -> Phase:
        reached = self._final(Lowest(), start, step, path.best_step)
        if polished > 0 and not reached.ended:
            reached = self._final(Lowest(), reached.factors, POLISH, polished)
        assert path.best is not None
        return replace(reached, factors=path.best) if reached.ended else reached

    def _final(self, watch: Callback, start: Factors, step: steps.Step, n_steps: int) -> Phase:
        """A phase on all entries that was judged on some: as far as was best then."""
        return self.solve("final", self.problem, watch, start, step, n_steps, planned=True)

    def steady(self, model: Factors, error: float, problem: MaskedLeastSquares | None = None) -> Factors:
        """The model with every row and column fitted again, with the others as the prior: one with few entries stays
        near them in place of following its own noise.

        The rows have a Gaussian prior, with the mean and the covariance of the rows weighted by their entries, and the
        entries noise of the size of the held-out error; then the columns the same, given the rows.
        """
        if error == 0 or model.width**2 * sum(model.shape) > tuning.RANK_SEARCH.max_gram_numbers:
            return model
        problem = problem or self.problem
        pattern = problem.observations.pattern
        k, bias = model.width, model.column_bias
        _, grad = problem.value_and_grad(model)
        grams = problem.grams(ROWS, model.V)
        model = replace(model, U=towards_prior(model.U, grams, grad.U, pattern.row_counts, error))
        _, grad = problem.value_and_grad(model)
        xp = array_namespace(model.V)
        columns, slopes = model.V, grad.V
        if bias is not None:
            assert grad.column_bias is not None
            columns = xp.concat([columns, bias[:, None]], axis=1)
            slopes = xp.concat([slopes, grad.column_bias[:, None]], axis=1)
        columns = towards_prior(columns, problem.grams(COLUMNS, model.left), slopes, pattern.column_counts, error, k)
        return replace(model, V=columns[:, :k], column_bias=None if bias is None else columns[:, k])

    def solve(
        self,
        name: str,
        problem: MaskedLeastSquares,
        watch: Callback,
        start: Factors,
        step: steps.Step,
        max_steps: int,
        *,
        planned: bool = False,
        judge: Callable[[Factors], float] | None = None,
    ) -> Phase:
        """One phase, looked at every step.

        Parameters
        ----------
        watch : callable
            A callback that ends the phase, as converged.
        planned : bool
            Whether `max_steps` is what it is to take, and no bound.
        judge : callable, optional
            The held-out error of its result; left out: the best that `watch` has seen, if that is an `EarlyStopping`.
        """
        found = solve_phase(
            self.phases.run,
            problem,
            start,
            step,
            max_steps=max_steps,
            tol=1e-14,
            check_every=1,
            planned=planned,
            watches=[watch],
        )
        zero = 0.5 * problem.observations.n_observed * rms(problem.observations.values) ** 2
        value = found.value / max(zero, np.finfo(float).tiny)
        error = watch.best_error if isinstance(watch, EarlyStopping) else None
        error = error if judge is None else judge(found.factors)
        return self.phases.add(Phase(name, found.factors, found.status, found.n_steps, value, error))


def hold_out(observations: Observations, fraction: float, rng: np.random.Generator, parts: int) -> Observations | None:
    """One of some parts of the entries that are held out in turn, each at most 10,000; None where all of them together
    are too few to tell anything."""
    # Of small tables a larger share, but for such as hang together by hardly more than a thread.
    if fraction > 0 and observations.n_observed >= tuning.RANK_SEARCH.min_spare_entries * sum(observations.shape):
        fraction = max(
            fraction,
            min(
                tuning.RANK_SEARCH.min_held_out / (parts * observations.n_observed),
                tuning.RANK_SEARCH.max_held_out_share,
            ),
        )
    fraction = min(fraction, tuning.RANK_SEARCH.max_held_out / observations.n_observed)
    if round(fraction * observations.n_observed * parts) < tuning.RANK_SEARCH.min_held_out:
        return None
    try:
        held_out = observations.split(fraction, rng)[1]
    except ValueError:  # every entry is the only one of its row or column
        return None
    return held_out if 2 * held_out.n_observed * parts >= tuning.RANK_SEARCH.min_held_out else None


def _of_train(weights: Array | None, whole: Observations, train: Observations) -> Array | None:
    if weights is None:
        return None
    where = whole.to(None).locate(*(_arrays.place(a, None) for a in (train.rows, train.cols)))
    return weights[where]


def _gap(s: Array, least: float | None = None) -> int:
    """How many singular values (descending) stand before the largest ratio of neighbours; all, if none is as large."""
    least = tuning.RANK_SEARCH.singular_value_gap if least is None else least
    s = _arrays.place(s, None)
    ratios = s[:-1] / np.maximum(s[1:], s[0] * np.finfo(s.dtype).eps)
    return int(np.argmax(ratios)) + 1 if ratios.max(initial=0) > least else len(s)
