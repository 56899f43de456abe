"""Clicks, plays and purchases: what was not chosen counts a little against it, what was chosen often counts for it,
and what was disliked against it as much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.factors import Array, Factors
from dmc.observations import Observations
from dmc.pattern import SparseIndex, plain
from dmc.recommend import implicit_cold_start, implicit_search
from dmc.recommend.all_pairs import BLOCK, AllPairs, Descent, Settings, entries, half_sweep, line_sums
from dmc.recommend.implicit_cold_start import Flags
from dmc.recommend.implicit_search import Search, settings_for
from dmc.recommend.side_information import Described, SideInformation, extended, to_place
from dmc.solver import initial, steps
from dmc.solver.callbacks import History
from dmc.solver.loop import Callback, Run, solve
from dmc.solver.problem import MaskedLeastSquares
from dmc.solver.solution import Record, Status

FIRST_SETTINGS = Settings(0.2, 0.4, 0.5)  # of files of versions that kept none

SIDES = ("rows", "columns")
NONE = SideInformation()

Float = NDArray[np.float32]


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
    fold_in_passes, fold_in_tol : int, float
        Of a row that is placed alone: as `passes` and `tol` of `all_pairs.half_sweep`.
    research_ratio : float
        Times as many counts as settings were found with ask for others.
    """

    max_sweeps: int = 30
    tol: float = 1e-3
    device_rank: int = 64
    device_products: int = 1
    device_max_steps: int = 15
    device_tol: float = 1e-4
    fold_in_passes: int = 30
    fold_in_tol: float = 1e-6
    research_ratio: float = 2.0


TUNING = ImplicitTuning()


@dataclass(frozen=True, eq=False)
class Preferences:
    """A fitted model of who prefers what: about 1 for what is chosen, about 0 for what is not.

    Attributes
    ----------
    factors : Factors
        Two-factor, float32.
    counts : Observations
        What was fitted; below 0: dislikes.
    errors : list of float
        The value after each step of the last fit, to all counts.
    status : Status
    settings : Settings
        With which it was fitted, and others are folded in.
    searched : list of dict
        How the settings were found, a fit to nine tenths of the counts each: its "rank" and "ridge", the "ndcg" of the
        tenth that was held out, and the "noise" (standard error) of the difference between that and the best before;
        with "phase" and "n_steps" as in `history`.
    n_searched : int
        Of how many counts that was.
    history : list of dict
        What was measured, in its order: "phase" ("search", or "fit" to all counts), "n_steps" and "value" after each
        step, and among them what was searched.
    n_iter : int
        Steps of all phases.
    stopped_by : str or None
        With STOPPED: the callback that asked for it, or "interrupt" for Ctrl-C.
    attributes : SideInformation
        Of rows and columns: those without counts are placed by them.
    cold : pair of (rows,) and (columns,) bool, optional
        Which ones no counts have placed: where others are placed, nothing is said of them. None: those without counts.
    """

    factors: Factors
    counts: Observations
    errors: list[float]
    status: Status
    settings: Settings = FIRST_SETTINGS
    searched: list[Record] = field(default_factory=list)
    n_searched: int = 0
    history: list[Record] = field(default_factory=list)
    n_iter: int = 0
    stopped_by: str | None = None
    attributes: SideInformation = NONE
    cold: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None
    mean = 0.0
    noise = validation_rmse = float("nan")

    @property
    def rank(self) -> int:
        """Directions whose share is above a thousandth of the largest one's."""
        grams = (side.T @ side for side in (self.factors.U, self.factors.V))  # quicker than singular values
        of_rows, of_columns = (gram.astype(np.float64) for gram in grams)
        values, vectors = np.linalg.eigh(of_rows)
        root = vectors * np.sqrt(np.maximum(values, 0))
        squares = np.linalg.eigvalsh(root.T @ of_columns @ root)
        return int((squares > 1e-6 * squares[-1]).sum()) if squares[-1] > 0 else 0

    def served(self) -> Factors:
        """The factors, each side with one row more for those who are not known: the average user, and no item.

        Users of whom nothing is known are average too: without a count, or with counts of unknown items alone.
        """
        U, V, known = self.factors.U, self.factors.V, self.known[:, None]
        U, V = np.vstack([np.where(known, U, self._average), self._average]), np.vstack([V, np.zeros_like(V[:1])])
        return Factors(U, (), V, *(np.zeros(len(side), np.float32) for side in (U, V)))

    @cached_property
    def warm(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(rows,) and (columns,) those that are not `cold`."""
        if self.cold is not None:
            return ~self.cold[0], ~self.cold[1]
        return self.counts.pattern.row_counts > 0, self.counts.pattern.column_counts > 0

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """(rows,) users with factors of their own: not those without counts and attributes, or with counts of unplaced
        items alone."""
        return np.asarray(self.factors.U.any(axis=1))

    @cached_property
    def _average(self) -> Float:
        """(k,) of the average user who has counts."""
        among = self.known & (self.counts.pattern.row_counts > 0)
        return self.factors.U[among].sum(axis=0) / np.float32(max(among.sum(), 1))

    def with_cold_starts(self, rows: Flags = None, columns: Flags = None) -> Preferences:
        """With rows and columns without counts, and columns with few, placed by their attributes: all, or those
        flagged."""
        factors = implicit_cold_start.placed(self.factors, self.counts, self.attributes, (rows, columns))
        return replace(self, factors=factors)

    def extended(
        self,
        observations: Observations,
        row_of: NDArray[np.int64],
        column_of: NDArray[np.int64],
        changed: NDArray[np.bool_],
        described: tuple[Described | None, Described | None] = (None, None),
    ) -> Preferences:
        """With more counts, users and items, none of the others fitted again: `VariationalFactorization.extended`."""
        counts = observations.pattern.both_orders(observations.values)
        U, V = (
            np.where(old[:, None] >= 0, factor[old], np.float32(0))
            for factor, old in ((self.factors.U, row_of), (self.factors.V, column_of))
        )
        filled = observations.pattern.row_counts > 0, observations.pattern.column_counts > 0
        warm = tuple(
            has | ((old >= 0) & was[old]) for has, was, old in zip(filled, self.warm, (row_of, column_of), strict=True)
        )
        for side, other, told, index, values, which in (
            (V, U, warm[0], observations.pattern.by_column, counts.by_column, column_of < 0),
            (U, V, warm[1], observations.pattern.by_row, counts.by_row, (row_of < 0) | changed),
        ):
            of_these, places = index.take(which)
            side[which] = self._folded_in(other, told, of_these, values[places])
        news = tuple(zip((row_of, column_of), described, strict=True))
        attributes = SideInformation(
            *(of if of is None else extended(of, *to) for of, to in zip(self.attributes, news, strict=True))
        )
        cold = ~warm[0], ~warm[1]
        grown = replace(self, factors=Factors(U, (), V), counts=observations, attributes=attributes, cold=cold)
        # What stood between its attributes and its counts stays there.
        movable = (to_place(*to) & ((to[0] < 0) | ~has) for to, has in zip(news, filled, strict=True))
        return grown.with_cold_starts(*movable)

    def _folded_in(self, other: Float, warm: NDArray[np.bool_], index: SparseIndex, counts: Float) -> Float:
        """(rows, k) factors of those with such counts, the columns' being known (or the reverse)."""
        weights, pulls = self.settings.terms(counts)
        ridge = self.settings.ridges(line_sums(weights, index), int(warm.sum())).astype(np.float32)
        known = np.pad(other, ((0, 0), (0, -other.shape[1] % BLOCK)))
        known[~warm] = 0
        own = np.zeros((len(ridge), known.shape[1]), np.float32)
        of, predicted = entries(index, len(other)), np.zeros(len(weights), np.float32)
        until = TUNING.fold_in_passes, TUNING.fold_in_tol
        half_sweep(of, weights, pulls, self.settings.unobserved, ridge, known, own, predicted, *until)
        return own[:, : other.shape[1]]

    def vector(self, columns: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
        """(k + 2,) the row of `Factors.left` of a user with these counts alone; without any the average user's."""
        refuse_nothing(values)
        system, known, pulls = self._system(columns, values)
        own = np.linalg.solve(system, known.T @ pulls) if known[pulls > 0].any() else self._average
        return np.concatenate([own, [0.0, 1.0]])

    def contributions(self, row: int, column: int) -> NDArray[np.float64]:
        """(entries,) what each of a row's counts adds to its preference for a column; their sum is the preference."""
        index = self.counts.pattern.by_row
        at = slice(index.indptr[row], index.indptr[row + 1])
        system, known, pulls = self._system(index.indices[at], self.counts.values[at])
        return pulls * (known @ np.linalg.solve(system, self.factors.V[column].astype(np.float64)))

    def _system(
        self, columns: NDArray[Any], counts: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The matrix of one row's least squares problem, the columns' factors in it, and what pulls at them."""
        weights, pulls = (of.astype(np.float64) for of in self.settings.terms(counts))
        known = self.factors.V[columns].astype(np.float64)
        own = known.T @ ((weights - self.settings.unobserved)[:, None] * known)
        ridge = self.settings.ridges(weights.sum(), int(self.warm[1].sum()))
        return self._zeros + own + ridge * np.eye(known.shape[1]), known, pulls

    @cached_property
    def _zeros(self) -> NDArray[np.float64]:
        V = self.factors.V if self.warm[1].all() else self.factors.V[self.warm[1]]
        return self.settings.unobserved * (V.T @ V).astype(np.float64)

    def arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """What `from_arrays` needs besides the counts."""
        found = {**self.settings._asdict(), "searched": self.searched, "n_searched": self.n_searched}
        arrays = {"U": np.asarray(self.factors.U), "V": np.asarray(self.factors.V)}
        for name, attributes, warm in zip(SIDES, self.attributes, self.warm, strict=True):
            if attributes is not None:
                arrays[f"{name}.attributes"] = attributes
            if not warm.all():
                arrays[f"{name}.cold"] = ~warm
        return arrays, found

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, Any], observations: Observations
    ) -> Preferences:
        """The model again."""
        settings = Settings(*(numbers[name] for name in Settings._fields)) if numbers else FIRST_SETTINGS
        factors = Factors(arrays["U"], (), arrays["V"])
        searched = [{"phase": "search"} | trial for trial in numbers.get("searched", [])]  # older files do not say it
        n_searched = numbers.get("n_searched", observations.n_observed)
        attributes = SideInformation(*(arrays.get(f"{name}.attributes") for name in SIDES))
        of_rows, of_columns = (
            np.asarray(arrays.get(f"{name}.cold", np.zeros(len(side), bool)))
            for name, side in zip(SIDES, (factors.U, factors.V), strict=True)
        )
        return cls(
            factors, observations, [], Status.CONVERGED, settings, searched, n_searched, attributes=attributes,
            cold=(of_rows, of_columns)
        )  # fmt: skip


def refuse_nothing(counts: Array) -> None:
    """Raise a ValueError if a count is 0."""
    nothing = int((counts == 0).sum())
    if nothing:
        told = _checks.count(nothing, "count is", "counts are")
        raise ValueError(f"{told} 0; leave out what did not happen (below 0 is a dislike)")


def fit(
    counts: Observations,
    rank: int | None = None,
    seed: int | np.random.Generator = 0,
    callbacks: Sequence[Callback] = (),
    device: str | None = None,
    start: Preferences | None = None,
    side_information: SideInformation = NONE,
) -> Preferences:
    """Weighted least squares over all pairs, chosen ones 1 and all others 0, for users and items in turn.

    How strong the ridge is, and without `rank` how many directions there are, is found by fits to nine tenths of the
    counts: those with which the lists of users rank the held-out tenth best. The last fit is to all.

    Parameters
    ----------
    counts : Observations
        How often each pair occurred, float32; below 0: how surely it is disliked. What counts less than one, such as a
        click of long ago, tells so much less; 0 nothing.
    rank : int, optional
        Width of the factors. Left out: twice as wide again and again, up to 1,024, for as long as that helps; on a
        device 64.
    seed : int or numpy.random.Generator
        Of what is held out, and of the first factors.
    callbacks : sequence of callables
        See `dmc.solve`; called before and after each sweep of all of these fits, the steps being numbered through. One
        that returns true ends them all.
    device : str, optional
        Where to compute, by conjugate gradients; nothing is searched for there.
    start : Preferences, optional
        A model of these counts to begin with. Its settings and rank are kept, unless they were found with less than
        half as many counts: then the fit is anew. Its attributes are kept in any case.
    side_information : SideInformation, optional
        Attributes, by which users and items without counts are placed behind the fit.

    Returns
    -------
    Preferences
        Ctrl-C ends the search or the sweeps as STOPPED, with what was reached (`stopped_by`).

    Raises
    ------
    ValueError
        If no count is above 0.

    References
    ----------
    Y. Hu, Y. Koren, C. Volinsky, "Collaborative filtering for implicit feedback datasets", 2008;
    S. Rendle et al., "Revisiting the performance of iALS on item recommendation benchmarks", 2022 (arXiv 2110.14037).
    """
    most = implicit_search.TUNING.max_rank if rank is None else _checks.integer(rank, "rank", 1)
    if not (counts.values > 0).any():
        raise ValueError("no count is above 0, so that nobody likes anything; give counts of what was chosen")
    attributes = side_information if start is None else start.attributes
    if start is not None and counts.n_observed > TUNING.research_ratio * start.n_searched:
        start = None
    # Who has no counts, but attributes, is not to change what others are: they are as many as anybody describes.
    rows, cols = (np.flatnonzero(of) for of in (counts.pattern.row_counts, counts.pattern.column_counts))
    among = counts if counts.shape == (len(rows), len(cols)) else counts.among(rows, cols)
    if start is not None:
        start = replace(start, factors=Factors(start.factors.U[rows], (), start.factors.V[cols]))
    rng = np.random.default_rng(seed)
    if device is None:
        found = _fit(among, min(most, *among.shape), rank is None, rng, callbacks, start)
    else:
        width = min(rank or TUNING.device_rank, most, *among.shape)
        found = _fit_on_device(among, width, rng, callbacks, device, start)
    if among is not counts:
        U, V = (np.zeros((size, found.factors.width), np.float32) for size in counts.shape)
        U[rows], V[cols] = found.factors.U, found.factors.V
        found = replace(found, factors=Factors(U, (), V))
    return replace(found, counts=counts, attributes=attributes).with_cold_starts()


def _fit(
    counts: Observations,
    most: int,
    any_rank: bool,
    rng: np.random.Generator,
    callbacks: Sequence[Callback],
    start: Preferences | None,
) -> Preferences:
    with Run(callbacks) as run:
        if start is None:
            settings, begin, width, history = _found(run, counts, most, any_rank, rng)
            searched, n_searched = [record for record in history if "ndcg" in record], counts.n_observed
        else:
            settings, begin, history = start.settings, start.factors, list(start.searched)
            width = begin.width if any_rank else max(begin.width, most)
            searched, n_searched = start.searched, start.n_searched
        problem = AllPairs.of(counts.pattern, counts.values, settings)
        last = Descent.beginning(problem, begin, width, rng)
        last.run(run, TUNING.max_sweeps, TUNING.tol)
    assert run.status is not None
    factors, history = last.factors().map(plain), history + last.records("fit", run.n_steps)
    ending = history, run.n_steps, run.stopped_by
    return Preferences(factors, counts, last.values, run.status, settings, searched, n_searched, *ending)


def _found(
    run: Run, counts: Observations, most: int, any_rank: bool, rng: np.random.Generator
) -> tuple[Settings, Factors | None, int, list[Record]]:
    """What held-out counts say: the settings, where to begin, and the rank; and what was measured on the way."""
    search, first_rank = None, min(implicit_search.TUNING.first_rank, most)
    with run.until_interrupted():
        search = Search(counts, rng, run)
        if search.possible:
            search.find_ridge(first_rank)
            if any_rank:
                search.find_rank(most)
    if search is None or search.best is None:
        history = [] if search is None else search.history
        return settings_for(counts.density, counts.values), None, first_rank if any_rank else most, history
    begin = search.best.factors()
    width = begin.width if any_rank else most
    return settings_for(counts.density, counts.values, search.ridge), begin, width, search.history


def _fit_on_device(
    counts: Observations,
    rank: int,
    rng: np.random.Generator,
    callbacks: Sequence[Callback],
    device: str,
    start: Preferences | None,
) -> Preferences:
    settings = settings_for(counts.density, counts.values) if start is None else start.settings
    problem = AllPairs.of(counts.pattern, counts.values, settings)
    weights, pulls = settings.terms(counts.values)
    chosen = counts.with_values(pulls / weights)
    if start is None:
        begin = initial.spectral(chosen, rank, rng).scaled(chosen.density)
    else:
        begin = Descent.beginning(problem, start.factors, start.factors.width, rng).factors().map(plain)
    course = History()
    solution = solve(
        MaskedLeastSquares(chosen, weights, problem.ridges, unobserved_weight=settings.unobserved, device=device),
        begin,
        steps.AlternatingLeastSquares(TUNING.device_products),
        max_steps=TUNING.device_max_steps,
        tol=TUNING.device_tol,
        callbacks=[course, *callbacks],
        check_every=1,
    )
    n_searched = counts.n_observed if start is None else start.n_searched
    looks = course.records[1:]  # the first is of the start
    errors = [look["value"] for look in looks]
    history = [{"phase": "fit", "n_steps": look["n_steps"], "value": look["value"]} for look in looks]
    ending = history, solution.n_steps, solution.stopped_by
    return Preferences(solution.factors, counts, errors, solution.status, settings, [], n_searched, *ending)
