"""What a table can be described by without a search: means of its columns or rows, and factor analysis."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from dmc.completion import factor_analysis, tuning
from dmc.completion.factor_analysis import Entries, FactorAnalysis
from dmc.completion.phases import Phase, Phases
from dmc.completion.results import Candidate, Fitted, submatrix
from dmc.completion.scaling import Scaling
from dmc.factors import Factors
from dmc.observations import Observations

Float = NDArray[np.float64]


class Analyses:
    """Means and factor analyses of one table, whose columns may have units of their own.

    Parameters
    ----------
    host : Observations
        NumPy.
    weights : (observed,) float64 array or None
    scaling : Scaling
        Of the columns, or none.
    width : int
        Directions at most; 0: no factor analysis.
    narrow : bool
        Whether there are so many more rows than columns that some of them do to choose by.
    phases : Phases
    """

    def __init__(
        self, host: Observations, weights: Float | None, scaling: Scaling, width: int, narrow: bool, phases: Phases
    ) -> None:
        self.host: Observations = host
        self.weights: Float | None = weights
        self.scaling: Scaling = scaling
        self.width: int = width
        self.narrow: bool = narrow
        self.phases: Phases = phases
        self.sample: Observations
        self.sample_weights: Float | None
        self.sample, self.sample_weights = self._sample()
        self._trained: tuple[Fitted, FactorAnalysis] | None = None  # to all but the first part
        self._first_part: NDArray[np.bool_] | None = None
        self._first: FactorAnalysis | None = None  # of the sample, or most of it

    def means(self, host: Observations, scaling: Scaling) -> Fitted:
        """Of each column its mean."""
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

    def noisy(self, parts: list[NDArray[np.bool_]]) -> bool:
        """Whether a narrow table has so much noise that no model can match its entries; of the parts that are held out
        the first is."""
        if not self.narrow or self.width < 1:
            return False
        if parts:
            self._trained = self._analysed_part(parts[0], False)
            self._first = self._trained[1]
        else:
            _, self._first = self._analysed(self.sample, self.sample_weights, self.scaling, self.width, False)
        self._first_part = parts[0] if parts else None
        return float(np.median(self._first.noise)) > tuning.SELECTION.min_noise

    def candidates(self, part: NDArray[np.bool_], dropped: set[str]) -> dict[str, Candidate]:
        """What there is but for kinds that were dropped, fitted to the sample without a part that is held out."""
        train, weights = self.sample.take(~part), self.sample_weights_without(part)
        scaling = Scaling.of(train, "columns", weights)
        found = {"means": Candidate(self.means(train, scaling), lambda: self.means(self.host, self.scaling))}
        if self.scaling.side == "none":
            return found
        across = self._means_across(train)
        found["means across"] = Candidate(across, lambda: self._means_across(self.host))
        priors = {"factor analysis": False}
        if self.host.n_observed < tuning.SELECTION.sure_entries * self.width * self.host.shape[1]:
            priors["relevance"] = True
        for kind, relevance in priors.items():
            if self.width and kind not in dropped and not self.phases.ended:
                trained, _ = self._analysed_part(part, relevance)
                found[kind] = Candidate(trained, partial(self.of_all, relevance))
        return found

    def of_all(self, relevance: bool) -> Fitted:
        """From where the sample has led, if there is one."""
        first = None
        if self.sample is not self.host:
            first = self._first if not relevance else None
            if first is None:
                _, first = self._analysed(self.sample, self.sample_weights, self.scaling, self.width, relevance)
        return self._analysed(self.host, self.weights, self.scaling, self.width, relevance, first)[0]

    def _sample(self) -> tuple[Observations, Float | None]:
        """Enough rows of a narrow table to choose a model by; of others all."""
        m, n = self.host.shape
        wanted = max(tuning.SELECTION.min_sampled_rows, tuning.SELECTION.sampled_rows * n)
        if not self.narrow or m <= 2 * wanted:
            return self.host, self.weights
        chosen = np.zeros(m, bool)
        chosen[np.random.default_rng(0).permutation(m)[:wanted]] = True
        part, keep = submatrix(self.host, chosen, np.ones(n, bool))
        return part, None if self.weights is None else self.weights[keep]

    def sample_weights_without(self, part: NDArray[np.bool_]) -> Float | None:
        """Of the entries of the sample that are not held out."""
        return None if self.sample_weights is None else self.sample_weights[~part]

    def _analysed_part(self, part: NDArray[np.bool_], relevance: bool) -> tuple[Fitted, FactorAnalysis]:
        """Of the sample without a part that is held out."""
        if part is self._first_part and not relevance and self._trained is not None:
            return self._trained
        train = self.sample.take(~part)
        weights = self.sample_weights_without(part)
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
        run, entries = self.phases.run, Entries.of(scaling.standardised(host), weights)
        analysis, first = factor_analysis.Analysis(entries, width, relevance=relevance, start=start), run.n_steps
        status = run.phase(analysis.sweep, analysis.look, analysis.max_sweeps, planned=True, course=analysis)
        found = factor_analysis.finished(entries, analysis.model)
        fitted = Factors(found.factors, (), found.loadings, None, found.intercept)
        value = float(found.noise.mean())
        self.phases.add(Phase("factor analysis", fitted, status, run.n_steps - first, value))
        factors = scaling.restored(fitted)
        noise = np.sqrt(found.noise) * scaling.spread * ~scaling.constant
        return Fitted(factors.map(lambda factor: factor.astype(self.host.dtype)), noise, status), found
