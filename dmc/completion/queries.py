"""What a fitted completion answers: entries, their uncertainty, whole tables, and new rows."""

from __future__ import annotations

import math
import os
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from dmc import _arrays, _checks
from dmc._warn import warn
from dmc.completion import imputation, storage
from dmc.completion.model import Model, in_units
from dmc.completion.one_fit import of_one_fit
from dmc.completion.tables import Bounds, Labels, read
from dmc.factors import Factors
from dmc.identifiability import Identifiability
from dmc.inputs import GappedArray
from dmc.observations import Observations


class CompletionQueries(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """The part of `MatrixCompletion` that needs no more than a fitted model."""

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
        """Identifiability: the former name of `identifiability_`, which replaces it."""
        warn("solvability_ is now called identifiability_", DeprecationWarning)
        return self.identifiability_

    @of_one_fit
    def predict(self, rows: Any, cols: ArrayLike | None = None, *, return_std: bool = False) -> Any:
        """Predict entries at given positions; or, from a matrix alone, at every position of that matrix.

        Parameters
        ----------
        rows : (pairs,) int array; or (rows, columns) array or data frame, without `cols`
            Zero-based row positions. A matrix instead holds rows as `transform` takes them, though not sparse: they are
            folded in, and observed entries are predicted like the others. This is the form that scikit-learn's tools
            call.
        cols : (pairs,) int array, optional
            Zero-based column positions.
        return_std : bool
            Also return standard deviations.

        Returns
        -------
        predicted : (pairs,) or (rows, columns) float array
            In the data's units; a tensor if the data were one.
        std : (pairs,) or (rows, columns) float64 array
            Only with `return_std`: the standard deviation of a newly measured entry around its prediction. It combines
            the entry's noise with what the other entries leave uncertain about its row and its column (from the
            curvature of the loss at the solution). If at least a hundred entries were held out, it is calibrated so
            that nine in ten of them lie within 1.64 standard deviations. It does not cover rows from another
            population, nor entries that are missing because of their values. NaN, with a warning, at positions that the
            observed entries say nothing about.

        Raises
        ------
        ValueError, TypeError
            If positions are out of range, or the matrix cannot be used.

        Warns
        -----
        UserWarning
            If a standard deviation is NaN because the observed entries cannot determine the position.

        Examples
        --------
        >>> import numpy as np
        >>> import dmc
        >>> X = np.outer([1.0, 2, 3, 4, 5], [1.0, 3, 2, 5])
        >>> X[1, 2] = X[3, 1] = np.nan
        >>> model = dmc.MatrixCompletion().fit(X)
        >>> model.predict([1, 3], [2, 1]).round(6)
        array([ 4., 12.])
        >>> predicted, std = model.predict([1, 3], [2, 1], return_std=True)
        >>> bool((std < 1e-4).all())  # the entries fit a model of rank 1 exactly
        True
        >>> model.predict([[10.0, np.nan, np.nan, 50.0]]).round(3)
        array([[10., 30., 20., 50.]])
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
                "X is sparse and predict(X) would return every position; give rows and cols, or call transform"
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
                f"{_checks.count(int(nothing.sum()), 'position')} of {len(rows):,} cannot be determined from the "
                "observed entries: the standard deviation is NaN there; see complete(unknown=np.nan)",
            )
        return deviations

    @of_one_fit
    def sample(self, n: int = 5, random_state: int | np.random.Generator | None = 0) -> list[Any]:
        """Draw completed tables at random, for multiple imputation.

        Each table has the observed entries as they are and a random draw of the others: rows and columns from their
        posterior, plus noise. Whatever is computed from each of the tables, such as a mean or a regression, varies by
        as much as the missing entries leave it uncertain.

        Parameters
        ----------
        n : int
            Number of tables.
        random_state : int, numpy.random.Generator or None
            Seed of the draws.

        Returns
        -------
        list of (rows, columns) arrays or data frames
            Data frames if X was one.

        Raises
        ------
        MemoryError
            If the tables exceed the machine's memory.

        References
        ----------
        D. Rubin, "Multiple imputation for nonresponse in surveys", 1987.

        Examples
        --------
        >>> import numpy as np
        >>> import dmc
        >>> X = np.outer([1.0, 2, 3, 4, 5], [1.0, 3, 2, 5])
        >>> X[1, 2] = np.nan
        >>> tables = dmc.MatrixCompletion().fit(X).sample(3, random_state=0)
        >>> len(tables), tables[0].shape
        (3, (5, 4))
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
        """Return the fitted matrix X̂ at every position, observed ones included.

        Parameters
        ----------
        unknown : float, optional
            Value to put where the observed entries cannot determine the matrix (see `identifiability_`), such as NaN.
            Default: the model's guess.

        Returns
        -------
        (rows, columns) float array or data frame
            A data frame with the labels of X if X was one.

        Raises
        ------
        MemoryError
            If the matrix exceeds the machine's memory; `predict` gives single entries.

        Examples
        --------
        >>> import numpy as np
        >>> import dmc
        >>> X = np.outer([1.0, 2, 3, 4, 5], [1.0, 3, 2, 5])
        >>> X[1, 2] = np.nan
        >>> dmc.MatrixCompletion().fit(X).complete().round(6)[1]
        array([ 2.,  6.,  4., 10.])
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
        """Impute: keep the observed entries and predict the missing ones.

        Each row is folded in: its factors are fitted to its observed entries with the columns' factors held fixed. The
        rows need not have been in `fit`.

        Parameters
        ----------
        X : (rows, columns) array, masked array, sparse matrix, torch tensor, data frame or Observations
            Anything that `dmc.observe` accepts, with the columns of `fit`.
        mask : (rows, columns) bool, optional
            True where an entry was observed.

        Returns
        -------
        (rows, columns) float array or data frame
            A data frame with the labels of X if X is one, unless `set_output` says otherwise.

        Raises
        ------
        ValueError, TypeError
            If the matrix cannot be used, or its columns are not those of `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> import dmc
        >>> model = dmc.MatrixCompletion().fit(np.outer([1.0, 2, 3, 4, 5], [1.0, 3, 2, 5]))
        >>> model.transform([[10.0, np.nan, np.nan, 50.0]]).round(3)
        array([[10., 30., 20., 50.]])
        """
        check_is_fitted(self)
        rows = self._rows_of(X, mask)
        predicted = imputation.predict(self._model, rows, self._unit, robustly=self.loss == "robust")
        completed = imputation.with_observed(self._bounds.clipped(predicted), rows)
        return Labels.of(X).around(_arrays.place(completed, rows.device))

    @of_one_fit
    def score(self, X: Any, y: None = None, *, mask: Any = None) -> float:
        """Score the imputation of held-out entries: minus their root mean squared error; higher is better.

        The true values of missing entries are unknown, so each observed entry is treated as missing once: the entries
        of a row are dealt into five parts, and each part is predicted from the other four by folding the row in. This
        is what `GridSearchCV`, `cross_val_score` and similar tools maximise.

        Pass rows that were not in `fit`, as cross-validation does; the model has already seen the entries of the
        others. In a pipeline the data are those that reach this step, so a search over earlier steps needs a `scoring`
        of its own.

        Parameters
        ----------
        X : (rows, columns) array, masked array, sparse matrix, torch tensor, data frame or Observations
            Anything that `dmc.observe` accepts, with the columns of `fit` and at least one observed entry.
        y : None
            Ignored; present for scikit-learn's pipelines.
        mask : (rows, columns) bool, optional
            True where an entry was observed.

        Returns
        -------
        float
            At most 0, in units of each column's spread in `fit`, so that the column with the largest unit does not
            decide alone. About -1 if the model knows no more than the means. The same X and model always give the same
            score: the parts depend on no seed, so all candidates of a search are scored on the same ones.

        Raises
        ------
        ValueError, TypeError
            If the matrix cannot be used, or its columns are not those of `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> import dmc
        >>> model = dmc.MatrixCompletion().fit(np.outer([1.0, 2, 3, 4, 5], [1.0, 3, 2, 5]))
        >>> new_rows = np.outer([6.0, 7, 8], [1.0, 3, 2, 5])
        >>> bool(model.score(new_rows) > -1e-6)
        True
        """
        check_is_fitted(self)
        rows = self._rows_of(X, mask, allow_empty=False)
        given = self._model, rows, self._unit, self._bounds, self._spreads
        return imputation.score(*given, robustly=self.loss == "robust")

    @of_one_fit
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a file (safetensors, no pickle).

        The file appears complete or not at all. Parameters are saved, callbacks are not; labels are saved if they are
        text or numbers.

        Parameters
        ----------
        path : path
            Replaced if it exists.

        Examples
        --------
        >>> import os, tempfile
        >>> import numpy as np
        >>> import dmc
        >>> model = dmc.MatrixCompletion().fit(np.outer([1.0, 2, 3, 4, 5], [1.0, 3, 2, 5]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(os.path.join(folder, "model.safetensors"))
        ...     loaded = dmc.MatrixCompletion.load(os.path.join(folder, "model.safetensors"))
        >>> loaded.rank_
        1
        """
        check_is_fitted(self)
        storage.write(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a model that `save` wrote.

        Parameters
        ----------
        path : path
            Of the file.

        Returns
        -------
        MatrixCompletion
            The fitted model, without callbacks.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is not a dmc model, is damaged, holds a model of another class, or was written by a newer
            version.

        Examples
        --------
        >>> import os, tempfile
        >>> import numpy as np
        >>> import dmc
        >>> model = dmc.MatrixCompletion().fit(np.outer([1.0, 2, 3, 4, 5], [1.0, 3, 2, 5]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(os.path.join(folder, "model.safetensors"))
        ...     loaded = dmc.MatrixCompletion.load(os.path.join(folder, "model.safetensors"))
        >>> np.array_equal(loaded.complete(), model.complete())
        True
        """
        found: Self = storage.read(cls, path)
        return found

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
