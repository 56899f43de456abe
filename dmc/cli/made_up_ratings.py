"""Ratings made up for the demo, whose truth is known: long tails, tastes by genre, whole stars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GENRES = ("Crime", "Comedy", "Science fiction", "Romance", "Documentary", "Western")
STARS = np.arange(1, 6)
NOISE = 0.7  # standard deviation of a rating before it is rounded to whole stars
PSEUDO_RATINGS = 5.0  # what pulls the bias of somebody with few ratings to zero


@dataclass(frozen=True, eq=False)
class Ratings:
    """Made-up ratings, and what they were drawn from.

    Attributes
    ----------
    rows, cols : (ratings,) int
        Users and films.
    values : (ratings,) float
        Stars from 1 to 5.
    items : list of str
        The films' names.
    means : (users, films) float
        What stars are drawn around.
    """

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    values: NDArray[np.float64]
    items: list[str]
    means: NDArray[np.float64]

    @property
    def n_users(self) -> int:
        return len(self.means)

    @property
    def expected(self) -> NDArray[np.float64]:
        """(ratings,) the mean of what each rating could have been: no prediction can be better."""
        return _expected(self.means[self.rows, self.cols])

    def user(self, number: int) -> str:
        return f"user {number}"

    def table(self, chosen: NDArray[np.bool_]) -> dict[str, NDArray[np.generic]]:
        """The chosen ratings as a Recommender takes them."""
        users = np.array([self.user(row) for row in self.rows[chosen]])
        return {"user": users, "item": np.array(self.items)[self.cols[chosen]], "rating": self.values[chosen]}

    def true_means(self, user: int) -> NDArray[np.float64]:
        """(films,) what this user would on average give each film."""
        return _expected(self.means[user])

    def true_mean(self, user: int, item: str) -> float:
        return float(self.true_means(user)[self.items.index(item)])

    def biases(self, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(ratings,) predictions from the mean and the biases of users and films, fitted on the chosen ratings."""
        rows, cols, values = self.rows[chosen], self.cols[chosen], self.values[chosen]
        by_user, by_item, mean = np.zeros(self.n_users), np.zeros(len(self.items)), values.mean()
        for _ in range(10):
            by_item = _means(cols, values - mean - by_user[rows], len(by_item))
            by_user = _means(rows, values - mean - by_item[cols], len(by_user))
        return np.asarray(mean + by_user[self.rows] + by_item[self.cols])


def made_up_ratings(n_users: int = 1200, n_items: int = 600, seed: int = 0) -> Ratings:
    """About 40 ratings a user; popular films have many, and users see more of the genres that they like.

    Parameters
    ----------
    n_users, n_items : int
    seed : int
    """
    rng = np.random.default_rng(seed)
    genre = rng.integers(len(GENRES), size=n_items)
    taste, own = rng.normal(0, 0.7, (n_users, len(GENRES))), rng.normal(0, 1, (n_users, 3))
    biases = rng.normal(0, 0.4, (n_users, 1)) + rng.normal(0, 0.5, n_items)
    means = 3.6 + biases + taste[:, genre] + own @ rng.normal(0, 0.15, (3, n_items))
    popularity = rng.permutation((np.arange(n_items) + 10.0) ** -0.8)
    counts = np.clip(rng.lognormal(3.4, 0.8, n_users).astype(int), 8, n_items // 2)
    seen = []
    for user, count in enumerate(counts):
        chances = popularity * np.exp(taste[user, genre])
        seen.append(rng.choice(n_items, count, replace=False, p=chances / chances.sum()))
    rows, cols = np.repeat(np.arange(n_users), counts), np.concatenate(seen)
    drawn = means[rows, cols] + rng.normal(0, NOISE, len(rows))
    values = np.clip(np.round(drawn), STARS[0], STARS[-1])
    return Ratings(rows, cols, values, [f"{GENRES[g]} {i}" for i, g in enumerate(genre)], means)


def _expected(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a value around each mean, rounded to whole stars from 1 to 5."""
    from scipy.special import ndtr

    at_least = ndtr((means[..., None] - (STARS[1:] - 0.5)) / NOISE)  # P(rating >= 2), …, P(rating >= 5)
    return np.asarray(STARS[0] + at_least.sum(axis=-1))


def _means(groups: NDArray[np.int64], values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    sums, counts = np.bincount(groups, values, count), np.bincount(groups, minlength=count)
    return np.asarray(sums / (counts + PSEUDO_RATINGS))
