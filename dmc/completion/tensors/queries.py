"""What a fitted completion of a tensor answers: entries, the whole tensor, a score, a file."""

from __future__ import annotations

import math
import os
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from dmc import _arrays, _checks
from dmc.completion.one_fit import of_one_fit
from dmc.completion.results import rms
from dmc.completion.tensors import storage
from dmc.completion.tensors.model import TensorModel
from dmc.tubal.problem import read_tensor


class TensorQueries(BaseEstimator):
    """The part of `TensorCompletion` that needs no more than a fitted model."""

    min_value: float | None
    max_value: float | None
    missing_values: float | None
    _model: TensorModel
    _seen: list[NDArray[np.bool_]]  # for each axis, whether any entry was observed at each position
    _dtype: Any

    @of_one_fit
    def predict(self, i: ArrayLike, j: ArrayLike, t: ArrayLike) -> NDArray[Any]:
        """Predict entries at given positions along the three axes.

        Parameters
        ----------
        i, j, t : (entries,) int arrays
            Zero-based positions along axes 0, 1 and 2.

        Returns
        -------
        (entries,) float array
            In the data's units.

        Raises
        ------
        ValueError, TypeError
            If a position is out of range, or the lengths differ.

        Examples
        --------
        >>> import numpy as np
        >>> import dmc
        >>> rng = np.random.default_rng(0)
        >>> X = dmc.tubal.product(rng.standard_normal((10, 1, 4)), rng.standard_normal((1, 10, 4)))
        >>> model = dmc.TensorCompletion().fit(X, mask=rng.random(X.shape) < 0.7)
        >>> np.allclose(model.predict([0, 9], [1, 8], [2, 3]), X[[0, 9], [1, 8], [2, 3]])
        True
        """
        check_is_fitted(self)
        named = zip(
            (i, j, t), self._model.shape, ("axis-0 position", "axis-1 position", "axis-2 position"), strict=True
        )
        where = tuple(_checks.indices(host(at), n, name).astype(np.int64) for at, n, name in named)
        _checks.same_length(i=where[0], j=where[1], t=where[2])
        return self._clipped(self._model.at(where))

    @of_one_fit
    def complete(self, unknown: float | None = None) -> NDArray[Any]:
        """Return the fitted tensor X̂ at every position, observed ones included.

        Parameters
        ----------
        unknown : float, optional
            Value to put into slices without any observed entry, such as NaN. Default: the model's guess.

        Returns
        -------
        (n1, n2, n3) float array
            In the data's units.

        Raises
        ------
        MemoryError
            If the tensor exceeds the machine's memory; `predict` gives single entries.

        Examples
        --------
        >>> import numpy as np
        >>> import dmc
        >>> rng = np.random.default_rng(0)
        >>> X = dmc.tubal.product(rng.standard_normal((10, 1, 4)), rng.standard_normal((1, 10, 4)))
        >>> model = dmc.TensorCompletion().fit(X, mask=rng.random(X.shape) < 0.7)
        >>> np.allclose(model.complete(), X)
        True
        """
        check_is_fitted(self)
        shape = self._model.shape
        _checks.memory(math.prod(shape) * 8, f"the completed {shape} tensor", "ask for entries with predict(i, j, t)")
        completed = self._clipped(self._model.dense())
        if unknown is not None:
            first, second, third = self._seen
            known = first[:, None, None] & second[:, None] & third
            completed = np.where(known, completed, np.asarray(unknown, completed.dtype))
        return completed

    @of_one_fit
    def score(self, X: Any, y: None = None, *, mask: Any = None) -> float:
        """Score predictions of unseen entries: minus their root mean squared error; higher is better.

        Parameters
        ----------
        X : (n1, n2, n3) array, masked array or torch tensor
            Of the fitted shape, with the entries to judge by; NaN elsewhere.
        y : None
            Ignored; present for scikit-learn's pipelines.
        mask : (n1, n2, n3) bool array, optional
            True where an entry counts.

        Returns
        -------
        float
            At most 0, in the data's units.

        Raises
        ------
        ValueError, TypeError
            If the tensor cannot be used, or has another shape than the fitted one.

        Examples
        --------
        >>> import numpy as np
        >>> import dmc
        >>> rng = np.random.default_rng(0)
        >>> X = dmc.tubal.product(rng.standard_normal((10, 1, 4)), rng.standard_normal((1, 10, 4)))
        >>> seen = rng.random(X.shape) < 0.7
        >>> model = dmc.TensorCompletion().fit(X, mask=seen)
        >>> bool(model.score(X, mask=~seen) > -1e-6)
        True
        """
        check_is_fitted(self)
        values, observed = read_tensor(host(X), host(mask), self.missing_values)
        if values.shape != self._model.shape:
            raise ValueError(f"X has shape {values.shape} and the fitted tensor {self._model.shape}; give one like it")
        return -rms(self._clipped(self._model.at(np.nonzero(observed))) - values[observed])

    @of_one_fit
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a file (safetensors, no pickle).

        The file appears complete or not at all. Parameters are saved, callbacks are not.

        Parameters
        ----------
        path : path
            Replaced if it exists.

        Examples
        --------
        >>> import os, tempfile
        >>> import numpy as np
        >>> import dmc
        >>> model = dmc.TensorCompletion().fit(np.ones((4, 4, 4)) * np.arange(1.0, 5))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(os.path.join(folder, "model.safetensors"))
        ...     loaded = dmc.TensorCompletion.load(os.path.join(folder, "model.safetensors"))
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
        TensorCompletion
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
        >>> model = dmc.TensorCompletion().fit(np.ones((4, 4, 4)) * np.arange(1.0, 5))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(os.path.join(folder, "model.safetensors"))
        ...     loaded = dmc.TensorCompletion.load(os.path.join(folder, "model.safetensors"))
        >>> np.array_equal(loaded.complete(), model.complete())
        True
        """
        found: Self = storage.read(cls, path)
        return found

    def _clipped(self, values: NDArray[Any]) -> NDArray[Any]:
        low, high = self._bounds()
        bounded = values if low == -math.inf and high == math.inf else np.clip(values, low, high)
        return bounded.astype(self._dtype, copy=False)

    def _bounds(self) -> tuple[float, float]:
        low = -math.inf if self.min_value is None else _checks.real(self.min_value, "min_value")
        return low, math.inf if self.max_value is None else _checks.real(self.max_value, "max_value")


def host(X: Any) -> Any:
    """A torch tensor as NumPy's array; anything else as it is."""
    return _arrays.place(X, None) if _arrays.is_tensor(X) else X
