"""Which model a table gets: exact where its entries can be matched, else the one that predicts held-out ones best."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dmc.completion import factor_analysis, rank_search
from dmc.completion.factor_analysis import Entries, FactorAnalysis
from dmc.completion.model import Model
from dmc.completion.rank_search import AS_GOOD, FAST, MAX_GRAMS, SLOWER, WRONG_TURN, Journal, RankSearch, Trained
from dmc.completion.scaling import WORTH, Scaling, Side, gains
from dmc.completion.selected import Candidate, Fitted, Selected, submatrix, transposed
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.solver.loop import Run

Float = NDArray[np.float64]

PARTS = ((5_000, 5), (20_000, 3))  # entries up to which so many parts are held out, one after the other; else one
NARROW, TALL = 64, 10  # columns at most, and rows for each, where factor analysis has the directions of any model
WIDEST = 32  # of factor analysis: the seven tables of bench/tables.py gain nothing from more
SURE = 20.0  # entries of a column for each direction, above which no width of a prior has to be learnt
SAMPLED, FEWEST_SAMPLED = 20, 1_000  # rows for each column of a narrow table that are enough to choose and to begin
NOISY = 0.01  # variance of an entry that is noise, over that of its column, from which on nothing can be exact
CALIBRATED, MOST_CALIBRATED = 100, 2_000  # held-out entries by which standard deviations are corrected
NORMAL_90 = 1.6448536269514722  # of them on either side hold 90 %
CORRECTIONS = 0.5, 2.0  # least and largest
SEARCHED = {"cut", "explored", "penalised"}  # kinds of models that the rank search offers; and with levels
OVERWHELMING = 2.0  # nats an entry by which levels and spreads describe it better, where one size for all is not tried
HOPELESS = 1.1  # times the least error on the first part, above which a kind is not tried on the others


def too_large(factors: Factors) -> bool:
    """Whether the matrices of all lines would not fit."""
    return (factors.width + 1) ** 2 * sum(factors.shape) > MAX_GRAMS


def named(kind: str, intercept: bool) -> str:
    """A kind of model that the rank search offers."""
    return f"{kind}, with levels" if intercept else kind


def select(
    observations: Observations,
    weights: Float | None,
    scale: str,
    side: Side,
    bound: int,
    depth: int,
    fraction: float,
    rng: np.random.Generator,
    journal: Journal,
) -> Selected:
    """Fit a matrix whose rows and columns hang together.

    Parameters
    ----------
    observations : Observations
    weights : (observed,) float64 array or None
        Of the entries.
    scale : {"auto", "none", "columns", "rows"}
    side : {"columns", "rows"}
        The side to be scaled, if any is.
    bound, depth, fraction
        See `MatrixCompletion`.
    rng : numpy.random.Generator
    journal : Journal
    """
    host = observations.to(None)
    gain = gains(host)[side]
    if side == "rows":
        if weights is not None:
            weights = host.pattern.both_orders(weights).by_column
        found = _Selection(transposed(observations), weights, scale, gain, bound, depth, fraction, rng, journal).run()
        return _turned(found, host)
    return _Selection(observations, weights, scale, gain, bound, depth, fraction, rng, journal).run()


def _turned(found: Selected, host: Observations) -> Selected:
    """What was selected for the transposed matrix."""
    model, factors = found.model, found.model.factors
    weights = model.weights
    if weights is not None:
        weights = host.pattern.transposed.both_orders(weights).by_column
    turned = Factors(factors.V, (), factors.U, factors.column_bias)
    scaled = model.scaling.side == "columns"
    scaling = Scaling.of(host, "none")
    noise = np.full(host.shape[1], math.sqrt(float(np.mean(model.noise**2))))
    if scaled:
        own = model.scaling
        scaling, noise = Scaling("rows", own.location, own.spread, own.constant), model.noise
    calibration, model = model.calibration, Model.of(turned, scaling, noise, host, weights)
    model = replace(model, calibration=calibration)
    selected = replace(found, model=model, ranks=found.ranks[::-1], rows=found.cols, cols=found.rows)
    errors, unexplained = found.across_errors, found.unexplained_across
    return replace(selected, mean_errors=errors, across_errors=found.mean_errors, unexplained=unexplained)


class _Selection:
    """One matrix, turned so that it is its columns that may have units of their own."""

    def __init__(
        self,
        observations: Observations,
        weights: Float | None,
        scale: str,
        gain: float,
        bound: int,
        depth: int,
        fraction: float,
        rng: np.random.Generator,
        journal: Journal,
    ) -> None:
        self.observations, self.weights, self.host = observations, weights, observations.to(None)
        self.bound, self.depth, self.fraction, self.rng, self.journal = bound, depth, fraction, rng, journal
        self.units = gain > WORTH if scale == "auto" else scale != "none"  # whether columns surely have their own
        self.scaling = Scaling.of(self.host, "none" if scale == "none" else "columns", weights)
        m, n = observations.shape
        scaled = scale != "none"
        self.narrow = scaled and n <= NARROW and m >= TALL * n
        # Whether one size for all may do, and whether the rank is searched with levels.
        self.plain = scale == "none" or (scale == "auto" and not self.narrow and gain <= OVERWHELMING)
        self.levels = scaled and self.units and not self.narrow
        room = int(math.sqrt(MAX_GRAMS / (m + n)))
        self.width = max(min(bound, WIDEST, n - 1, m - 2, room), 0) if scaled else 0
        self.sample, self.sample_weights = self._sample()
        self.parts = self._parts()
        self._trained: tuple[Fitted, FactorAnalysis] | None = None  # to all but the first part
        self._first: FactorAnalysis | None = None  # of the sample, or most of it
        self._searches: dict[bool, tuple[RankSearch, Factors]] = {}
        self._exact_model: Factors | None = None  # that part of the entries led to

    def run(self) -> Selected:
        if self.journal.ended:  # before this block had its turn
            return self._exact(self._means(self.host, Scaling.of(self.host, "columns")), self.scaling.side != "none")
        if not self.host.values.any():
            m, n = self.host.shape
            zero = Factors(np.zeros((m, 0), self.host.dtype), (), np.zeros((n, 0), self.host.dtype))
            return self._exact(Fitted(zero, np.zeros(n)), False)
        if not (self.narrow and self._noisy()):
            found = self._explored(self.units)
            if found is not None:
                return found
        if self.plain and False not in self._searches:
            found = self._explored(False)
            if found is not None:
                return found
        return self._judged()

    def _explored(self, intercept: bool) -> Selected | None:
        """Down the path on all entries; the model, if it matches them (or somebody ends the fit)."""
        search = self._search(intercept)
        explored = search.explore(FAST)
        self._searches[intercept] = search, explored
        if self.journal.ended or search.certain(explored):
            return self._exact(Fitted(self._restored(explored, intercept), None), intercept)
        return None

    def _search(self, intercept: bool) -> RankSearch:
        if not intercept:
            return RankSearch(self.observations, self.bound, self.depth, self.rng, self.journal, self.weights)
        scaling = self.scaling
        eps = float(np.finfo(self.host.dtype).eps)
        rounding = eps * (1 + abs(scaling.location) / scaling.spread) * ~scaling.constant
        observed = scaling.standardised(self.host).to(self.observations.device)
        return RankSearch(observed, self.bound, self.depth, self.rng, self.journal, self.weights, True, rounding)

    def _restored(self, factors: Factors, intercept: bool) -> Factors:
        """In the data's units, on the host, and of the data's dtype."""
        factors = self.scaling.restored(factors.to(None)) if intercept else factors.to(None)
        return factors.map(lambda factor: factor.astype(self.host.dtype, copy=False))

    def _exact(self, found: Fitted, intercept: bool) -> Selected:
        n = self.host.shape[1]
        residual = self._missed(found.factors, self.host)
        counts = np.maximum(self.host.pattern.column_counts, 1)
        noise = np.sqrt(np.bincount(self.host.cols, residual**2, n) / counts)
        nothing, none = np.zeros(0), np.zeros(0, np.int64)
        model = self._model(found._replace(noise=noise), self.host, self.weights, intercept)
        exact, rank = not self.journal.ended, found.factors.width
        return Selected(
            model, exact, rank, self._ranks(rank if exact else 1), none, none, nothing, nothing, nothing, 0.0, 0.0
        )

    def _ranks(self, rank: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows, columns = (np.full(lines, max(rank, 1)) for lines in self.host.shape)
        return rows, columns

    def _model(self, found: Fitted, host: Observations, weights: Float | None, scaled: bool) -> Model:
        scaling, noise = self.scaling if scaled else Scaling.of(host, "none"), found.noise
        if noise is None and too_large(found.factors):
            noise = np.full(host.shape[1], math.sqrt(float(np.mean(self._missed(found.factors, host) ** 2))))
        return Model.of(found.factors, scaling, noise, host, weights)

    def _missed(self, factors: Factors, host: Observations) -> Float:
        return factors.at(host.rows, host.cols).astype(np.float64) - host.values

    # --- factor analysis

    def _sample(self) -> tuple[Observations, Float | None]:
        """Enough rows of a narrow table to choose a model by; of others all."""
        m, n = self.host.shape
        wanted = max(FEWEST_SAMPLED, SAMPLED * n)
        if not self.narrow or m <= 2 * wanted:
            return self.host, self.weights
        chosen = np.zeros(m, bool)
        chosen[np.random.default_rng(0).permutation(m)[:wanted]] = True
        part, keep = submatrix(self.host, chosen, np.ones(n, bool))
        return part, None if self.weights is None else self.weights[keep]

    def _noisy(self) -> bool:
        """Whether a narrow table has so much noise that no model can match its entries."""
        if self.width < 1:
            return False
        if self.parts:
            self._trained = self._analysed_part(self.parts[0], False)
            self._first = self._trained[1]
        else:
            _, self._first = self._analysed(self.sample, self.sample_weights, self.scaling, self.width, False)
        return float(np.median(self._first.noise)) > NOISY

    def _analysed_part(self, part: NDArray[np.bool_], relevance: bool) -> tuple[Fitted, FactorAnalysis]:
        """Of the sample without a part that is held out."""
        if part is self.parts[0] and not relevance and self._trained is not None:
            return self._trained
        train = self.sample.take(~part)
        weights = None if self.sample_weights is None else self.sample_weights[~part]
        return self._analysed(train, weights, Scaling.of(train, "columns", weights), self.width, relevance)

    def _analysed(
        self,
        host: Observations,
        weights: Float | None,
        scaling: Scaling,
        width: int,
        relevance: bool,
        start: FactorAnalysis | None = None,
    ) -> tuple[Fitted, FactorAnalysis]:
        journal, entries = self.journal, Entries.of(scaling.standardised(host), weights)
        analysis = factor_analysis.Analysis(entries, width, relevance=relevance, start=start)
        with Run(journal.callbacks) as run:
            run.phase(analysis.sweep, analysis.look, analysis.max_sweeps, planned=True)
        if run.ended:
            assert run.status is not None
            journal.conclude(run.status, run.stopped_by)
        found = factor_analysis.finished(entries, analysis.model)
        journal.note("factor analysis", found.width, run.n_steps, float(found.noise.mean()), None)
        factors = scaling.restored(Factors(found.factors, (), found.loadings, None, found.intercept))
        noise = np.sqrt(found.noise) * scaling.spread * ~scaling.constant
        return Fitted(factors.map(lambda factor: factor.astype(self.host.dtype)), noise), found

    def _analyses(
        self, part: NDArray[np.bool_], train: Observations, weights: Float | None, dropped: set[str]
    ) -> dict[str, Candidate]:
        scaling = Scaling.of(train, "columns", weights)
        found = {"means": Candidate(self._means(train, scaling), lambda: self._means(self.host, self.scaling))}
        if self.scaling.side == "none":
            return found
        across = self._means_across(train)
        found["means across"] = Candidate(across, lambda: self._means_across(self.host))
        priors = {"factor analysis": False}
        if self.host.n_observed < SURE * self.width * self.host.shape[1]:
            priors["relevance"] = True
        for kind, relevance in priors.items():
            if self.width and kind not in dropped and not self.journal.ended:
                trained, _ = self._analysed_part(part, relevance)
                found[kind] = Candidate(trained, partial(self._analysis_of_all, relevance))
        return found

    def _analysis_of_all(self, relevance: bool) -> Fitted:
        """From where the sample has led, if there is one."""
        first = None
        if self.sample is not self.host:
            first = self._first if not relevance else None
            if first is None:
                _, first = self._analysed(self.sample, self.sample_weights, self.scaling, self.width, relevance)
        return self._analysed(self.host, self.weights, self.scaling, self.width, relevance, first)[0]

    def _means(self, host: Observations, scaling: Scaling) -> Fitted:
        m, n = host.shape
        nothing = np.zeros((m, 0), self.host.dtype), np.zeros((n, 0), self.host.dtype)
        bias = scaling.location.astype(self.host.dtype)
        return Fitted(Factors(nothing[0], (), nothing[1], None, bias), scaling.spread * ~scaling.constant)

    def _means_across(self, host: Observations) -> Fitted:
        """Of each row its mean: where the matrix was turned, what its own columns' means predict."""
        m, n = host.shape
        sums = np.bincount(host.rows, host.values, m)
        whole = float(np.mean(host.values, dtype=np.float64))
        counts = np.asarray(host.pattern.row_counts)
        U = np.where(counts > 0, sums / np.maximum(counts, 1), whole)[:, None]
        arrays = (array.astype(self.host.dtype) for array in (U, np.ones((n, 1)), np.zeros(n)))
        U, V, bias = arrays
        return Fitted(Factors(U, (), V, None, bias), None)

    # --- judgement

    def _judged(self) -> Selected:
        parts = self.parts
        if not parts:
            return self._unjudged()
        held = [self.sample.take(part) for part in parts]
        candidates: dict[str, list[Candidate]] = {}
        missed: dict[str, list[Float]] = {}
        dropped: set[str] = set()
        for part, test in zip(parts, held, strict=True):
            train = self.sample.take(~part)
            weights = None if self.sample_weights is None else self.sample_weights[~part]
            found = self._analyses(part, train, weights, dropped)
            for intercept, wanted in ((False, self.plain), (True, self.levels)):
                if wanted and not self.journal.ended and not dropped >= {named(kind, intercept) for kind in SEARCHED}:
                    found |= self._searched(intercept, train, test)
                    if self._exact_model is not None:
                        return self._exact(Fitted(self._restored(self._exact_model, intercept), None), intercept)
            for kind, candidate in found.items():
                candidates.setdefault(kind, []).append(candidate)
                missed.setdefault(kind, []).append(self._missed(candidate.trained.factors, test))
            if self.journal.ended:
                break
            if part is parts[0]:  # what is far behind need not be tried again
                first = {kind: self._error(of_parts, held[:1]) for kind, of_parts in missed.items()}
                behind = min(error for kind, error in first.items() if kind != "means" or self.scaling.side != "none")
                dropped = {kind for kind, error in first.items() if error > HOPELESS * behind}
        held = held[: len(missed["means"])]
        errors = {kind: self._error(found, held) for kind, found in missed.items() if len(found) == len(held)}
        of_means = errors["means"], errors.get("means across", errors["means"])
        if self.scaling.side == "none":  # means are no answer to a user who wants no levels
            del errors["means"]
        kind = min(errors, key=lambda kind: errors[kind])
        # Of models that are as good, the one of least freedom.
        least = [named(kind, intercept) for kind in ("cut", "explored") for intercept in (False, True)]
        least = [kind_ for kind_ in least if errors.get(kind_, math.inf) <= (1 + AS_GOOD) * errors[kind]]
        kind = min(least, key=lambda kind: errors[kind], default=kind)
        if "means" in errors and not self._surely_better(missed[kind], missed["means"], held):
            kind = "means"
        chosen, scaled = candidates[kind], kind not in SEARCHED
        fitted = chosen[0].trained if self.journal.ended else chosen[0].finish()
        exact = None if self.journal.ended else self._last_doubts(fitted, errors[kind])
        if exact is not None:
            return exact
        model = self._model(fitted, self.host, self.weights, scaled)
        model = replace(model, calibration=self._calibration(chosen, parts, held, scaled))
        rows, cols = (
            np.concatenate([getattr(test, name) for test in held]).astype(np.int64) for name in ("rows", "cols")
        )
        return Selected(
            model,
            False,
            fitted.factors.width,
            self._ranks(1),
            rows,
            cols,
            np.concatenate(missed[kind]),
            np.concatenate(missed["means"]),
            np.concatenate(missed.get("means across", missed["means"])),
            errors[kind] / (of_means[0] or 1.0),
            errors[kind] / (of_means[1] or 1.0),
        )

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
        count = next((count for most, count in PARTS if n <= most), 1)
        parts = []
        for _ in range(count):
            held_out = rank_search.hold_out(self.sample, self.fraction, self.rng, count)
            if held_out is None:
                return []
            part = np.zeros(n, bool)
            part[self.sample.locate(held_out.rows, held_out.cols)] = True
            parts.append(part)
        return parts

    def _unjudged(self) -> Selected:
        """Too few entries to hold any out: the smallest model that matches them all, if one is that small; else, of
        columns with units of their own, the one that is most careful."""
        model, scaled = None, False
        if self.plain:
            search = self._searches[False][0]
            found = search.explore_no_wider_than_carried()
            if not self.units or search.matched(found):
                model = Fitted(self._restored(found, False), None)
        if model is None:
            scaled = True
            model = self._analysis_of_all(False) if self.width else self._means(self.host, self.scaling)
        nothing, none = np.zeros(0), np.zeros(0, np.int64)
        fitted = self._model(model, self.host, self.weights, scaled)
        return Selected(
            fitted, False, model.factors.width, self._ranks(1), none, none, nothing, nothing, nothing, 0.0, 0.0
        )

    def _searched(self, intercept: bool, train: Observations, test: Observations) -> dict[str, Candidate]:
        """What the rank search has to offer: of the matrix as it is, or with levels of its columns."""
        search, explored = self._searches[intercept]
        parts = [self.scaling.standardised(part) if intercept else part for part in (train, test)]
        found = {}
        for trained in search.candidates(explored, *(part.to(self.observations.device) for part in parts)):
            if trained.matched and not self.journal.ended:  # part of the entries may lead where all of them do not
                whole = trained.finish()
                if search.certain(whole):
                    self._exact_model = whole

            def finished(trained: Trained = trained) -> Fitted:
                model = trained.finish()
                settled = model if self.journal.ended else search.steady(model, trained.error)
                return Fitted(self._restored(settled, intercept), None)

            kind = named(trained.kind, intercept)
            found[kind] = Candidate(Fitted(self._restored(trained.factors, intercept), None), finished)
        return found

    def _last_doubts(self, fitted: Fitted, error: float) -> Selected | None:
        """The exact model after all, if there is one. Noise shows in the entries that were fitted too; that a path took
        a wrong turn only in those that were not: then slower ones are tried."""
        if not self._searches:
            return None
        intercept = self.units and True in self._searches
        search, _ = self._searches[intercept]
        missed = self._missed(fitted.factors, self.host) / self.scaling.spread[self.host.cols]
        status = self.journal.status
        for decay in SLOWER:
            if self.journal.ended or math.sqrt(float(np.mean(missed**2))) > WRONG_TURN * error:
                break
            slow = search.explore(decay)
            if search.certain(slow):
                return self._exact(Fitted(self._restored(slow, intercept), None), intercept)
            self.journal.conclude(status)
        return None

    def _calibration(
        self, candidates: list[Candidate], parts: list[NDArray[np.bool_]], held: list[Observations], scaled: bool
    ) -> float:
        """By how much standard deviations are too small, if nine of ten held-out entries are to lie within 1.64."""
        ratios = []
        for candidate, part, test in zip(candidates, parts, held, strict=False):
            weights = None if self.sample_weights is None else self.sample_weights[~part]
            if too_large(candidate.trained.factors):
                return 1.0
            model = self._model(candidate.trained, self.sample.take(~part), weights, scaled)
            some = slice(None, None, -(-test.n_observed * len(parts) // MOST_CALIBRATED))
            rows, cols = test.rows[some], test.cols[some]
            missed = self._missed(candidate.trained.factors, test)[some]
            deviations = model.deviations(rows, cols)
            ratios.append(np.abs(missed[deviations > 0]) / deviations[deviations > 0])
        z = np.concatenate(ratios) if ratios else np.zeros(0)
        return float(np.clip(np.quantile(z, 0.9) / NORMAL_90, *CORRECTIONS)) if len(z) >= CALIBRATED else 1.0
