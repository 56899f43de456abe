"""What a fitted completion is asked for: entries, their uncertainty, whole tables, and rows that are new."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from dmc import _arrays, _checks
from dmc._warn import warn
from dmc.completion import imputation
from dmc.completion.model import Model, in_units
from dmc.completion.one_fit import of_one_fit
from dmc.completion.tables import Bounds, Labels, read
from dmc.factors import Factors
from dmc.identifiability import Identifiability
from dmc.inputs import GappedArray
from dmc.observations import Observations


class CompletionQueries(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Everything of `MatrixCompletion` that needs no more than what a fit has left."""

    missing_values: float | None
    loss: str
    factors_: Factors
    rank_: int
    scale_: str
    identifiability_: Identifiability
    n_features_in_: int
    _model: Model
    _unit: float  # of the data, in which the model is
    _bounds: Bounds
    _labels: Labels
    _observations: Observations
    _spreads: NDArray[np.float64]

    @property
    def solvability_(self) -> Identifiability:
        """The former name of `identifiability_`."""
        warn("solvability_ is now called identifiability_", DeprecationWarning)
        return self.identifiability_

    @of_one_fit
    def predict(self, rows: Any, cols: ArrayLike | None = None, *, return_std: bool = False) -> Any:
        """Predicted values at pairs; or, of a matrix alone, at each of its positions.

        Parameters
        ----------
        rows, cols : (pairs,) integers
            Zero-based positions.
        rows : (rows, columns), without `cols`
            Rows as `transform` takes them, but not sparse. They are folded in as there, and observed entries are
            predicted like the others: this is what scikit-learn's tools call.
        return_std : bool
            Whether standard deviations are asked for.

        Returns
        -------
        (pairs,) or (rows, columns) float array, in the data's units; a tensor, if the data were
        (pairs,) or (rows, columns) float64 array, with `return_std`
            The standard deviation of an entry as it would be measured, around the prediction: of its noise, and of what
            the other entries leave open about its row and its column (the curvature of the loss at the solution).
            Corrected by a factor where a hundred entries were held out, so that nine of ten of them lie within 1.64
            standard deviations. They do not cover that a row comes from elsewhere, or that what is missing is missing
            for what it would be. NaN, with a warning, at positions that nothing is known of.

        Raises
        ------
        ValueError, TypeError
            If positions are out of range, or the matrix cannot be used; the message says why.
        """
        check_is_fitted(self)
        if cols is not None:
            predicted = self.factors_.at(rows, cols)
            i, j = (
                np.atleast_1d(_arrays.place(a, None) if _arrays.is_tensor(a) else a).astype(np.int64)
                for a in (rows, cols)
            )
            predicted = self._bounds.clipped(predicted, j)
            return (predicted, self._deviations(i, j)) if return_std else predicted
        if sparse.issparse(rows):
            raise TypeError(
                "X is sparse and all its positions are asked for; give rows and cols of some, or call transform"
            )
        table = self._rows_of(rows, None)
        if not return_std:
            predicted = imputation.predict(self._model, table, self._unit, robustly=self.loss == "robust")
            return _arrays.place(self._bounds.clipped(predicted), table.device)
        observations = table.observations() if isinstance(table, GappedArray) else table
        scaled = observations.to(None)
        scaled = scaled.with_values(scaled.values / self._unit)
        folded, of_rows = imputation.fold_in(self._model, scaled, covariances=True, robustly=self.loss == "robust")
        assert of_rows is not None
        predicted = _arrays.place(self._bounds.clipped(in_units(folded, self._unit).dense()), observations.device)
        return predicted, self._unit * self._model.row_deviations(scaled, folded, of_rows)

    def _deviations(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.float64]:
        deviations = self._unit * self._model.deviations(rows, cols)
        pattern = self._model.pattern
        nothing = (pattern.row_counts[rows] == 0) | (pattern.column_counts[cols] == 0)
        blocks = self.identifiability_
        nothing |= ~blocks.known(rows, cols)
        if nothing.any():
            deviations[nothing] = np.nan
            warn(
                f"{_checks.count(int(nothing.sum()), 'position')} of {len(rows):,} cannot be known from the observed "
                "entries: their standard deviation is NaN; see complete(unknown=np.nan)",
            )
        return deviations

    @of_one_fit
    def sample(self, n: int = 5, random_state: int | np.random.Generator | None = 0) -> list[Any]:
        """Completed tables drawn at random, for multiple imputation.

        Each has the observed entries as they are, and draws of the others: rows and columns from their posterior, and
        noise. What is computed from every one of them (a mean, a regression) differs by as much as the missing entries
        leave it open (D. Rubin, "Multiple imputation for nonresponse in surveys", 1987).

        Parameters
        ----------
        n : int
            Tables.
        random_state : int, numpy.random.Generator or None
            Seed of the draws.

        Returns
        -------
        list of (rows, columns) arrays, or of data frames, if X was one

        Raises
        ------
        MemoryError
            If they exceed the machine's memory.
        """
        check_is_fitted(self)
        n = _checks.integer(n, "n", 1)
        rng = _checks.generator(random_state)
        m, columns = self.factors_.shape
        _checks.memory(n * m * columns * 8, f"{n} completed tables", "draw fewer at a time")
        seen, tables = self._observations, []
        for _ in range(n):
            drawn = self._bounds.clipped(self._unit * self._model.draw(rng)).astype(seen.dtype)
            drawn[seen.rows, seen.cols] = seen.values
            tables.append(self._labels.around(_arrays.place(drawn, self.factors_.device)))
        return tables

    @of_one_fit
    def complete(self, unknown: float | None = None) -> Any:
        """The fitted matrix X̂ at every position, observed ones included.

        Parameters
        ----------
        unknown : float, optional
            What to put where the observed entries cannot determine the matrix, whatever its values (see
            `identifiability_`), for instance NaN. Left out: the model's guess.

        Returns
        -------
        (rows, columns) float array; a data frame with the labels of X, if X was one

        Raises
        ------
        MemoryError
            If it exceeds the machine's memory; `predict` gives single entries.
        """
        check_is_fitted(self)
        completed = self._bounds.clipped(self.factors_.dense())
        if unknown is not None:
            rows, columns = (np.arange(count) for count in completed.shape)
            guessed = ~self.identifiability_.known(rows[:, None], columns)
            completed[_arrays.place(guessed, self.factors_.device)] = unknown
        return self._labels.around(completed)

    @of_one_fit
    def transform(self, X: Any, *, mask: Any = None) -> Any:
        """Impute: the observed entries as they are, the missing ones predicted.

        Each row is folded in: its part of the model is fitted to its observed entries, with the columns' part as it
        is; so rows need not have been in `fit`.

        Parameters
        ----------
        X : (rows, columns)
            Whatever `dmc.observe` takes, with the columns of `fit`.
        mask : (rows, columns) bool, optional
            True where an entry was observed.

        Returns
        -------
        (rows, columns) float array; a data frame with the labels of X, if X is one and `set_output` says nothing else
        """
        check_is_fitted(self)
        rows = self._rows_of(X, mask)
        predicted = imputation.predict(self._model, rows, self._unit, robustly=self.loss == "robust")
        completed = imputation.with_observed(self._bounds.clipped(predicted), rows)
        return Labels.of(X).around(_arrays.place(completed, rows.device))

    @of_one_fit
    def score(self, X: Any, y: None = None, *, mask: Any = None) -> float:
        """How well missing entries are imputed: minus the root mean squared error on held-out ones; higher is better.

        X has gaps, and what is in them nobody knows; so each observed entry is taken for missing once. The entries of
        a row are dealt into five parts; each part is predicted from the other four, by folding the row in. This is
        what `GridSearchCV`, `cross_val_score` and the like maximise.

        Give rows that were not in `fit`, as cross-validation does: of the others the model has seen the entries that
        it is asked for. In a pipeline, the data are those that reach this step: a search over the steps before needs a
        `scoring` of its own.

        Parameters
        ----------
        X : (rows, columns)
            Whatever `dmc.observe` takes, with the columns of `fit`; at least one entry observed.
        y : None
            Ignored; here for scikit-learn's pipelines.
        mask : (rows, columns) bool, optional
            True where an entry was observed.

        Returns
        -------
        float
            At most 0, in units of each column's spread in `fit`, for else the column of the largest unit would decide:
            about -1 if nothing is known but means. The same X and model give the same score: the deal of the entries
            depends on no seed, so that all candidates of a search are judged on the same ones.
        """
        check_is_fitted(self)
        rows = self._rows_of(X, mask, allow_empty=False)
        given = self._model, rows, self._unit, self._bounds, self._spreads
        return imputation.score(*given, robustly=self.loss == "robust")

    def _rows_of(self, X: Any, mask: Any, allow_empty: bool = True) -> GappedArray | Observations:
        """Rows to be folded in, which have to have the fitted columns."""
        rows = read(X, mask, allow_empty, self.missing_values)
        validate_data(self, X, reset=False, skip_check_array=True, ensure_2d=False)
        if rows.shape[1] != self.n_features_in_:  # worded as scikit-learn's tools expect
            raise ValueError(
                f"X has {rows.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input; give the columns of the fitted matrix"
            )
        if allow_empty:
            size = math.prod(rows.shape) * rows.values.itemsize
            _checks.memory(size, "the completed matrix", "transform fewer rows at a time")
        return rows
