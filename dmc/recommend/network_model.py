"""A trained network as it is served, and who comes later: folded in under priors of the users and items known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dmc._group import ALONE, Group
from dmc.factors import Array, Factors
from dmc.observations import Observations
from dmc.pattern import SparseIndex
from dmc.recommend import network
from dmc.recommend.network import NetworkFit, mean_and_unit
from dmc.recommend.side_information import Described, SideInformation
from dmc.solver import row_solve
from dmc.solver.solution import Record, Status

Float = NDArray[np.float64]
SIDES = ("rows", "columns")


class GaussianPrior(NamedTuple):
    """Where a user, or an item, is to be expected before any of its ratings is seen: N(mean, covariance).

    Of its vector: factors and, last, the bias; in the ratings' units.
    """

    mean: Float  # (k + 1,)
    covariance: Float  # (k + 1, k + 1)

    @classmethod
    def estimated(cls, vectors: NDArray[Any], unit: float, group: Group = ALONE) -> GaussianPrior:
        """From the vectors of those who are known to all processes, in ratings of this standard deviation."""
        vectors, d = vectors.astype(np.float64), vectors.shape[1]
        scales = np.append(np.full(d - 1, unit), unit**2)  # of variances: two factors make a rating, or one bias
        count = float(group.sum(len(vectors)))
        mean = group.sum(vectors.sum(axis=0)) / count
        away = vectors - mean
        covariance = group.sum(away.T @ away) * (1 / count)
        return cls(mean, covariance + np.diag(network.TUNING.prior_ridge * scales))


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
    rank : int
        Directions above a thousandth of the largest one.
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
    stopped_by : str or None
    """

    factors: Factors
    mean: float
    noise: float
    rank: int
    precision: float
    observations: Observations
    rows: GaussianPrior
    columns: GaussianPrior
    validation_rmse: float
    n_iter: int
    history: list[Record]
    status: Status
    stopped_by: str | None = None
    attributes = SideInformation()  # networks take none

    @classmethod
    def of(cls, fit: NetworkFit, observations: Observations, rank: int, group: Group = ALONE) -> NetworkModel:
        """What is served of a network, in no more directions than `rank`; of a process its own users."""
        factors, solution, (mean, unit) = fit.factors, fit.solution, mean_and_unit(observations, group)
        if solution.status is not Status.NONFINITE:
            factors = _truncated(factors, rank, group)
        noise = fit.held_out_error
        if not math.isfinite(noise):
            noise = math.sqrt(2 * solution.value / int(group.sum(observations.n_observed))) * unit
        return cls(
            factors=factors,
            mean=mean,
            noise=noise,
            rank=_without_rows(factors, group)[1].rank(1e-3),
            precision=_precision(noise, unit),
            observations=observations,
            rows=GaussianPrior.estimated(_vectors(factors.U, factors.row_bias), unit, group),
            columns=GaussianPrior.estimated(_vectors(factors.V, factors.column_bias), unit),
            validation_rmse=fit.held_out_error,
            n_iter=solution.n_steps,
            history=[{"n_steps": n, "validation_rmse": error} for n, error in fit.errors],
            status=solution.status,
            stopped_by=solution.stopped_by,
        )

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
        described: tuple[Described | None, Described | None] = (None, None),
    ) -> NetworkModel:
        """With more ratings, users and items, none of the others moved; see `RatingModel.extended`."""
        pattern, f = observations.pattern, self.factors
        precisions = pattern.both_orders(self._precisions(observations))
        values = pattern.both_orders(observations.values - np.float32(self.mean))
        rows, columns = (
            np.where(known_as[:, None] >= 0, vectors[known_as], prior.mean).astype(np.float32)
            for known_as, vectors, prior in (
                (row_of, _vectors(f.U, f.row_bias), self.rows),
                (column_of, _vectors(f.V, f.column_bias), self.columns),
            )
        )
        for own, other, index, residuals, precise, prior, which in (
            (columns, rows, pattern.by_column, values.by_column, precisions.by_column, self.columns, column_of < 0),
            (rows, columns, pattern.by_row, values.by_row, precisions.by_row, self.rows, (row_of < 0) | changed),
        ):
            if which.any():
                of_these, entries = index.take(which)
                own[which] = self._posterior_means(of_these, residuals[entries], precise[entries], other, prior)
        return replace(self, factors=_factors(rows, columns), observations=observations)

    def vector(self, columns: NDArray[Any], values: NDArray[Any]) -> Float:
        """(k + 2,) the row of `Factors.left` of a user with these ratings alone: the mean of its posterior."""
        precise = np.full(len(columns), self.precision)
        x, surprise, precision = self._evidence(columns, values, precise)
        moved = np.linalg.solve(precision, x.T @ (precise * surprise))
        return np.append(self.rows.mean + moved, 1.0)

    def contributions(self, row: int, column: int) -> Float:
        """(ratings,) what each of a user's ratings adds to the prediction for an item, by being other than expected."""
        index = self.observations.pattern.by_row
        at = slice(index.indptr[row], index.indptr[row + 1])
        precise = self._precisions(self.observations)[at]
        x, surprise, precision = self._evidence(index.indices[at], self.observations.values[at], precise)
        target = np.append(self.factors.V[column], 1.0)
        return precise * (x @ np.linalg.solve(precision, target)) * surprise

    def _precisions(self, observations: Observations) -> Float:
        """(ratings,) of each."""
        weights = observations.weights
        if weights is None:
            return np.full(observations.n_observed, self.precision)
        return self.precision * weights / weights.mean(dtype=np.float64)

    def _evidence(self, columns: NDArray[Any], values: NDArray[Any], precise: Float) -> tuple[Float, Float, Float]:
        """Of one user: the items' vectors, the ratings less what was expected, and the precision of the posterior;
        `precise` are the ratings' own."""
        f = self.factors
        assert f.column_bias is not None
        x = _vectors(f.V[columns], np.ones(len(columns))).astype(np.float64)
        surprise = values - self.mean - f.column_bias[columns] - x @ self.rows.mean
        return x, surprise, np.linalg.inv(self.rows.covariance) + (x.T * precise) @ x

    def _posterior_means(
        self, index: SparseIndex, values: NDArray[Any], precise: Float, others: NDArray[Any], prior: GaussianPrior
    ) -> Float:
        """(rows, k + 1) of rows with such entries, the vectors of the other side given.

        In whitened coordinates: b = mean + root·z with z ~ N(0, I), and for an entry y of a column with factors q and
        bias c: y − c − ⟨mean, (q, 1)⟩ = ⟨z, rootᵀ(q, 1)⟩ + noise.
        """
        root = np.linalg.cholesky(prior.covariance)
        used, indices = np.unique(index.indices, return_inverse=True)  # of many columns, a few rows have few
        others = others[used]
        x = _vectors(others[:, :-1], np.ones(len(used))).astype(np.float64)
        surprise = values - (others[:, -1] + x @ prior.mean)[indices]
        shape, features = (len(index.indptr) - 1, len(used)), x @ root
        weights = sparse.csr_array((precise, indices, index.indptr), shape=shape)
        residuals = sparse.csr_array((precise * surprise, indices, index.indptr), shape=shape)
        found, _ = row_solve.posteriors(weights, residuals @ features, features)
        return prior.mean + found @ root.T

    def arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """What `from_arrays` needs besides the ratings."""
        f = self.factors
        named = {"U": f.U, "V": f.V, "row_bias": f.row_bias, "column_bias": f.column_bias}
        arrays = {name: np.asarray(array) for name, array in named.items()}
        for name, prior in (("rows", self.rows), ("columns", self.columns)):
            arrays[f"{name}.mean"], arrays[f"{name}.covariance"] = prior
        return arrays, {"mean": self.mean, "noise": self.noise, "rank": self.rank, "precision": self.precision}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, Any], observations: Observations
    ) -> NetworkModel:
        """The model again."""
        factors = Factors(arrays["U"], (), arrays["V"], arrays["row_bias"], arrays["column_bias"])
        rows, columns = (GaussianPrior(arrays[f"{side}.mean"], arrays[f"{side}.covariance"]) for side in SIDES)
        told = numbers["mean"], numbers["noise"], numbers["rank"], numbers["precision"]
        own = (factors, *told, observations, rows, columns)
        return cls(*own, validation_rmse=math.nan, n_iter=0, history=[], status=Status.CONVERGED)


def _truncated(factors: Factors, rank: int, group: Group) -> Factors:
    """The nearest matrix of a rank, or as much of it as the factors have; the rows of U are dealt."""
    basis, small = _without_rows(factors, group)
    found = small.truncate(min(rank, factors.width, *small.shape))
    own = found.U if basis is None else basis @ found.U
    return replace(factors, U=own, cores=(), V=found.V)


def _without_rows(factors: Factors, group: Group) -> tuple[NDArray[Any] | None, Factors]:
    """Own rows (rows, k) of an orthonormal basis for all rows of U, and the factors in it: with the same singular
    values, and a row for each of k directions. One process keeps its rows, and has no basis."""
    if group.size == 1:
        return None, factors
    own, triangle = np.linalg.qr(np.asarray(factors.U))
    triangles = [piece.reshape(-1, triangle.shape[1]) for piece in group.gather(np.ascontiguousarray(triangle).ravel())]
    bases, common = np.linalg.qr(np.concatenate(triangles))
    first = sum(len(piece) for piece in triangles[: group.rank])
    basis = own @ bases[first : first + len(triangle)]
    return basis, Factors(common, factors.cores, factors.V)


def _vectors(factor: Array, bias: Array | None) -> NDArray[Any]:
    """(known, k + 1) factors and, last, the bias."""
    assert bias is not None
    return np.column_stack([factor, bias])


def _factors(rows: NDArray[Any], columns: NDArray[Any]) -> Factors:
    """What `_vectors` takes apart."""
    return Factors(rows[:, :-1], (), columns[:, :-1], rows[:, -1], columns[:, -1])


def _precision(noise: float, unit: float) -> float:
    """Of a rating, for ratings of a standard deviation."""
    return 1 / max(noise, unit / math.sqrt(network.TUNING.max_precision)) ** 2
