"""Which model a table gets: exact where its entries can be matched, else the one that predicts held-out ones best."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dmc.completion import rank_search, tuning
from dmc.completion.analyses import Analyses
from dmc.completion.exactness import Exactness
from dmc.completion.model import Model
from dmc.completion.phases import Phase, Phases
from dmc.completion.rank_search import RankSearch, Trained
from dmc.completion.restarts import restarted
from dmc.completion.results import Candidate, Fitted, HeldOut, Selected, Settings, rms, transposed
from dmc.completion.scaling import Scaling, Side, gain
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.solver.problem import MaskedLeastSquares

Float = NDArray[np.float64]

NORMAL_90 = 1.6448536269514722  # standard deviations on either side that hold 90 % of a Gaussian
SEARCHED = {"cut", "explored", "penalised"}  # kinds of models that the rank search offers; and with levels


def too_large(factors: Factors) -> bool:
    """Whether the matrices of all rows and columns would not fit."""
    return (factors.width + 1) ** 2 * sum(factors.shape) > tuning.RANK_SEARCH.max_gram_numbers


def named(kind: str, intercept: bool) -> str:
    """A kind of model that the rank search offers."""
    return f"{kind}, with levels" if intercept else kind


def select(
    observations: Observations,
    weights: Float | None,
    settings: Settings,
    side: Side,
    rng: np.random.Generator,
    phases: Phases,
) -> Selected:
    """Fit a matrix whose rows and columns hang together.

    Parameters
    ----------
    observations : Observations
    weights : (observed,) float64 array or None
        Of the entries.
    settings : Settings
    side : {"columns", "rows"}
        The side to be scaled, if any is.
    rng : numpy.random.Generator
    phases : Phases
    """
    host = observations.to(None)
    if side == "columns":
        return _Selection(observations, weights, settings, gain(host, side), rng, phases).run()
    if weights is not None:
        weights = np.asarray(host.pattern.both_orders(weights).by_column)
    found = _Selection(transposed(observations), weights, settings, gain(host, side), rng, phases).run()
    return _turned(found, host)


def _turned(found: Selected, host: Observations) -> Selected:
    """What was selected for the transposed matrix."""
    model, factors = found.model, found.model.factors
    weights = model.weights
    if weights is not None:
        weights = np.asarray(host.pattern.transposed.both_orders(weights).by_column)
    turned = Factors(factors.V, (), factors.U, factors.column_bias)
    scaled = model.scaling.side == "columns"
    scaling = Scaling.of(host, "none")
    noise = np.full(host.shape[1], math.sqrt(float(np.mean(model.noise**2))))
    if scaled:
        own = model.scaling
        scaling, noise = Scaling("rows", own.location, own.spread, own.constant), model.noise
    calibration, model = model.calibration, Model.of(turned, scaling, noise, host, weights)
    model = replace(model, calibration=calibration)
    return replace(found, model=model, ranks=found.ranks[::-1], held_out=found.held_out.transposed())


@dataclass(frozen=True)
class _Judgement:
    """Candidates of each kind, one for each part that was held out so far, and by how much they missed its entries."""

    held: list[Observations]
    candidates: dict[str, list[Candidate]]
    missed: dict[str, list[Float]]


class _Selection:
    """One matrix, turned so that it is its columns that may have units of their own."""

    def __init__(
        self,
        observations: Observations,
        weights: Float | None,
        settings: Settings,
        gained: float,
        rng: np.random.Generator,
        phases: Phases,
    ) -> None:
        self.observations, self.weights, self.host = observations, weights, observations.to(None)
        self.settings, self.rng, self.phases = settings, rng, phases
        m, n = observations.shape
        scale, scaled, limits = settings.scale, settings.scale != "none", tuning.SELECTION
        self.units = (
            gained > tuning.SCALING.min_gain if scale == "auto" else scaled
        )  # whether columns surely have their own
        self.scaling = Scaling.of(self.host, "columns" if scaled else "none", weights)
        narrow = scaled and n <= limits.narrow_columns and m >= limits.tall_ratio * n
        # Whether one size for all may do, and whether the rank is searched with levels.
        self.plain = not scaled or (scale == "auto" and not narrow and gained <= limits.overwhelming_gain)
        self.levels = scaled and self.units and not narrow
        room = int(math.sqrt(tuning.RANK_SEARCH.max_gram_numbers / (m + n)))
        width = max(min(settings.bound, limits.max_width, n - 1, m - 2, room), 0) if scaled else 0
        self.analyses = Analyses(self.host, weights, self.scaling, width, narrow, phases)
        self.sample = self.analyses.sample
        self.parts = self._parts()
        self._searches: dict[bool, tuple[RankSearch, Phase]] = {}

    def run(self) -> Selected:
        if self.phases.ended:  # before this block had its turn
            means = self.analyses.means(self.host, Scaling.of(self.host, "columns"))
            return self._exact(means, self.scaling.side != "none")
        if not self.host.values.any():
            m, n = self.host.shape
            zero = Factors(np.zeros((m, 0), self.host.dtype), (), np.zeros((n, 0), self.host.dtype))
            return self._exact(Fitted(zero, np.zeros(n)), False)
        if not self.analyses.noisy(self.parts):
            found = self._explored(self.units)
            if found is not None:
                return found
        if self.plain and False not in self._searches:
            found = self._explored(False)
            if found is not None:
                return found
        return self._judged() if self.parts else self._unjudged()

    def _explored(self, intercept: bool) -> Selected | None:
        """Down the path on all entries; the model, if it matches them (or somebody ends the fit)."""
        search = self._search(intercept)
        explored = search.explore(tuning.RANK_SEARCH.path_decay)
        self._searches[intercept] = search, explored
        if self.phases.ended or search.exactness.certain(explored.factors):
            return self._exact(self._restored(explored, intercept), intercept)
        return None

    def _search(self, intercept: bool) -> RankSearch:
        given = self.settings.bound, self.settings.depth, self.rng, self.phases
        if not intercept:
            return RankSearch(self.observations, *given, self.weights)
        scaling = self.scaling
        eps = float(np.finfo(self.host.dtype).eps)
        rounding = eps * (1 + abs(scaling.location) / scaling.spread) * ~scaling.constant
        observed = scaling.standardised(self.host).to(self.observations.device)
        return RankSearch(observed, *given, self.weights, True, rounding)

    def _restored(self, found: Phase, intercept: bool) -> Fitted:
        """In the data's units, on the host, and of the data's dtype."""
        return Fitted(self._in_units(found.factors, intercept), None, found.status)

    def _in_units(self, factors: Factors, intercept: bool) -> Factors:
        factors = self.scaling.restored(factors.to(None)) if intercept else factors.to(None)
        return factors.map(lambda factor: factor.astype(self.host.dtype, copy=False))

    def _exact(self, found: Fitted, intercept: bool) -> Selected:
        n = self.host.shape[1]
        residual = self._missed(found.factors, self.host)
        counts = np.maximum(self.host.pattern.column_counts, 1)
        noise = np.sqrt(np.bincount(self.host.cols, residual**2, n) / counts)
        model = self._model(found._replace(noise=noise), self.host, self.weights, intercept)
        exact, rank = not self.phases.ended, found.factors.width
        ranks = self._ranks(rank, intercept) if exact else self._ranks(1)
        return Selected(model, exact, rank, ranks, status=found.status)

    def _ranks(self, rank: int, bias: bool = False) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        counts = max(rank, 1), max(rank, 1) + bias
        rows, columns = (np.full(size, count) for size, count in zip(self.host.shape, counts, strict=True))
        return rows, columns

    def _ranks_of_inexact(self, fitted: Factors) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Those of a model that is not certain: one, for rows and columns lean on all others. If it matches all entries
        nevertheless, as many as it is wide; and more than there are, where it can be moved."""
        bias, limit = fitted.column_bias is not None, tuning.RANK_SEARCH.row_rounding * rms(self.host.values)
        if not fitted.width or rms(self._missed(fitted, self.host)) > limit:
            return self._ranks(1)
        exactness = Exactness(MaskedLeastSquares(self.observations), bias, None, self.rng)
        model, ranks = fitted.to(self.observations.device), self._ranks(fitted.width, bias)
        if exactness.movable(model):
            for of_lines, held in zip(ranks, exactness.held(model), strict=True):
                of_lines[~held] = max(self.host.shape) + 1
        return ranks

    def _model(self, found: Fitted, host: Observations, weights: Float | None, scaled: bool) -> Model:
        scaling, noise = self.scaling if scaled else Scaling.of(host, "none"), found.noise
        if noise is None and too_large(found.factors):
            noise = np.full(host.shape[1], math.sqrt(float(np.mean(self._missed(found.factors, host) ** 2))))
        return Model.of(found.factors, scaling, noise, host, weights)

    def _missed(self, factors: Factors, host: Observations) -> Float:
        return np.asarray(factors.at(host.rows, host.cols)).astype(np.float64) - host.values

    # --- judgement

    def _judged(self) -> Selected:
        """The kind of model that predicts held-out entries best, fitted to all."""
        judged = self._trained_on_parts()
        if isinstance(judged, Selected):
            return judged
        held, missed = judged.held, judged.missed
        errors = {kind: self._error(found, held) for kind, found in missed.items() if len(found) == len(held)}
        of_means = errors["means"], errors.get("means across", errors["means"])
        kind = self._best(errors, missed, held)
        chosen, scaled = judged.candidates[kind], kind not in SEARCHED
        fitted = chosen[0].trained if self.phases.ended else chosen[0].finish()
        model = self._model(fitted, self.host, self.weights, scaled)
        model = replace(model, calibration=self._calibration(chosen, held, scaled))
        said = HeldOut(
            np.concatenate([test.rows for test in held]).astype(np.int64),
            np.concatenate([test.cols for test in held]).astype(np.int64),
            np.concatenate(missed[kind]),
            np.concatenate(missed["means"]),
            np.concatenate(missed.get("means across", missed["means"])),
            errors[kind] / (of_means[0] or 1.0),
            errors[kind] / (of_means[1] or 1.0),
        )
        return Selected(model, False, fitted.factors.width, self._ranks_of_inexact(fitted.factors), said, fitted.status)

    def _trained_on_parts(self) -> _Judgement | Selected:
        """Every kind of model, fitted to all but each part; or the exact one, where that leads to it."""
        candidates: dict[str, list[Candidate]] = {}
        missed: dict[str, list[Float]] = {}
        held: list[Observations] = []
        dropped: set[str] = set()
        for part in self.parts:
            test = self.sample.take(part)
            found: dict[str, Candidate] = {}
            for intercept, wanted in ((False, self.plain), (True, self.levels)):
                if wanted and not self.phases.ended and not dropped >= {named(kind, intercept) for kind in SEARCHED}:
                    searched = self._searched(intercept, self.sample.take(~part), test)
                    exact = [one.exact for one in searched.values() if one.exact is not None]
                    if exact:
                        return self._exact(exact[-1], intercept)
                    found |= searched
            if not held:
                after_all = self._after_all(found, part)
                if after_all is not None:
                    return after_all
            found = self.analyses.candidates(part, dropped) | found
            held.append(test)
            for kind, candidate in found.items():
                candidates.setdefault(kind, []).append(candidate)
                missed.setdefault(kind, []).append(self._missed(candidate.trained.factors, test))
            if self.phases.ended:
                break
            if len(held) == 1:
                dropped = self._hopeless({kind: self._error(of_parts, held) for kind, of_parts in missed.items()})
        return _Judgement(held, candidates, missed)

    def _hopeless(self, errors: dict[str, float]) -> set[str]:
        """Kinds that are so far behind on the first part that they need not be tried again."""
        least = min(error for kind, error in errors.items() if kind != "means" or self.scaling.side != "none")
        return {kind for kind, error in errors.items() if error > tuning.SELECTION.hopeless_ratio * least}

    def _best(self, errors: dict[str, float], missed: dict[str, list[Float]], held: list[Observations]) -> str:
        """The kind that is to be taken by the errors of all."""
        if self.scaling.side == "none":  # means are no answer to a user who wants no levels
            errors = {kind: error for kind, error in errors.items() if kind != "means"}
        best = min(errors, key=lambda kind: errors[kind])
        # Of models that are as good, the one of least freedom.
        limit = (1 + tuning.RANK_SEARCH.as_good) * errors[best]
        least = [named(kind, intercept) for kind in ("cut", "explored") for intercept in (False, True)]
        as_good = [kind for kind in least if errors.get(kind, math.inf) <= limit]
        best = min(as_good, key=lambda kind: errors[kind], default=best)
        if "means" in errors and not self._surely_better(missed[best], missed["means"], held):
            return "means"
        return best

    def _error(self, missed: list[Float], held: list[Observations]) -> float:
        """Root mean square over the parts, in units of each column's spread."""
        spreads = [self.scaling.spread[test.cols] for test in held]
        return math.sqrt(float(np.mean([np.mean((r / s) ** 2) for r, s in zip(missed, spreads, strict=True)])))

    def _surely_better(self, ours: list[Float], means: list[Float], held: list[Observations]) -> bool:
        """Whether held-out entries say more than by chance that a model beats the columns' means."""
        won = [
            (np.square(theirs) - np.square(mine)) / self.scaling.spread[test.cols] ** 2
            for mine, theirs, test in zip(ours, means, held, strict=True)
        ]
        gained = np.concatenate(won)
        return bool(gained.mean() > gained.std() / math.sqrt(len(gained)))

    def _parts(self) -> list[NDArray[np.bool_]]:
        """Of each part which entries of the sample are held out."""
        n = self.sample.n_observed
        count = next((count for most, count in tuning.SELECTION.parts if n <= most), 1)
        parts = []
        for _ in range(count):
            held_out = rank_search.hold_out(self.sample, self.settings.fraction, self.rng, count)
            if held_out is None:
                return []
            part = np.zeros(n, bool)
            part[self.sample.locate(held_out.rows, held_out.cols)] = True
            parts.append(part)
        return parts

    def _unjudged(self) -> Selected:
        """Too few entries to hold any out: the smallest model that matches them all, if one is that small; else, of
        columns with units of their own, the one that is most careful."""
        found, scaled = None, False
        if self.plain:
            search = self._searches[False][0]
            carried = search.explore(tuning.RANK_SEARCH.path_decay, room=min(search.carried, search.bound))
            if not self.units or search.exactness.matched(carried.factors):
                found = self._restored(carried, False)
        if found is None:
            scaled, analyses = True, self.analyses
            found = analyses.of_all(False) if analyses.width else analyses.means(self.host, self.scaling)
        model = self._model(found, self.host, self.weights, scaled)
        return Selected(model, False, found.factors.width, self._ranks_of_inexact(found.factors), status=found.status)

    def _searched(self, intercept: bool, train: Observations, test: Observations) -> dict[str, Candidate]:
        """What the rank search has to offer: of the matrix as it is, or with levels of its columns."""
        search, explored = self._searches[intercept]
        parts = [self.scaling.standardised(part) if intercept else part for part in (train, test)]
        found = {}
        for trained in search.candidates(explored, *(part.to(self.observations.device) for part in parts)):
            exact = None
            if trained.matched and not self.phases.ended:  # part of the entries may lead where all of them do not
                whole = search.trim(trained.finish())
                exact = self._restored(whole, intercept) if search.exactness.certain(whole.factors) else None

            def finished(trained: Trained = trained) -> Fitted:
                whole = trained.finish()
                if not whole.ended:
                    whole = replace(whole, factors=search.steady(whole.factors, trained.error))
                return self._restored(whole, intercept)

            part_fitted = Fitted(self._in_units(trained.factors, intercept), None)
            found[named(trained.kind, intercept)] = Candidate(part_fitted, finished, exact)
        return found

    def _after_all(self, candidates: dict[str, Candidate], part: NDArray[np.bool_]) -> Selected | None:
        """The exact model after all, if there is one. Noise shows in the entries that were fitted too; that a path took
        a wrong turn only in those that were not: then others are tried."""
        if not self._searches or self.phases.ended:
            return None
        intercept = self.units and True in self._searches
        search, explored = self._searches[intercept]
        ample = search.exactness.oversampling(max(explored.factors.width, 1)) >= tuning.RANK_SEARCH.ample_oversampling
        if search.noise and ample:  # a model of more freedom leaves noise of anything
            return None
        test, train = self.sample.take(part), self.sample.take(~part)
        errors = {
            kind: self._error([self._missed(candidates[kind].trained.factors, test)], [test])
            for kind in candidates.keys() & {named(kind, intercept) for kind in SEARCHED}
        }
        if not errors:
            return None
        best = min(errors, key=lambda kind: errors[kind])
        model, error = candidates[best].trained.factors, errors[best]
        fitted = self._error([self._missed(model, train)], [train])
        zero = self._error([self._missed(self.analyses.means(test, self.scaling).factors, test)], [test])
        turned = fitted <= tuning.RESTARTS.wrong_turn_ratio * error or error >= zero
        turned |= fitted <= tuning.RANK_SEARCH.row_rounding * zero  # exact, and not certain
        turned |= search.exactness.oversampling(max(model.width, 1)) < 1
        # Near the rank that entries can tell, a path that a bound keeps narrow misses them as it would for noise.
        told = search.bound < min(tuning.WARNINGS.default_bound, 2 * search.carried)
        turned |= told and search.lost and search.carried < 2 * search.bound
        found = restarted(search) if turned else None
        return None if found is None else self._exact(self._restored(found, intercept), intercept)

    def _calibration(self, candidates: list[Candidate], held: list[Observations], scaled: bool) -> float:
        """By how much standard deviations are too small, if nine of ten held-out entries are to lie within 1.64."""
        ratios = []
        for candidate, part, test in zip(candidates, self.parts, held, strict=False):
            weights = self.analyses.sample_weights_without(part)
            if too_large(candidate.trained.factors):
                return 1.0
            model = self._model(candidate.trained, self.sample.take(~part), weights, scaled)
            some = slice(None, None, -(-test.n_observed * len(self.parts) // tuning.SELECTION.max_calibrated))
            rows, cols = test.rows[some], test.cols[some]
            missed = self._missed(candidate.trained.factors, test)[some]
            deviations = model.deviations(rows, cols)
            ratios.append(np.abs(missed[deviations > 0]) / deviations[deviations > 0])
        z = np.concatenate(ratios) if ratios else np.zeros(0)
        return (
            float(np.clip(np.quantile(z, 0.9) / NORMAL_90, *tuning.SELECTION.corrections))
            if len(z) >= tuning.SELECTION.min_calibrated
            else 1.0
        )
