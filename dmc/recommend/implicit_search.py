"""How strongly to regularise preferences, and how many directions to give them: what ranks held-out clicks best."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc.observations import Observations
from dmc.recommend.all_pairs import AllPairs, Course, Descent, Settings

# Chosen on training parts of CiteULike, MovieLens 100K, Douban, MovieTweetings and Amazon instruments.
ZEROS = 10.0  # what a line's pairs without a count weigh together, on average, over what those with one do
HEAVIEST = 0.5  # a zero at most, over the lightest count
RIDGE = 0.024  # of a line's total weight; where the search begins
LONG_STEP, SHORT_STEP = 2.0, 2**0.5  # between two ridges that are tried: a short one may cost lists 2 %
LEAST_RIDGE, MOST_RIDGE = RIDGE / 16, RIDGE * 8
HELD_OUT = 0.1  # share of the counts
MIN_HELD_OUT = 200  # fewer tell too little; then the ridge is that of small data:
SMALL_RIDGE = 4 * RIDGE
JUDGES = 2_000  # users whose lists are judged, at most
PLACES = 50  # of a list that count: more than anybody looks at, for a smoother measure
FIRST_RANK, MAX_RANK = 64, 1024  # a ridge that is the best for 32 directions is too strong for more
FIRST_SWEEPS, MORE_SWEEPS = 4, 3  # from a random start, and from the best so far

Float = NDArray[np.float32]


def settings_for(density: float, weights: Float, ridge: float = SMALL_RIDGE) -> Settings:
    """Weights that mean the same at any density.

    References
    ----------
    S. Rendle et al., "Revisiting the performance of iALS on item recommendation benchmarks", 2021 (arXiv 2110.14037).
    """
    zero = ZEROS * density * float(weights.mean(dtype=np.float64))
    return Settings(min(zero, HEAVIEST * float(weights.min())), ridge)


class Search:
    """Fits without a tenth of the counts, judged by where these stand in the lists of their users.

    Parameters
    ----------
    counts : Observations
    weights : (observed,) float32
    rng : numpy.random.Generator
    course : Course

    Attributes
    ----------
    possible : bool
        Whether there is enough to hold out.
    best : Descent or None
        The best fit so far.
    trials : list of dict
        "rank", "ridge", "ndcg" and "noise" of each: see `dmc.recommend.implicit.Preferences`.
    """

    def __init__(self, counts: Observations, weights: Float, rng: np.random.Generator, course: Course) -> None:
        held = rng.random(counts.n_observed) < HELD_OUT
        self.possible = MIN_HELD_OUT <= held.sum() < counts.n_observed
        self.best: Descent | None = None
        self.trials: list[dict[str, Any]] = []
        self._rng, self._course = rng, course
        train, weights = counts.take(~held), weights[~held]
        first = settings_for(train.density, weights) if self.possible else Settings(0.0, 0.0)
        self._problem = AllPairs(train.pattern, train.pattern.both_orders(weights), first)
        self._judges = np.sort(rng.permutation(np.unique(counts.rows[held]))[:JUDGES])
        judged = held & np.isin(counts.rows, self._judges)
        self._of, self._sought = np.searchsorted(self._judges, counts.rows[judged]), counts.cols[judged]
        self._scores = np.zeros(len(self._judges))  # of the best

    @property
    def ridge(self) -> float:
        """The best one so far."""
        return SMALL_RIDGE if self.best is None else self.best.problem.settings.ridge

    def find_ridge(self, rank: int) -> None:
        """From the usual one up, or else down, for as long as that helps: in long steps, then in short ones."""
        self._try(rank, RIDGE)
        self._walk(rank, LONG_STEP)
        self._walk(rank, SHORT_STEP)

    def find_rank(self, most: int) -> None:
        """Twice as wide for as long as that helps by more than its noise; then another ridge may be better."""
        assert self.best is not None
        rank = self.best.rank
        while rank < most and self._try(min(2 * rank, most), self.ridge):
            rank = self.best.rank
        if rank > FIRST_RANK:
            self._walk(rank, SHORT_STEP)

    def _walk(self, rank: int, step: float) -> None:
        began = self.ridge
        for factor in (step, 1 / step):
            while LEAST_RIDGE <= self.ridge * factor <= MOST_RIDGE and self._try(rank, self.ridge * factor):
                pass
            if self.ridge != began:
                return

    def _try(self, rank: int, ridge: float) -> bool:
        """One more fit, from the best; whether it is better."""
        known = any(trial["rank"] == rank and abs(trial["ridge"] / ridge - 1) < 0.01 for trial in self.trials)
        if self._course.stopped or known:
            return False
        best, first = self.best, self.best is None
        problem = self._problem.with_settings(self._problem.settings._replace(ridge=ridge))
        tried = Descent.beginning(problem, None if best is None else best.factors(), rank, self._rng)
        wider = best is not None and rank > best.rank
        tried.run(self._course, FIRST_SWEEPS if first else MORE_SWEEPS, 0.0)
        scores = self._judge(tried)
        gains = scores - self._scores
        noise = float(gains.std() / np.sqrt(len(gains)))
        freer = wider or ridge <= self.ridge / LONG_STEP  # which has to be worth it
        better = first or gains.mean() > (noise if freer else 0)
        self.trials.append({"rank": rank, "ridge": ridge, "ndcg": float(scores.mean()), "noise": noise})
        if better:
            self.best, self._scores = tried, scores
        return bool(better)

    def _judge(self, tried: Descent) -> NDArray[np.float64]:
        """(judges,) NDCG of their first places."""
        lists, _ = tried.factors().top_n(self._judges, PLACES, exclude=self._problem.pattern.by_row)
        worth = 1 / np.log2(np.arange(lists.shape[1]) + 2)
        found = (lists[self._of] == self._sought[:, None]) @ worth
        count = len(self._judges)
        sought = np.bincount(self._of, minlength=count)
        return np.bincount(self._of, found, count) / np.cumsum(worth)[np.minimum(sought, len(worth)) - 1]
