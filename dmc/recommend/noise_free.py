"""Ratings without noise: what the Bayesian fit reaches in float32 is finished in float64, to the data's rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dmc.factors import Factors
from dmc.kernels import posterior
from dmc.observations import Observations
from dmc.recommend.bayesian_model import MAX_PRECISION, VariationalFactorization, factors_of
from dmc.recommend.factor_posterior import FactorPosterior
from dmc.solver import row_solve, steps
from dmc.solver.loop import Callback, solve
from dmc.solver.problem import MaskedLeastSquares
from dmc.solver.solution import Status


@dataclass(frozen=True)
class NoiseFreeTuning:
    """When ratings count as free of noise.

    What they were chosen on was not noted; `bench/tune.py` judges them on planted ratings without noise.

    Attributes
    ----------
    max_steps : int
        Of Gauss–Newton: it settles within a few, or not at all.
    match_tol : float
        Error of a match, in units of the ratings' spread, beside the rounding of the ratings themselves.
    min_oversampling : float
        Entries for each degree of freedom: with fewer a match may be an accident.
    min_variance_share : float
        Of the variances of a row's unknowns, over their sum: one below is no unknown.
    min_information : float
        Of what a typical row knows of its worst known direction: below, what rows have in common counts.
    """

    max_steps: int = 50
    match_tol: float = 1e-5
    min_oversampling: float = 1.2
    min_variance_share: float = 1e-4
    min_information: float = 0.05


TUNING = NoiseFreeTuning()


def finish(
    model: VariationalFactorization, observations: Observations, callbacks: Sequence[Callback] = ()
) -> VariationalFactorization:
    """The model by Gauss–Newton on all entries, if these show no noise and are matched by it; else as it is.

    Parameters
    ----------
    model : VariationalFactorization
        Where the fit ended.
    observations : Observations
        What it was fitted to.
    callbacks : sequence of callables
        As of `dmc.solve`; one that returns true ends it.
    """
    (m, n), width = observations.shape, model.rank + 1  # the rows' biases are one more direction
    freedom = width * (m + n - width) + n
    described = any(side.attributes.shape[1] for side in (model.rows, model.columns))
    clean = model.precision >= MAX_PRECISION and model.status is Status.CONVERGED
    if not clean or described or width > min(m, n) or observations.n_observed < TUNING.min_oversampling * freedom:
        return model
    values = np.asarray(observations.values).astype(np.float64) - model.mean
    f = model.factors.map(lambda a: a.astype(np.float64))
    assert f.row_bias is not None
    U = np.column_stack([f.U, f.row_bias])
    V = np.column_stack([f.V, np.ones(n)])
    start = replace(Factors(U, (), V).truncate(width), column_bias=f.column_bias)
    rule = steps.Backtracking(steps.GaussNewton())
    problem = MaskedLeastSquares(replace(observations, values=values, weights=None))  # exact ones all count
    solution = solve(problem, start, rule, max_steps=TUNING.max_steps, tol=1e-14, callbacks=callbacks, check_every=1)
    if solution.stopped_by == "interrupt":
        model = replace(model, status=Status.STOPPED, stopped_by="interrupt")
    error = (2 * solution.value / observations.n_observed) ** 0.5
    rounding = float(np.finfo(np.float32).eps * np.abs(observations.values).max())
    if not error <= TUNING.match_tol * model.unit + rounding:
        return model
    found = replace(solution.factors, row_bias=np.zeros(m)).map(lambda a: a.astype(np.float32))
    exact = VariationalFactorization.of(found, observations, model.mean, error)
    for side, other in ((exact.columns, exact.rows), (exact.rows, exact.columns)):
        side.fold_in(_unsure(side, other), other, exact.precision)
    factors = factors_of(exact.rows, exact.columns, exact.unit)
    exact = replace(exact, factors=factors, rank=model.rank, errors=[*model.errors, error])
    return replace(exact, status=model.status, stopped_by=model.stopped_by)


def _unsure(side: FactorPosterior, other: FactorPosterior) -> NDArray[np.bool_]:
    """(rows,) whose entries leave a direction open: few ones, or ones that are all alike."""
    x = np.column_stack([other.means[:, :-1], np.ones(len(other.means))]).astype(np.float64)
    entries = posterior.entries_of(side.index, len(x))
    sums = posterior.line_sums(entries, row_solve.seconds(x).astype(np.float32), side.entry_weights)
    # The rows' biases are among the factors.
    free = np.diagonal(side.covariance) > TUNING.min_variance_share * np.trace(side.covariance)
    root = np.linalg.cholesky(side.covariance[np.ix_(free, free)])
    grams = row_solve.unpacked(sums.astype(np.float64), x.shape[1])[:, free][:, :, free]
    known = np.linalg.eigvalsh(root.T @ grams @ root)[:, 0]
    return np.asarray(known < TUNING.min_information * np.median(known))
