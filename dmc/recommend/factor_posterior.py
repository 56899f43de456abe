"""The rows, or the columns, in the Bayesian fit: their prior, their posterior, and how both are learnt."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg

from dmc.kernels import posterior
from dmc.pattern import SparseIndex
from dmc.recommend.presence_features import Features
from dmc.solver import row_solve

START_SIZE = 0.1  # of the first factors
START_VARIANCE = 1.0  # of the factors' prior, for ratings of unit variance: directions die of a small one
SMALLEST = 1e-8  # variance of a feature's weights, and of a direction
# Entries that count for a row being as precise as all others, chosen on held-out parts of five sets among 3, 5, 10 and
# what is learnt: rows that are all alike (instruments, most of them 5) mislead that to below 1.
LIKE_ALL = 40.0
# Lines of a typical number of entries, for each attribute, that count for its telling nothing of newcomers: chosen
# between .2 and 2 on cold items of MovieLens 100K's training part (seeds 100, 101), where 1,300, 300, 100 or 40 items
# are known and 40 attributes of noise are among theirs, or none.
NEWCOMER_RIDGE = 0.6


Float = NDArray[np.float32]


@dataclass(eq=False)
class FactorPosterior:
    """The rows, or the columns: their prior N(features·weights, covariance), their posterior means and moments.

    A line's unknowns are its factors and, last, its bias. Lines may differ in how precisely their entries are
    predicted, as users do: then `reliability` is that of each line's entries, relative to a typical line's.
    """

    lines: SparseIndex
    values: Float
    of_lines: Features
    means: Float
    covariance: NDArray[Any]  # (unknowns, unknowns) float64
    weights: NDArray[Any]  # (features, unknowns) float64
    variances: NDArray[Any]  # (features,) of their weights, relative to the covariance
    attributes: Float  # (lines, attributes) further features, which somebody knows; of average zero
    reliability: NDArray[np.float64] | None  # (lines,) or the same for all
    _entries: Any = field(default=None, init=False, repr=False)
    _spread: Any = field(default=None, init=False, repr=False)  # covariances of the lines, summed

    @classmethod
    def begin(
        cls, lines: SparseIndex, values: Float, of_lines: Features, attributes: Float | None, *, reliabilities: bool
    ) -> FactorPosterior:
        count = len(lines.indptr) - 1
        attributes = np.zeros((count, 0), np.float32) if attributes is None else attributes
        width = 2 + of_lines.loadings.shape[1] + attributes.shape[1]
        return cls(
            lines,
            values,
            of_lines,
            np.zeros((count, 1), np.float32),
            np.eye(1) * START_VARIANCE,
            np.zeros((width, 1)),
            np.ones(width),
            attributes,
            np.ones(count) if reliabilities else None,
        )

    @property
    def counts(self) -> NDArray[np.int64]:
        """(lines,) entries of each."""
        return np.diff(self.lines.indptr)

    @cached_property
    def features(self) -> Float:
        """(lines, features)."""
        return np.hstack([self.of_lines(self.lines), self.attributes])

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_entries": None}  # of the compiled core, which makes them again

    @property
    def stranger(self) -> Float:
        """(1, unknowns) what is expected of a line that nothing is known of: not that it has few entries either."""
        return self.weights[:1].astype(np.float32)

    @cached_property
    def moments(self) -> Float:
        """What the lines show to the other side, times their reliability: of the means alone, until `update` knows how
        sure they are."""
        return self._weighted(posterior.moments_of(self.means))

    def _weighted(self, moments: Float) -> Float:
        if self.reliability is not None:
            moments *= self.reliability[:, None].astype(np.float32)
        return moments

    def widen(self, by: int, rng: np.random.Generator, variance: float = START_VARIANCE) -> None:
        """New directions join: small random factors under a prior of this variance, before the bias."""
        self.become(self.wider(by, rng, variance))

    def wider(self, by: int, rng: np.random.Generator, variance: float) -> dict[str, Any]:
        """Means, weights and covariance with new directions."""
        k = self.means.shape[1] - 1
        new = START_SIZE * rng.standard_normal((len(self.means), by), dtype=np.float32)
        covariance, kept = np.eye(k + by + 1) * variance, np.append(np.arange(k), k + by)
        covariance[np.ix_(kept, kept)] = self.covariance
        return {
            "means": np.insert(self.means, [k] * by, new, axis=1),
            "weights": np.insert(self.weights, [k] * by, 0, axis=1),
            "covariance": covariance,
        }

    def become(self, parts: dict[str, Any]) -> None:
        """Take all of these parts at once: whoever is interrupted has the old ones or the new."""
        vars(self).pop("moments", None)
        vars(self).update(parts)

    def turn(self, by: NDArray[Any]) -> None:
        """Factors times a matrix (directions, new directions); the bias stays."""
        k, new = by.shape
        turn = np.zeros((k + 1, new + 1))
        turn[:k, :new], turn[k, new] = by, 1
        self.means = self.means @ turn.astype(np.float32)
        self.weights = self.weights @ turn
        # Directions may be of zeros only.
        self.covariance = turn.T @ self.covariance @ turn + SMALLEST * np.eye(new + 1)
        vars(self).pop("moments", None)

    def regard(self, of_lines: Features) -> None:
        """Take other features, with the weights that tell the means best."""
        self.of_lines = of_lines
        vars(self).pop("features", None)
        F = self.features.astype(np.float64)
        self.variances = np.ones(F.shape[1])
        self.weights = np.linalg.solve(F.T @ F + np.eye(F.shape[1]), F.T @ self.means)

    def extended(
        self, lines: SparseIndex, values: Float, line_of: NDArray[np.int64], other_of: NDArray[np.int64]
    ) -> FactorPosterior:
        """With other entries, and with more lines, which stand where their features let expect them."""
        known = line_of >= 0
        attributes = np.where(known[:, None], self.attributes[line_of], np.float32(0))
        features = self.of_lines.renumbered(other_of)
        reliability = None if self.reliability is None else np.where(known, self.reliability[line_of], 1.0)
        more = replace(
            self, lines=lines, values=values, of_lines=features, attributes=attributes, reliability=reliability
        )
        means = np.where(known[:, None], self.means[line_of], more.features @ self.weights)
        more.means = means.astype(np.float32)
        return more

    def update_some(self, which: NDArray[np.bool_], other: FactorPosterior, precision: float) -> None:
        """The posterior means of some lines, given the means of the other side; how reliable they are comes with it."""
        counts = self.counts
        entries = np.repeat(which, counts)
        pointers = np.concatenate([[0], np.cumsum(counts[which])])
        part = replace(
            self,
            lines=SparseIndex(pointers, self.lines.indices[entries]),
            values=self.values[entries],
            means=self.means[which],
            attributes=self.attributes[which],
            reliability=None if self.reliability is None else np.ones(len(pointers) - 1),
        )
        other = replace(other)  # a copy, which knows nothing but the means
        part.update(other, precision, learn=True)
        if self.reliability is not None:
            part.update(other, precision)
            self.reliability[which] = part.reliability
        self.means[which] = part.means

    def update(self, other: FactorPosterior, precision: float, learn: bool = False) -> NDArray[np.float64]:
        """The posterior of every line, given the other side, and if that is to be learnt how reliable each is.

        Returns the expected sums of squared errors (lines,), which mean nothing if the other side has reliabilities.
        """
        if self._entries is None:
            self._entries = posterior.entries_of(self.lines, len(other.means))
        expected = self.features @ self.weights.astype(np.float32)
        of_prior = np.linalg.inv(self.covariance)
        noise = precision * (np.ones(len(expected)) if self.reliability is None else self.reliability)
        self.means, self._spread, errors = posterior.step(
            self._entries, self.values, other.moments, of_prior, expected, noise, self.moments
        )
        if learn and self.reliability is not None:
            self.reliability = reliability(errors, self.counts, precision)
        self._weighted(self.moments)
        return errors

    def learn(self) -> None:
        """The prior under which the posteriors are likeliest: ridge regression on the features, each with its own
        variance, and what is left over as the covariance."""
        F, precision = self.features, np.linalg.inv(self.covariance)
        among = np.linalg.inv((F.T @ F).astype(np.float64) + np.diag(1 / self.variances))
        self.weights = among @ (F.T @ self.means).astype(np.float64)
        left = self.means - F @ self.weights.astype(np.float32)
        of_weights = (self.weights.T / self.variances) @ self.weights
        total = (left.T @ left).astype(np.float64) + self._spread + of_weights
        d = len(precision)
        sizes = np.einsum("fi,ij,fj->f", self.weights, precision, self.weights) / d + np.diag(among)
        self.covariance = np.asarray(total / (len(F) + F.shape[1]), dtype=np.float64) + SMALLEST * np.eye(d)
        self.variances = np.maximum(sizes, SMALLEST)

    def place_newcomers(self, other: FactorPosterior) -> None:
        """Lines without entries, by their attributes: where lines like them would explain their entries best.

        What the prior expects of a line is what is expected of all lines, most of which have few entries; who will meet
        a newcomer is somebody who makes entries, so here every entry counts the same. Least squares over the entries,
        the other side given, for the weights W (unknowns, 1 + attributes) of value ≈ ⟨x, W a⟩ + offset, drawn to zero
        where lines are few for so many attributes.
        """
        new = self.counts == 0
        if not new.any() or self.attributes.shape[1] == 0:
            return
        if self._entries is None:
            self._entries = posterior.entries_of(self.lines, len(other.means))
        A = np.column_stack([np.ones(len(new)), self.attributes]).astype(np.float64)
        A /= np.sqrt(np.maximum(self.counts @ A**2 / self.counts.sum(), SMALLEST))
        x = np.column_stack([other.means[:, :-1], np.ones(len(other.means))]).astype(np.float64)
        d, q = x.shape[1], A.shape[1]
        # Entries of a line are not independent: their line has something of its own, which they tell again and again.
        ridge = NEWCOMER_RIDGE * q * float(self.counts @ self.counts / self.counts.sum())
        weights = np.ones(len(x)) if other.reliability is None else other.reliability
        values = sparse.csr_array((self.values, self.lines.indices, self.lines.indptr), shape=(len(A), len(x)))
        offsets = (weights * other.means[:, -1])[:, None] * x
        targets = values @ (weights[:, None] * x) - posterior.line_sums(self._entries, offsets.astype(np.float32))
        moments = (weights[:, None] * row_solve.seconds(x)).astype(np.float32)
        grams = row_solve.unpacked(posterior.line_sums(self._entries, moments).astype(np.float64), d)

        def product(W: NDArray[Any]) -> NDArray[Any]:
            W = W.reshape(d, q)
            explained = (grams @ (A @ W.T)[:, :, None])[:, :, 0]
            return (explained.T @ A + ridge * W).ravel()

        operator = LinearOperator((d * q, d * q), product, dtype=np.float64)
        found, _ = cg(operator, (targets.T @ A).ravel(), rtol=1e-6, maxiter=200)
        self.means[new] = A[new] @ found.reshape(d, q).T


def reliability(errors: Any, counts: Any, precision: float) -> Any:
    """Posterior means of the precisions of lines' entries, relative to a typical line's, from their expected squared
    errors: under a Gamma prior of mean one, worth LIKE_ALL entries."""
    return (LIKE_ALL + counts) / (LIKE_ALL + precision * np.maximum(errors, 0))
