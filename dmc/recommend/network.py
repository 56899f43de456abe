"""The compressed deep network on ratings: by gradient descent, for as long as held-out ratings gain from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dmc.factors import Factors
from dmc.observations import Observations
from dmc.pattern import SparseIndex
from dmc.solver import initial, row_solve, steps
from dmc.solver.callbacks import EarlyStopping, Lowest
from dmc.solver.loop import Callback, solve
from dmc.solver.problem import MaskedLeastSquares
from dmc.solver.solution import Solution, Status

Float = NDArray[np.float64]
SIDES = ("rows", "columns")


@dataclass(frozen=True)
class NetworkTuning:
    """What was chosen for networks on ratings, on held-out parts of the training ratings of MovieLens 100K and Douban.

    Attributes
    ----------
    rank, depth, l2, validation_fraction
        Of `NetworkSettings`, where they are not given.
    start_scale : float
        Of the factors' entries, for ratings of unit variance.
    rate : float
        Adam's, for factors of that size.
    max_steps : int
        In which the number of steps is sought.
    patience : int
        Looks without a better error that end the search.
    check_every : int
        Steps between two looks.
    min_held_out, max_held_out : int
        Ratings held out: of fewer the error says nothing, and more would cost time and tell nothing.
    fallback_steps : int
        Steps where too few ratings are there to hold any out.
    gather_bytes : int
        Bytes of factors beyond the caches, where gathering in half the bytes saves time. The noise of ratings hides
        the rounding: test errors on MovieLens and Douban are the same to .0005.
    prior_ridge : float
        Added to the variances of the priors of users and items, for ratings of unit variance.
    max_precision : float
        Of a rating around the network, for ratings of unit variance.
    """

    rank: int = 16
    depth: int = 3
    l2: float = 1.3
    validation_fraction: float = 0.1
    start_scale: float = 0.3
    rate: float = 0.03
    max_steps: int = 1_000
    patience: int = 40
    check_every: int = 5
    min_held_out: int = 20
    max_held_out: int = 200_000
    fallback_steps: int = 100
    gather_bytes: int = 1 << 25
    prior_ridge: float = 1e-6
    max_precision: float = 2e4


TUNING = NetworkTuning()


@dataclass(frozen=True)
class NetworkFit:
    """A network that was trained on ratings.

    Attributes
    ----------
    factors : Factors
        In the ratings' units; the mean comes on top. NumPy arrays.
    mean : float
    held_out_error : float
        Root mean squared error on the ratings that were held out; NaN without.
    errors : list of (int, float)
        Steps and that error, at each look.
    solution : Solution
        Of the final training.
    """

    factors: Factors
    mean: float
    held_out_error: float
    errors: list[tuple[int, float]]
    solution: Solution


@dataclass(frozen=True)
class NetworkSettings:
    """How to train.

    Parameters
    ----------
    rank : int
        Bound of the rank; the network is twice as wide.
    depth : int
        Number of cores.
    l2 : float
        Relative to the ratings' standard deviation; that of a user or item grows with the square root of its ratings.
    validation_fraction : float
        Share of the ratings held out to find the number of steps.
    device : str, optional
        Where to train.
    """

    rank: int
    depth: int
    l2: float
    validation_fraction: float
    device: str | None

    def fit(self, observations: Observations, rng: np.random.Generator, callbacks: Sequence[Callback]) -> NetworkFit:
        """Train on a part of the ratings, to see how many steps are best, and then on all of them."""
        values = observations.values
        mean, unit = float(np.mean(values, dtype=np.float64)), _unit_of(values)
        scaled = observations.with_values(((values - mean) / unit).astype(np.float32))
        scaled = scaled if self.device is None else scaled.to(self.device)
        start = self._start(scaled, rng)
        watch, solution = self._find_length(scaled, start, rng, callbacks)
        if solution is None or solution.stopped_by in (None, EarlyStopping.name):
            lowest = Lowest()  # a last step may land on a spike
            n_steps = max(watch.best_step, 1) if watch else TUNING.fallback_steps
            solution = self._train(scaled, start, n_steps, lowest, callbacks)
            solution = replace(solution, factors=lowest.best or solution.factors)
        factors = solution.factors
        if solution.status is Status.STOPPED and watch is not None and watch.best is not None:
            factors = watch.best  # somebody asked to stop: better the best so far than an unfinished final training
        if solution.status is Status.MAX_STEPS:  # the number that it was given: that is its end
            solution = replace(solution, status=Status.CONVERGED)
        errors = [(n, error * unit) for n, error in (watch.errors if watch else [])]
        best = watch.best_error * unit if watch else float("nan")
        return NetworkFit(factors.to(None).scaled(unit), mean, best, errors, solution)

    def _start(self, scaled: Observations, rng: np.random.Generator) -> Factors:
        m, n = scaled.shape
        width = 2 * min(self.rank, m, n)
        start = initial.gaussian((m, n), width, self.depth, TUNING.start_scale, rng, np.float32)
        return replace(start, row_bias=np.zeros(m, np.float32), column_bias=np.zeros(n, np.float32))

    def _find_length(
        self, scaled: Observations, start: Factors, rng: np.random.Generator, callbacks: Sequence[Callback]
    ) -> tuple[EarlyStopping | None, Solution | None]:
        fraction = min(self.validation_fraction, TUNING.max_held_out / scaled.n_observed)
        if fraction * scaled.n_observed < TUNING.min_held_out:
            return None, None
        try:
            train, held_out = scaled.split(fraction, rng)
        except ValueError:  # every rating is the only one of its user or item
            return None, None
        watch = EarlyStopping(held_out, patience=TUNING.patience)
        return watch, self._train(train, start, TUNING.max_steps, watch, callbacks)

    def _train(
        self, scaled: Observations, start: Factors, n_steps: int, watch: Callback, callbacks: Sequence[Callback]
    ) -> Solution:
        pattern = scaled.pattern
        l2 = (self.l2 * pattern.row_counts**0.5, self.l2 * pattern.column_counts**0.5)
        far = (start.U.nbytes + start.V.nbytes) > TUNING.gather_bytes
        return solve(
            MaskedLeastSquares(scaled, l2=l2, gathered="bfloat16" if far else None),
            start,
            steps.Adam(TUNING.rate),
            max_steps=n_steps,
            callbacks=[watch, *callbacks],
            check_every=TUNING.check_every,
        )


class GaussianPrior(NamedTuple):
    """Where a user, or an item, is to be expected before any of its ratings is seen: N(mean, covariance).

    Of its vector: factors and, last, the bias; in the ratings' units.
    """

    mean: Float  # (k + 1,)
    covariance: Float  # (k + 1, k + 1)

    @classmethod
    def estimated(cls, vectors: NDArray[Any], unit: float) -> GaussianPrior:
        """From the vectors of those who are known, in ratings of this standard deviation."""
        vectors, d = vectors.astype(np.float64), vectors.shape[1]
        scales = np.append(np.full(d - 1, unit), unit**2)  # of variances: two factors make a rating, or one bias
        covariance = np.cov(vectors, rowvar=False, ddof=0).reshape(d, d)
        return cls(vectors.mean(axis=0), covariance + np.diag(TUNING.prior_ridge * scales))


@dataclass(frozen=True, eq=False)
class NetworkModel:
    """A trained network as it is served: the nearest two-factor model of its rank.

    New users and items are folded in at the mean of their posterior, under Gaussian priors that are estimated from the
    vectors of those who were trained: ridge regression on their ratings, the other side given.

    Attributes
    ----------
    factors : Factors
        Two-factor, biases included, in the ratings' units; the mean comes on top.
    mean : float
    noise : float
        Root mean squared error on held-out ratings; without, on those that were trained on.
    precision : float
        Of a rating around the network, when others are folded in.
    observations : Observations
        The ratings.
    rows, columns : GaussianPrior
        Of the vectors of users and of items.
    validation_rmse : float
        On ratings that were held out; NaN without.
    n_iter : int
        Steps of the final training.
    history : list of dict
        "n_steps" and "validation_rmse" at each look.
    status : Status
    """

    factors: Factors
    mean: float
    noise: float
    precision: float
    observations: Observations
    rows: GaussianPrior
    columns: GaussianPrior
    validation_rmse: float
    n_iter: int
    history: list[dict[str, Any]]
    status: Status

    @classmethod
    def of(cls, fit: NetworkFit, observations: Observations, rank: int) -> NetworkModel:
        """What is served of a network, in no more directions than `rank`."""
        factors, solution, unit = fit.factors, fit.solution, _unit_of(observations.values)
        if solution.status is not Status.NONFINITE:
            factors = factors.truncate(min(rank, factors.width, *factors.shape))
        noise = fit.held_out_error
        if not math.isfinite(noise):
            noise = math.sqrt(2 * solution.value / observations.n_observed) * float(observations.values.std())
        return cls(
            factors=factors,
            mean=fit.mean,
            noise=noise,
            precision=_precision(noise, unit),
            observations=observations,
            rows=GaussianPrior.estimated(_vectors(factors.U, factors.row_bias), unit),
            columns=GaussianPrior.estimated(_vectors(factors.V, factors.column_bias), unit),
            validation_rmse=fit.held_out_error,
            n_iter=solution.n_steps,
            history=[{"n_steps": n, "validation_rmse": error} for n, error in fit.errors],
            status=solution.status,
        )

    @property
    def rank(self) -> int:
        """Directions above a thousandth of the largest one."""
        return self.factors.rank(1e-3)

    def served(self) -> Factors:
        """The factors, each side with a last line: what is expected of one without ratings."""
        f = self.factors
        rows, columns = (
            np.vstack([vectors, prior.mean]).astype(np.float32)
            for vectors, prior in (
                (_vectors(f.U, f.row_bias), self.rows),
                (_vectors(f.V, f.column_bias), self.columns),
            )
        )
        return _factors(rows, columns)

    def extended(
        self,
        observations: Observations,
        row_of: NDArray[np.int64],
        column_of: NDArray[np.int64],
        changed: NDArray[np.bool_],
    ) -> NetworkModel:
        """With more ratings, users and items, none of the others moved; see `RatingModel.extended`."""
        pattern, f = observations.pattern, self.factors
        values = pattern.both_orders(observations.values - np.float32(self.mean))
        rows, columns = (
            np.where(known_as[:, None] >= 0, vectors[known_as], prior.mean).astype(np.float32)
            for known_as, vectors, prior in (
                (row_of, _vectors(f.U, f.row_bias), self.rows),
                (column_of, _vectors(f.V, f.column_bias), self.columns),
            )
        )
        for own, other, index, residuals, prior, which in (
            (columns, rows, pattern.by_column, values.by_column, self.columns, column_of < 0),
            (rows, columns, pattern.by_row, values.by_row, self.rows, (row_of < 0) | changed),
        ):
            if which.any():
                own[which] = self._posterior_means(*_some(index, residuals, which), other, prior)
        return replace(self, factors=_factors(rows, columns), observations=observations)

    def vector(self, columns: NDArray[Any], values: NDArray[Any]) -> Float:
        """(k + 2,) the row of `Factors.left` of a user with these ratings alone: the mean of its posterior."""
        alone = SparseIndex(np.array([0, len(columns)]), np.arange(len(columns)))
        assert self.factors.column_bias is not None
        items = _vectors(self.factors.V[columns], self.factors.column_bias[columns])
        (found,) = self._posterior_means(alone, np.asarray(values) - self.mean, items, self.rows)
        return np.append(found, 1.0)

    def contributions(self, row: int, column: int) -> Float:
        """(ratings,) what each of a user's ratings adds to the prediction for an item, by being other than expected."""
        index = self.observations.pattern.by_row
        at = slice(index.indptr[row], index.indptr[row + 1])
        known, f = index.indices[at], self.factors
        x, target = np.column_stack([f.V[known], np.ones(len(known))]).astype(np.float64), np.append(f.V[column], 1.0)
        assert f.column_bias is not None
        surprise = self.observations.values[at] - self.mean - f.column_bias[known] - x @ self.rows.mean
        gram = np.linalg.inv(self.rows.covariance) + self.precision * x.T @ x
        return self.precision * (x @ np.linalg.solve(gram, target)) * surprise

    def _posterior_means(
        self, index: SparseIndex, values: NDArray[Any], others: NDArray[Any], prior: GaussianPrior
    ) -> Float:
        """(rows, k + 1) of rows with such entries, the vectors of the other side given.

        In whitened coordinates: b = mean + root·z with z ~ N(0, I), and for an entry y of a column with factors q and
        bias c: y − c − ⟨mean, (q, 1)⟩ = ⟨z, rootᵀ(q, 1)⟩ + noise.
        """
        root = np.linalg.cholesky(prior.covariance)
        x = np.column_stack([others[:, :-1], np.ones(len(others))]).astype(np.float64)
        surprise = values - (others[:, -1] + x @ prior.mean)[index.indices]
        shape = (len(index.indptr) - 1, len(others))
        features = x @ root
        targets = self.precision * (sparse.csr_array((surprise, index.indices, index.indptr), shape=shape) @ features)
        weights = np.full(len(surprise), self.precision)
        weights = sparse.csr_array((weights, index.indices, index.indptr), shape=shape)
        found, _ = row_solve.posteriors(weights, targets, features)
        return prior.mean + found @ root.T

    def arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """What `from_arrays` needs besides the ratings."""
        f = self.factors
        arrays = {"U": f.U, "V": f.V, "row_bias": f.row_bias, "column_bias": f.column_bias}
        for name, prior in (("rows", self.rows), ("columns", self.columns)):
            arrays[f"{name}.mean"], arrays[f"{name}.covariance"] = prior
        return arrays, {"mean": self.mean, "noise": self.noise, "precision": self.precision}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, Any], observations: Observations
    ) -> NetworkModel:
        """The model again; also out of files of versions that kept networks as if they were Bayesian factorisations."""
        mean, noise, precision = numbers["mean"], numbers["noise"], numbers.get("precision", math.nan)
        if "unit" in numbers:
            unit = numbers["unit"]
            arrays = _of_old_file(arrays, unit)
            precision = _precision(noise, unit) if math.isnan(precision) else precision / unit**2
        factors = Factors(arrays["U"], (), arrays["V"], arrays["row_bias"], arrays["column_bias"])
        rows, columns = (GaussianPrior(arrays[f"{side}.mean"], arrays[f"{side}.covariance"]) for side in SIDES)
        return cls(factors, mean, noise, precision, observations, rows, columns, math.nan, 0, [], Status.CONVERGED)


def _of_old_file(arrays: Mapping[str, NDArray[Any]], unit: float) -> dict[str, NDArray[Any]]:
    """The arrays as they are now: old ones were in units of the ratings' standard deviation."""
    found: dict[str, NDArray[Any]] = {}
    for side, factor, bias in (("rows", "U", "row_bias"), ("columns", "V", "column_bias")):
        means = arrays[f"{side}.means"]
        units = np.append(np.full(means.shape[1] - 1, math.sqrt(unit)), unit)
        vectors = (means * units).astype(np.float32)
        found |= {factor: vectors[:, :-1], bias: vectors[:, -1], f"{side}.mean": arrays[f"{side}.weights"][0] * units}
        found[f"{side}.covariance"] = arrays[f"{side}.covariance"] * np.outer(units, units)
    return found


def _vectors(factor: NDArray[Any], bias: NDArray[Any] | None) -> NDArray[Any]:
    """(known, k + 1) factors and, last, the bias."""
    assert bias is not None
    return np.column_stack([factor, bias])


def _factors(rows: NDArray[Any], columns: NDArray[Any]) -> Factors:
    """What `_vectors` takes apart."""
    return Factors(rows[:, :-1], (), columns[:, :-1], rows[:, -1], columns[:, -1])


def _unit_of(values: NDArray[Any]) -> float:
    """The ratings' standard deviation; 1 where they are all the same."""
    return float(np.std(values, dtype=np.float64)) or 1.0


def _precision(noise: float, unit: float) -> float:
    """Of a rating, for ratings of a standard deviation."""
    return 1 / max(noise, unit / math.sqrt(TUNING.max_precision)) ** 2


def _some(index: SparseIndex, values: NDArray[Any], which: NDArray[np.bool_]) -> tuple[SparseIndex, NDArray[Any]]:
    """Some of the rows, with their values."""
    counts = np.diff(index.indptr)
    entries = np.repeat(which, counts)
    return SparseIndex(np.concatenate([[0], np.cumsum(counts[which])]), index.indices[entries]), values[entries]
