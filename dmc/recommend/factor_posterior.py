"""The rows, or the columns, in the Bayesian fit: their prior, their posterior, and how both are learnt."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg

from dmc._extensions import Entries
from dmc._group import ALONE, Group, Share
from dmc._locks import cached_property
from dmc.kernels import posterior
from dmc.observations import Observations
from dmc.pattern import SparseIndex
from dmc.recommend import side_information
from dmc.recommend.presence_features import PresenceFeatures
from dmc.recommend.side_information import Described
from dmc.recommend.spread_posterior import spread_step
from dmc.solver import row_solve

SMALLEST = 1e-8  # variance of a feature's weights, and of a direction: what float32 means still carry
Float = NDArray[np.float32]


@dataclass(frozen=True)
class PriorTuning:
    """What the fit does not learn of the priors.

    What the first two were chosen on was not noted; `bench/tune.py` judges them on the data of
    `bayesian.VariationalTuning`.

    Attributes
    ----------
    start_size : float
        Standard deviation of the first factors, in units of the data's standard deviation (as all variances here).
    start_variance : float
        Of the factors' prior, to begin with: directions die of a small one.
    reliability_entries : float
        Entries that count for a row being as precise as all others. Chosen on held-out parts of five sets among 3, 5,
        10 and what is learnt: rows that are all alike (instruments, most of them 5) mislead that to below 1.
    cold_start_ridge : float
        Rows of a typical number of entries, for each attribute, that count for its telling nothing of rows without
        entries. Chosen between .2 and 2 on cold items of MovieLens 100K's training part (seeds 100, 101), where 1,300,
        300, 100 or 40 items are known and 40 attributes of noise are among theirs, or none.
    """

    start_size: float = 0.1
    start_variance: float = 1.0
    reliability_entries: float = 40.0
    cold_start_ridge: float = 0.6


TUNING = PriorTuning()


class SideEntries(NamedTuple):
    """The entries of the rows, or of the columns: `index`, `values` and `entry_weights` of a `FactorPosterior`."""

    where: SparseIndex
    values: Float
    weights: Float | None


def entries_of_sides(
    observations: Observations, values: Float, group: Group = ALONE
) -> tuple[SideEntries, SideEntries]:
    """Of rows and of columns: where the observations are, with other values, and with weights of average one, over all
    processes of a group."""
    pattern, weights = observations.pattern, observations.weights
    of_rows = of_columns = None
    if weights is not None:
        average = group.sum(weights.sum(dtype=np.float64)) / group.sum(len(weights))
        weights = (weights / average).astype(np.float32)
        values = values * weights
        of_rows, of_columns = map(np.asarray, pattern.both_orders(weights))
    by_row, by_column = map(np.asarray, pattern.both_orders(values))
    return SideEntries(pattern.by_row, by_row, of_rows), SideEntries(pattern.by_column, by_column, of_columns)


@dataclass(eq=False)
class FactorPosterior:
    """The rows in a Bayesian fit, or, of the transposed matrix, the columns: prior, posterior means and moments.

    A row's unknowns are its factors and, last, its bias. A priori they are N(features · weights, covariance).

    In several processes each has rows of its own, and all of the columns, but of a column only the entries with its own
    rows: what is summed over rows is summed over `share`, and what is summed over the entries of a column over
    `entries_over`.

    Attributes
    ----------
    index : SparseIndex
        Where the entries of each row are.
    values : (entries,) float32
        Row by row; times the entries' weights.
    entry_weights : (entries,) float32 or None
        Precisions of the entries over that of a typical one; None: all the same.
    presence : PresenceFeatures
        What the index alone says of a row.
    means : (rows, unknowns) float32
        Of the posterior.
    covariance : (unknowns, unknowns) float64
        Of the prior.
    weights : (features, unknowns) float64
        What the prior expects: the features' regression on the unknowns.
    variances : (features,) float64
        Of their weights a priori, relative to the covariance.
    attributes : (rows, attributes) float32
        Side information: further features, of average zero.
    reliability : (rows,) float64 or None
        How precisely the entries of a row are predicted, relative to a typical row's, as users differ in it; None: the
        same for all.
    share : Share, optional
        Which rows these are, of those of all processes; None: all.
    entries_over : Group
        The processes among which the entries of a row are spread.
    """

    index: SparseIndex
    values: Float
    entry_weights: Float | None
    presence: PresenceFeatures
    means: Float
    covariance: NDArray[np.float64]
    weights: NDArray[np.float64]
    variances: NDArray[np.float64]
    attributes: Float
    reliability: NDArray[np.float64] | None
    share: Share | None = None
    entries_over: Group = ALONE
    _entries: Entries = field(default=None, init=False, repr=False)  # the index as the compiled core takes it
    _spread: Any = field(default=None, init=False, repr=False)  # covariances of the rows' posteriors, summed

    @classmethod
    def without_directions(
        cls,
        entries: SideEntries,
        presence: PresenceFeatures,
        attributes: Float | None,
        *,
        reliabilities: bool,
        share: Share | None = None,
        entries_over: Group = ALONE,
    ) -> FactorPosterior:
        """Of biases alone, all zero."""
        count = len(entries.where.indptr) - 1
        attributes = np.zeros((count, 0), np.float32) if attributes is None else attributes
        width = 2 + presence.loadings.shape[1] + attributes.shape[1]
        return cls(
            *entries,
            presence,
            np.zeros((count, 1), np.float32),
            np.eye(1) * TUNING.start_variance,
            np.zeros((width, 1)),
            np.ones(width),
            attributes,
            np.ones(count) if reliabilities else None,
            share,
            entries_over,
        )

    @property
    def rows_over(self) -> Group:
        """The processes among which the rows are dealt."""
        return ALONE if self.share is None else self.share.group

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(rows,) entries of each, in all processes."""
        counted: NDArray[np.int64] = self.entries_over.sum(np.diff(self.index.indptr))
        return counted

    @cached_property
    def features(self) -> Float:
        """(rows, features)."""
        return np.hstack([self.presence(self.index, self.entries_over), self.attributes])

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_entries": None}  # of the compiled core, which makes them again

    def alone(self) -> FactorPosterior:
        """The same, as what one process knows."""
        alone = replace(self, share=None, entries_over=ALONE)
        alone._spread = self._spread
        return alone

    @property
    def cold_start_mean(self) -> Float:
        """(1, unknowns) what is expected of a row that nothing is known of: not that it has few entries either."""
        return self.weights[:1].astype(np.float32)

    @cached_property
    def moments(self) -> Float:
        """What the rows show to the columns, times their reliability: of the means alone, until the first
        `update_posterior`, which knows how sure they are."""
        return self._weighted(posterior.moments_of(self.means))

    def _weighted(self, moments: Float) -> Float:
        if self.reliability is not None:
            moments *= self.reliability[:, None].astype(np.float32)
        return moments

    def add_directions(self, by: int, rng: np.random.Generator) -> None:
        """New directions: small random factors under the prior to begin with, before the bias."""
        self.replace_parts(self.with_directions(by, rng, TUNING.start_variance))

    def with_directions(self, by: int, rng: np.random.Generator, variance: float) -> dict[str, NDArray[Any]]:
        """Means, weights and covariance with new directions."""
        k = self.means.shape[1] - 1
        new = TUNING.start_size * (self.share or Share.whole(len(self.means))).normal(rng, by)
        covariance, kept = np.eye(k + by + 1) * variance, np.append(np.arange(k), k + by)
        covariance[np.ix_(kept, kept)] = self.covariance
        return {
            "means": np.insert(self.means, [k] * by, new, axis=1),
            "weights": np.insert(self.weights, [k] * by, 0, axis=1),
            "covariance": covariance,
        }

    def replace_parts(self, parts: dict[str, NDArray[Any]]) -> None:
        """Take all of these parts at once: whoever is interrupted has the old ones or the new."""
        vars(self).pop("moments", None)
        vars(self).update(parts)

    def rotate(self, by: NDArray[Any]) -> None:
        """Factors times a matrix (directions, new directions); the bias stays."""
        k, new = by.shape
        rotation = np.zeros((k + 1, new + 1))
        rotation[:k, :new], rotation[k, new] = by, 1
        self.means = self.means @ rotation.astype(np.float32)
        self.weights = self.weights @ rotation
        # Directions may be of zeros only.
        self.covariance = rotation.T @ self.covariance @ rotation + SMALLEST * np.eye(new + 1)
        vars(self).pop("moments", None)

    def set_features(self, presence: PresenceFeatures) -> None:
        """Take other features, with the weights that tell the means best."""
        self.presence = presence
        vars(self).pop("features", None)
        F, total = self.features.astype(np.float64), self.rows_over.sum
        self.variances = np.ones(F.shape[1])
        self.weights = np.linalg.solve(total(F.T @ F) + np.eye(F.shape[1]), total(F.T @ self.means))
        self.weights = self.weights.astype(np.float64, copy=False)

    def extended(
        self,
        entries: SideEntries,
        row_of: NDArray[np.int64],
        column_of: NDArray[np.int64],
        described: Described | None = None,
    ) -> FactorPosterior:
        """With other entries, and with more rows, which stand where their features let expect them.

        `row_of` and `column_of` say which of the rows and columns of before each one is, −1 for a new one; `described`,
        what is now known of some rows.
        """
        known = row_of >= 0
        attributes = side_information.extended(self.attributes, row_of, described)
        presence = self.presence.renumbered(column_of)
        reliability = None if self.reliability is None else np.where(known, self.reliability[row_of], 1.0)
        more = replace(
            self,
            index=entries.where,
            values=entries.values,
            entry_weights=entries.weights,
            presence=presence,
            attributes=attributes,
            reliability=reliability,
        )
        means = np.where(known[:, None], self.means[row_of], more.features @ self.weights)
        more.means = means.astype(np.float32)
        return more

    def fold_in(self, which: NDArray[np.bool_], other: FactorPosterior, precision: float) -> None:
        """The posterior means of some rows, given the columns' means; how reliable they are comes with it."""
        index, entries = self.index.take(which)
        part = replace(
            self,
            index=index,
            values=self.values[entries],
            entry_weights=None if self.entry_weights is None else self.entry_weights[entries],
            means=self.means[which],
            attributes=self.attributes[which],
            reliability=None if self.reliability is None else np.ones(np.count_nonzero(which)),
        )
        other = replace(other)  # a copy, which knows nothing but the means
        part.update_posterior(other, precision, learn_reliability=True)
        if self.reliability is not None:
            part.update_posterior(other, precision)
            self.reliability[which] = part.reliability
        self.means[which] = part.means

    def update_posterior(
        self, other: FactorPosterior, precision: float, *, learn_reliability: bool = False
    ) -> NDArray[np.float64]:
        """The posterior of every row, given the columns, and if that is to be learnt how reliable each is.

        Returns the expected sums of squared errors (rows,), which mean nothing if the columns have reliabilities, or if
        the entries of a row are spread over processes.
        """
        expected = self.features @ self.weights.astype(np.float32)
        of_prior = np.linalg.inv(self.covariance)
        noise = precision * (np.ones(len(expected)) if self.reliability is None else self.reliability)
        given = (self._entries_beside(other), self.values, other.moments, of_prior, expected, noise, self.moments)
        step = posterior.step if self.entries_over.size == 1 else partial(spread_step, self.entries_over)
        self.means, self._spread, errors = step(*given, self.entry_weights)
        if learn_reliability and self.reliability is not None:
            self.reliability = reliability(errors, self.counts, precision)
        self._weighted(self.moments)
        return errors

    def update_prior(self) -> None:
        """The prior under which the posteriors are likeliest: ridge regression on the features, each with its own
        variance, and what is left over as the covariance."""
        F, precision, total = self.features, np.linalg.inv(self.covariance), self.rows_over.sum
        among = np.linalg.inv(total((F.T @ F).astype(np.float64)) + np.diag(1 / self.variances))
        among = np.asarray(among, np.float64)
        self.weights = among @ total((F.T @ self.means).astype(np.float64))
        left = self.means - F @ self.weights.astype(np.float32)
        of_weights = (self.weights.T / self.variances) @ self.weights
        of_all = total((left.T @ left).astype(np.float64) + self._spread) + of_weights
        d = len(precision)
        sizes = np.einsum("fi,ij,fj->f", self.weights, precision, self.weights) / d + np.diag(among)
        self.covariance = np.asarray(of_all / (total(len(F)) + F.shape[1]), dtype=np.float64) + SMALLEST * np.eye(d)
        self.variances = np.maximum(sizes, SMALLEST).astype(np.float64, copy=False)

    def _entries_beside(self, other: FactorPosterior) -> Entries:
        if self._entries is None:
            self._entries = posterior.entries_of(self.index, len(other.means))
        return self._entries

    def place_cold_starts(self, other: FactorPosterior, among: Any = True) -> None:
        """Rows without entries, of those `among` (rows,), by their attributes: where rows like them would explain their
        entries best.

        What the prior expects of a row is what is expected of all rows, most of which have few entries; who will meet a
        new one is somebody who makes entries, so here every entry counts the same. Least squares over the entries, the
        columns given, for the weights W (unknowns, 1 + attributes) of value ≈ ⟨x, W a⟩ + offset, drawn to zero where
        rows are few for so many attributes.
        """
        new = (self.counts == 0) & among
        if not new.any() or self.attributes.shape[1] == 0:
            return
        entries = self._entries_beside(other)
        A = np.column_stack([np.ones(len(self.counts)), self.attributes]).astype(np.float64)
        A /= np.sqrt(np.maximum(self.counts @ A**2 / self.counts.sum(), SMALLEST))
        x = np.column_stack([other.means[:, :-1], np.ones(len(other.means))]).astype(np.float64)
        d, q = x.shape[1], A.shape[1]
        # Entries of a row are not independent: their row has something of its own, which they tell again and again.
        ridge = TUNING.cold_start_ridge * q * float(self.counts @ self.counts / self.counts.sum())
        weights = np.ones(len(x)) if other.reliability is None else other.reliability
        values = sparse.csr_array((self.values, self.index.indices, self.index.indptr), shape=(len(A), len(x)))
        offsets = (weights * other.means[:, -1])[:, None] * x
        of_entries = self.entry_weights
        targets = values @ (weights[:, None] * x) - posterior.line_sums(entries, offsets.astype(np.float32), of_entries)
        moments = (weights[:, None] * row_solve.seconds(x)).astype(np.float32)
        grams = row_solve.unpacked(posterior.line_sums(entries, moments, of_entries).astype(np.float64), d)

        def product(W: NDArray[Any]) -> NDArray[Any]:
            W = W.reshape(d, q)
            explained = (grams @ (A @ W.T)[:, :, None])[:, :, 0]
            return (explained.T @ A + ridge * W).ravel()

        operator = LinearOperator((d * q, d * q), product, dtype=np.float64)
        found, _ = cg(operator, (targets.T @ A).ravel(), rtol=1e-6, maxiter=200)
        self.means[new] = A[new] @ found.reshape(d, q).T


def reliability(errors: Any, counts: Any, precision: float) -> Any:
    """Posterior means of the precisions of rows' entries, relative to a typical row's, from their expected squared
    errors: under a Gamma prior of mean one, worth as many entries as the tuning says."""
    prior = TUNING.reliability_entries
    return (prior + counts) / (prior + precision * np.maximum(errors, 0))
