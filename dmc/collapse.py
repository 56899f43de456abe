"""Measures of how far a layer's features have collapsed onto their classes: NC1, NC2, NC3 and D, in one pass.

With h_i a feature vector of class y_i, μ_c the classes' means, n_c their sizes, n the samples and C the classes:

    Σ_W = Σ_i (h_i − μ_{y_i})(h_i − μ_{y_i})ᵀ/n            within the classes
    Σ_B = Σ_c n_c (μ_c − μ)(μ_c − μ)ᵀ/n                    between them, μ the mean of all samples

References
----------
V. Papyan, X. Han, D. Donoho, "Prevalence of neural collapse during the terminal phase of deep learning training", 2020
(arXiv 2008.08186): NC1 to NC3. Z. Zhu et al., "A geometric analysis of neural collapse with unconstrained features",
2021 (arXiv 2105.02375): the distance to the simplex. P. Wang et al., "Understanding deep representation learning via
layerwise feature compression and discrimination", 2023 (arXiv 2311.02960): D, layer by layer.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmc import _checks
from dmc._warn import warn

__all__ = ["ClassStatistics", "Collapse", "collapse"]

Matrix = NDArray[np.float64]

# Σ_W is kept whole up to this many features: 128 MiB a layer.
MAX_FEATURES = 4096


class Collapse(NamedTuple):
    """Measures of neural collapse: each falls towards 0 as features collapse, and is NaN where it is undefined.

    Parameters
    ----------
    nc1 : float
        Variability within the classes, in units of that between them: tr(Σ_W Σ_B⁺)/C. NaN beyond 4,096 features.
    within_to_between : float
        D = tr(Σ_W)/tr(Σ_B). In a trained network it falls about geometrically from layer to layer.
    equinorm : float
        NC2: standard deviation of ‖μ_c − m‖ over its mean, with m the mean of the class means.
    equiangular : float
        NC2: mean absolute value of cos(μ_c − m, μ_c' − m) + 1/(C − 1) over pairs of classes.
    simplex_distance : float
        NC2: ‖G/‖G‖_F − (I − 11ᵀ/C)/√(C − 1)‖_F, with G the Gram matrix of the μ_c − m: 0 for a simplex equiangular
        tight frame. NC2 is NaN for two classes, whose centred means always form one.
    nc3 : float
        ‖W/‖W‖_F − M/‖M‖_F‖_F, with W (C, k) the classifier and M (C, k) the rows μ_c − m: 0 where the classifier's rows
        are the centred class means, up to a factor. NaN without a classifier.
    n_samples : int
        Number of samples.
    n_classes : int
        Number of classes C.

    Examples
    --------
    >>> import numpy as np
    >>> from dmc import diagnostics
    >>> labels = np.arange(30) % 3
    >>> features = np.eye(3)[labels] + 1e-3 * np.random.default_rng(0).standard_normal((30, 3))
    >>> found = diagnostics.collapse(features, labels)
    >>> found.n_classes, found.nc1 < 1e-4, found.equinorm < 1e-2
    (3, True, True)
    """

    nc1: float
    within_to_between: float
    equinorm: float
    equiangular: float
    simplex_distance: float
    nc3: float
    n_samples: int
    n_classes: int


def collapse(
    features: ArrayLike, labels: ArrayLike, classifier: ArrayLike | None = None, n_classes: int | None = None
) -> Collapse:
    """Measure the neural collapse of features that fit into memory; see `ClassStatistics` for batches.

    Parameters
    ----------
    features : (samples, k) numbers
        One row for each sample.
    labels : (samples,) array of any values
        The class of each row. Whole numbers from 0 with `classifier` or `n_classes`.
    classifier : (classes, k) numbers, optional
        Weights of the last linear layer, row c for class c: for NC3.
    n_classes : int, optional
        The number of classes, if more exist than occur.

    Returns
    -------
    Collapse
        All measures.

    Raises
    ------
    ValueError
        If shapes do not fit, a feature is not finite, or there are fewer than two classes.

    Warns
    -----
    UserWarning
        Where a measure is undefined and NaN: all features the same, a class without members, no class with two members,
        more features than `Collapse.nc1` is measured for. Where the class means coincide, D and NC1 are infinite.

    Examples
    --------
    >>> import numpy as np
    >>> from dmc import diagnostics
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.integers(4, size=1000)
    >>> collapsed = diagnostics.collapse(10 * np.eye(4)[labels] + 0.01 * rng.standard_normal((1000, 4)), labels)
    >>> collapsed.nc1 < 1e-5 and collapsed.simplex_distance < 1e-3
    True
    >>> diagnostics.collapse(rng.standard_normal((1000, 4)), labels).nc1 > 100
    True
    """
    statistics = ClassStatistics(n_classes)
    statistics.update(features, labels)
    return statistics.measure(classifier)


class ClassStatistics:
    """Counts, means and scatter of features by class, gathered batch by batch in float64.

    Memory: C·k numbers, and k² up to 4,096 features; beyond that, NC1 is not measured. Order and size of the batches
    change the result by rounding only.

    Parameters
    ----------
    n_classes : int, optional
        If given, labels are whole numbers from 0 to n_classes − 1.

    Examples
    --------
    >>> import numpy as np
    >>> from dmc import diagnostics
    >>> rng, statistics = np.random.default_rng(0), diagnostics.ClassStatistics()
    >>> for _ in range(10):
    ...     labels = rng.integers(3, size=100)
    ...     statistics.update(np.eye(3)[labels] + 0.1 * rng.standard_normal((100, 3)), labels)
    >>> found = statistics.measure()
    >>> found.n_samples, found.within_to_between < 0.1
    (1000, True)
    """

    def __init__(self, n_classes: int | None = None) -> None:
        self._n_classes = None if n_classes is None else _checks.integer(n_classes, "n_classes", 2)
        self._classes: dict[Any, int] = {}  # and the place of each, in the order in which they were met
        self._counts = np.zeros(0)
        self._means: Matrix | None = None  # (classes, k), in units of `_unit`
        self._scatter: Matrix | None = None  # (k, k), n Σ_W
        self._within = 0.0  # tr(n Σ_W)
        self._unit = 0.0  # a power of two about as large as the features, so that squares stay inside float64's range
        self._largest = 0.0
        self._eps = float(np.finfo(np.float64).eps)

    def update(self, features: ArrayLike, labels: ArrayLike) -> None:
        """Add a batch.

        Parameters
        ----------
        features : (samples, k) numbers
            One row for each sample.
        labels : (samples,) array of any values
            The class of each row.

        Raises
        ------
        ValueError
            If shapes do not fit each other or earlier batches, or a feature is not finite.
        """
        X = _checks.as_float(features, "features")
        y = np.asarray(labels)
        if X.ndim != 2 or y.shape != X.shape[:1]:
            raise ValueError(
                f"features have shape {X.shape} and labels {y.shape}; give one label for each row of features"
            )
        if not len(X):
            return
        _checks.finite(X, "features")
        if self._means is not None and X.shape[1] != self._means.shape[1]:
            raise ValueError(
                f"features have {X.shape[1]} columns and earlier ones had {self._means.shape[1]}; use the same number "
                "in every batch"
            )
        self._check_labels(y)
        self._eps = max(self._eps, float(np.finfo(X.dtype).eps))
        self._add(self._scaled(X.astype(np.float64)), y)

    def measure(self, classifier: ArrayLike | None = None) -> Collapse:
        """Compute the measures of all batches so far; see `collapse` for warnings.

        Parameters
        ----------
        classifier : (classes, k) numbers, optional
            Weights of the last linear layer, row c for class c: for NC3.

        Returns
        -------
        Collapse
            All measures.

        Raises
        ------
        ValueError
            If there are fewer than two classes, or the classifier does not fit.
        """
        n_classes = len(self._classes) if self._n_classes is None else self._n_classes
        if self._means is None or n_classes < 2:
            raise ValueError(f"labels hold {_checks.count(n_classes, 'class', 'classes')}; separation needs two")
        order = [self._classes[label] for label in sorted(self._classes)]
        means, counts = self._means[order], self._counts[order]
        W = None if classifier is None else self._checked_classifier(classifier, means.shape[1])
        n_classes = max(n_classes, 0 if W is None else len(W))
        n = int(counts.sum())
        nothing = Collapse(*(math.nan,) * 6, n, n_classes)
        noise = self._eps * self._largest * math.sqrt(means.shape[1])  # of a feature vector, by rounding
        centred = (means - counts @ means / n) * np.sqrt(counts / n)[:, None]
        between, within = float((centred**2).sum()), self._within / n
        reason = self._degenerate(n_classes, counts, within + between, noise)
        if reason:
            warn(f"{reason}; every measure of collapse is NaN")
            return nothing
        if between <= noise**2:
            warn("the class means coincide; D and NC1 are infinite, the other measures NaN")
            return nothing._replace(nc1=math.inf, within_to_between=math.inf)
        nc1 = self._nc1(centred, noise) / n_classes
        shape = _simplex(means) if n_classes > 2 else (math.nan,) * 3
        return Collapse(nc1, within / between, *shape, math.nan if W is None else _alignment(W, means), n, n_classes)

    def _check_labels(self, y: NDArray[Any]) -> None:
        kinds = {isinstance(label, (str, bytes)) for label in (*y.tolist(), *list(self._classes)[:1])}
        if len(kinds) > 1 or (y.dtype.kind == "O" and any(label is None for label in y.tolist())):
            raise ValueError("labels are of several kinds, such as text, numbers and None; give all of one kind")
        if y.dtype.kind == "f" and np.isnan(y).any():
            raise ValueError(
                f"labels hold {_checks.count(int(np.isnan(y).sum()), 'NaN')}; give a class for each sample"
            )
        if self._n_classes is None:
            return
        if y.dtype.kind not in "iub" or y.min() < 0 or y.max() >= self._n_classes:
            raise ValueError(
                f"labels run from {y.min()} to {y.max()}; give whole numbers from 0 to {self._n_classes - 1}, for "
                f"n_classes = {self._n_classes}"
            )

    def _scaled(self, X: Matrix) -> Matrix:
        largest = float(np.abs(X).max(initial=0.0))
        if self._unit == 0 and largest > 0:
            self._unit = 2.0 ** min(max(math.frexp(largest)[1], -1000), 1000)
        X = X / (self._unit or 1.0)
        self._largest = max(self._largest, largest / (self._unit or 1.0))
        return X

    def _add(self, X: Matrix, y: NDArray[Any]) -> None:
        """Update as Chan, Golub & LeVeque do: deviations from the batch's means, plus the shift of the means."""
        k = X.shape[1]
        if self._means is None:
            self._means = np.zeros((0, k))
            self._scatter = np.zeros((k, k)) if k <= MAX_FEATURES else None
        found, which, added = np.unique(y, return_inverse=True, return_counts=True)
        place = np.asarray([self._place(label) for label in found.tolist()])
        sums = np.zeros((len(found), k))
        np.add.at(sums, which, X)
        batch_means = sums / added[:, None]
        before = self._counts[place]
        shift = batch_means - self._means[place]
        weights = np.sqrt(before * added / (before + added))
        deviations = np.vstack([X - batch_means[which], weights[:, None] * shift])
        self._within += float((deviations**2).sum())
        if self._scatter is not None:
            self._scatter += deviations.T @ deviations
        self._means[place] += shift * (added / (before + added))[:, None]
        self._counts[place] += added

    def _place(self, label: Any) -> int:
        if label not in self._classes:
            assert self._means is not None
            self._classes[label] = len(self._classes)
            self._counts = np.append(self._counts, 0.0)
            self._means = np.vstack([self._means, np.zeros(self._means.shape[1])])
        return self._classes[label]

    def _degenerate(self, n_classes: int, counts: Matrix, total: float, noise: float) -> str:
        """Why every measure is undefined for the features; empty if they are not."""
        if len(counts) < n_classes:
            return f"{_checks.count(n_classes - len(counts), 'class has', 'classes have')} no members"
        if total <= noise**2:
            return f"all {int(counts.sum()):,} feature vectors are the same"
        if counts.max() < 2:
            return "no class has two members"
        return ""

    def _nc1(self, centred: Matrix, noise: float) -> float:
        """tr(Σ_W Σ_B⁺): Σ_B = centredᵀ centred has rank C − 1 at most, its directions cut relative to the largest."""
        if self._scatter is None:
            warn(
                f"features have {centred.shape[1]:,} columns; NC1 is measured up to {MAX_FEATURES:,} and is NaN: pool "
                "them first"
            )
            return math.nan
        _, s, Qt = np.linalg.svd(centred, full_matrices=False)
        floor = max(noise, s[0] * max(centred.shape) * float(np.finfo(np.float64).eps))
        kept = np.flatnonzero(s[: len(centred) - 1] > floor)
        along = np.einsum("ik,ik->i", Qt[kept] @ self._scatter, Qt[kept]) / self._counts.sum()
        return float(np.sum(along / s[kept] ** 2))

    def _checked_classifier(self, classifier: ArrayLike, k: int) -> Matrix:
        W = _checks.as_float(classifier, "classifier").astype(np.float64)
        rows = f"{len(self._classes) if self._n_classes is None else self._n_classes} classes"
        if W.ndim != 2 or W.shape[1] != k or len(W) < len(self._classes):
            raise ValueError(f"classifier has shape {W.shape}; give one row for each of {rows}, of {k} features")
        _checks.finite(W, "classifier")
        foreign = [label for label in self._classes if label not in range(len(W))]
        if foreign:
            raise ValueError(
                f"labels hold {foreign[0]!r}, which is not a row of a classifier of {len(W)}; give whole numbers from 0"
            )
        return W


def _simplex(means: Matrix) -> tuple[float, float, float]:
    """NC2 of class means: equal norms, equal angles, distance of their Gram matrix to a simplex's."""
    M = means - means.mean(axis=0)
    C = len(M)
    norms = np.linalg.norm(M, axis=1)
    equinorm = float(norms.std() / norms.mean())
    G = M @ M.T
    simplex = (np.eye(C) - 1 / C) / math.sqrt(C - 1)
    distance = float(np.linalg.norm(G / np.linalg.norm(G) - simplex))
    if norms.min() <= 1e-12 * norms.max():  # a class at the centre has no direction
        return equinorm, math.nan, distance
    cosines = (G / np.outer(norms, norms))[~np.eye(C, dtype=bool)]
    return equinorm, float(np.abs(cosines + 1 / (C - 1)).mean()), distance


def _alignment(W: Matrix, means: Matrix) -> float:
    """NC3: distance of the classifier to the centred class means, both of norm 1; NaN for a classifier of zeros."""
    M = means - means.mean(axis=0)
    size = np.linalg.norm(W)
    if size == 0:
        warn("the classifier is all zero; NC3 is NaN")
        return math.nan
    return float(np.linalg.norm(W / size - M / np.linalg.norm(M)))
