"""Clicks on a device, by conjugate gradients: nothing is searched for there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from dmc._group import Share
from dmc._keeper import Keeper, Snapshot
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.pattern import plain
from dmc.recommend.all_pairs import AllPairs, Descent
from dmc.recommend.implicit_search import settings_for
from dmc.recommend.preferences import Preferences
from dmc.solver import initial, steps
from dmc.solver.callbacks import History
from dmc.solver.dealt import DealtLeastSquares
from dmc.solver.descent import Standing
from dmc.solver.loop import Callback, Run, solve_phase

NAME = "sweep"


@dataclass(frozen=True)
class ImplicitTuning:
    """When the fit to all counts has arrived; what is tried before it is tuned in `implicit_search`.

    What they were chosen on was not noted; `bench/tune.py` judges the first two on synthetic clicks and on the data of
    `implicit_search.SearchTuning`.

    Attributes
    ----------
    max_sweeps : int
        Of the last fit.
    tol : float
        Share of the value that the last sweep takes off: with so little lists no longer change for better or worse.
    device_rank : int
        Width of the factors on a device, where nothing is searched for.
    device_products : int
        Passes over the entries of a half-sweep there.
    device_max_steps : int
        Sweeps there, at most.
    device_tol : float
        Of the gradient there, over the largest.
    research_ratio : float
        Times as many counts as settings were found with ask for others.
    """

    max_sweeps: int = 30
    tol: float = 1e-3
    device_rank: int = 64
    device_products: int = 1
    device_max_steps: int = 15
    device_tol: float = 1e-4
    research_ratio: float = 2.0


def fit(
    counts: Observations,
    rank: int,
    rng: np.random.Generator,
    callbacks: Sequence[Callback],
    device: str,
    start: Preferences | None,
    share: Share,
    keeper: Keeper,
    tuning: ImplicitTuning,
) -> Preferences:
    """Least squares over all pairs, by a few conjugate gradients for users and items in turn."""
    group = share.group
    settings = settings_for(counts.shape, counts.values, group=group) if start is None else start.settings
    pairs = AllPairs.of(counts.pattern, counts.values, settings, group)
    weights, pulls = settings.terms(counts.values)
    chosen = counts.with_values(pulls / weights)
    problem = DealtLeastSquares(
        chosen, group, weights, pairs.ridges, unobserved_weight=settings.unobserved, device=device
    )
    if start is None:
        found = (
            initial.dealt_spectral(chosen, rank, rng, share) if share.hashed else initial.spectral(chosen, rank, rng)
        )
        n_pairs = group.sum(counts.shape[0]) * counts.shape[1]
        begin = found.scaled(group.sum(counts.n_observed) / n_pairs)
    else:
        begin = Descent.beginning(pairs, start.factors, start.factors.width, rng).factors().map(plain)
    course, kept = History(), keeper.found(NAME)
    if kept is not None:
        course.records = kept.numbers["looks"]
    with Run([course, *callbacks], group) as run:
        solution = solve_phase(
            run,
            problem,
            begin,
            steps.AlternatingLeastSquares(tuning.device_products),
            max_steps=tuning.device_max_steps,
            tol=tuning.device_tol,
            check_every=1,
            standing=None if kept is None else _standing(kept, run, device),
            keep=partial(_keep, keeper, run, course) if keeper.keeps else None,
        )
    n_searched = int(group.sum(counts.n_observed)) if start is None else start.n_searched
    looks = [look for look in course.records if look["n_steps"]]  # the first is of the start
    errors = [look["value"] for look in looks]
    history = [{"phase": "fit", "n_steps": look["n_steps"], "value": look["value"]} for look in looks]
    ending = history, run.n_steps, run.stopped_by
    assert run.status is not None
    return Preferences(solution.factors, counts, errors, run.status, settings, [], n_searched, *ending)


def _keep(keeper: Keeper, run: Run, course: History, at: Standing) -> None:
    if not keeper.due:
        return
    factors = at.factors.to(None)
    numbers = {"n_steps": at.n_steps, "scales": at.scales, "seconds": run.elapsed}
    numbers |= {"looks": course.records}
    keeper.keep(NAME, Snapshot(numbers, {"V": np.asarray(factors.V)}, {"U": np.asarray(factors.U)}))


def _standing(kept: Snapshot, run: Run, device: str) -> Standing:
    run.go_on(kept.numbers["n_steps"], kept.numbers["seconds"])
    factors = Factors(kept.of_rows["U"], (), kept.arrays["V"]).to(device)
    return Standing(run.n_steps, factors, None, kept.numbers["scales"])
