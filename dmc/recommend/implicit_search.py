"""How strongly to regularise preferences, and how many directions to give them: what ranks held-out clicks best."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dmc._group import ALONE, Group, Share
from dmc._keeper import NOTHING_KEPT
from dmc.factors import Array
from dmc.observations import Observations
from dmc.recommend.all_pairs import AllPairs, Descent, Settings, confidence
from dmc.recommend.implicit_snapshot import Course
from dmc.solver.loop import Run
from dmc.solver.solution import Record, Status


@dataclass(frozen=True)
class SearchTuning:
    """What is tried, and how it is judged.

    Chosen on training parts of CiteULike, MovieLens 100K, Douban, MovieTweetings and Amazon instruments.

    Attributes
    ----------
    unobserved_ratio : float
        What a user's pairs without a count weigh together, on average, over what those with one do.
    max_unobserved_weight : float
        Of one pair without a count, over the lightest count, or over one.
    ridge : float
        Of a row's total weight; where the search begins.
    min_ridge_ratio, max_ridge_ratio : float
        Of the ridges that are tried, over that one.
    long_step, short_step : float
        Ratios of two ridges that are tried: a short one may cost lists 2 %.
    held_out : float
        Share of the counts.
    min_held_out : int
        Counts: fewer tell too little; then
    small_data_ratio : float
        over `ridge` is the ridge.
    max_judges : int
        Users whose lists are judged.
    places : int
        Of a list that count: more than anybody looks at, for a smoother measure.
    first_rank, max_rank : int
        Where the search for a rank begins and ends: a ridge that is the best for 32 directions is too strong for more.
    first_sweeps, more_sweeps : int
        From a random start, and from the best so far.
    """

    unobserved_ratio: float = 10.0
    max_unobserved_weight: float = 0.5
    ridge: float = 0.024
    min_ridge_ratio: float = 1 / 16
    max_ridge_ratio: float = 8.0
    long_step: float = 2.0
    short_step: float = 2**0.5
    held_out: float = 0.1
    min_held_out: int = 200
    small_data_ratio: float = 4.0
    max_judges: int = 2_000
    places: int = 50
    first_rank: int = 64
    max_rank: int = 1024
    first_sweeps: int = 4
    more_sweeps: int = 3

    @property
    def small_data_ridge(self) -> float:
        return self.small_data_ratio * self.ridge


TUNING = SearchTuning()


def settings_for(shape: tuple[int, int], counts: Array, ridge: float | None = None, group: Group = ALONE) -> Settings:
    """Weights that mean the same at any density, for such counts of the pairs that are told.

    Parameters
    ----------
    shape : pair of int
        Own rows, and columns.
    counts : (told,) array
        Those of own rows.
    ridge : float, optional
    group : Group
        The processes that hold some rows each, of which one has counts at least.

    References
    ----------
    S. Rendle et al., "Revisiting the performance of iALS on item recommendation benchmarks", 2021 (arXiv 2110.14037).
    """
    sure = confidence(counts)
    liked = group.sum(np.where(counts > 0, sure, 0).sum(dtype=np.float64))
    told, rows = group.sum(np.array([len(counts), shape[0]])).tolist()
    zero = TUNING.unobserved_ratio * (told / (rows * shape[1])) * float(liked / told)
    least = min(float(part.min()) for part in group.gather(sure.min(initial=np.inf, keepdims=True)))
    zero = min(zero, TUNING.max_unobserved_weight * max(least, 1.0))
    return Settings(zero, TUNING.small_data_ridge if ridge is None else ridge)


class Search:
    """Fits without a tenth of the counts, judged by where these stand in the lists of their users.

    Parameters
    ----------
    counts : Observations
        Those below 0 are dislikes, which no list is to hold.
    rng : numpy.random.Generator
    run : Run
        Of which each fit is a phase.
    share : Share, optional
        The rows that these counts are of, where several processes hold some each. Left out: all.
    course : Course, optional
        What the search has come to before; left out: to nothing.

    Attributes
    ----------
    possible : bool
        Whether there is enough to hold out.
    best : Descent or None
        The best fit so far.
    history : list of dict
        What was measured after each sweep, and of each fit: see `dmc.recommend.preferences.Preferences`.
    """

    def __init__(
        self,
        counts: Observations,
        rng: np.random.Generator,
        run: Run,
        share: Share | None = None,
        course: Course | None = None,
    ) -> None:
        self._course = Course(NOTHING_KEPT, run, rng) if course is None else course
        share = Share.whole(counts.shape[0]) if share is None else share
        self._group = group = share.group
        of_parts = share.of_parts(np.asarray(counts.pattern.by_row.indptr))
        drawn = share.draw(rng, of_parts, lambda of_part, n: of_part.random(n))
        held, liked = drawn < TUNING.held_out, np.asarray(counts.values) > 0
        told = group.sum(np.array([(held & liked).sum(), (liked & ~held).sum()]))
        self.possible: bool = bool(told[0] >= TUNING.min_held_out and told[1] > 0)
        self.best: Descent | None = None
        self.history: list[Record] = []
        self._rng, self._run = rng, run
        train = counts.take(~held)
        first = settings_for(train.shape, train.values, group=group) if self.possible else Settings(0.0, 0.0)
        self._problem = AllPairs.of(train.pattern, train.values, first, group)
        self._judges = _judges(np.unique(counts.rows[held & liked]), rng, share)
        self._n_judges = int(group.sum(np.array([len(self._judges)]))[0])
        judged = held & liked & np.isin(counts.rows, self._judges)
        self._of, self._sought = np.searchsorted(self._judges, counts.rows[judged]), counts.cols[judged]
        self._scores = np.zeros(len(self._judges))  # of the best

    @property
    def ridge(self) -> float:
        """The best one so far."""
        return TUNING.small_data_ridge if self.best is None else self.best.problem.settings.ridge

    @property
    def trials(self) -> list[Record]:
        """The records of the fits alone."""
        return [record for record in self.history if "ndcg" in record]

    def find_ridge(self, rank: int) -> None:
        """From the usual one up, or else down, for as long as that helps: in long steps, then in short ones."""
        self._try(rank, TUNING.ridge)
        self._walk(rank, TUNING.long_step)
        self._walk(rank, TUNING.short_step)

    def find_rank(self, most: int) -> None:
        """Twice as wide for as long as that helps by more than its noise; then another ridge may be better."""
        if self.best is None:  # somebody ended the search
            return
        rank = self.best.rank
        while rank < most and self._try(min(2 * rank, most), self.ridge):
            rank = self.best.rank
        if rank > TUNING.first_rank:
            self._walk(rank, TUNING.short_step)

    def _walk(self, rank: int, step: float) -> None:
        began, least, most = self.ridge, TUNING.ridge * TUNING.min_ridge_ratio, TUNING.ridge * TUNING.max_ridge_ratio
        for factor in (step, 1 / step):
            while least <= self.ridge * factor <= most and self._try(rank, self.ridge * factor):
                pass
            if self.ridge != began:
                return

    def _try(self, rank: int, ridge: float) -> bool:
        """One more fit, from the best; whether it is better."""
        known = any(trial["rank"] == rank and abs(trial["ridge"] / ridge - 1) < 0.01 for trial in self.trials)
        if self._run.ended or known:
            return False
        best, first = self.best, self.best is None
        problem = self._problem.with_settings(self._problem.settings._replace(ridge=ridge))
        if self._course.repeats:
            return self._repeat(problem, rank)
        tried = self._course.begun(problem)
        if tried is None:
            tried = Descent.beginning(problem, None if best is None else best.factors(), rank, self._rng)
        wider = best is not None and rank > best.rank
        sweeps = (TUNING.first_sweeps if first else TUNING.more_sweeps) - len(tried.falls)
        tried.run(self._run, sweeps, keep=partial(self._course.keep, best, tried))
        records = tried.records("search", self._run.n_steps)
        self.history += records
        if self._run.status is Status.NONFINITE:  # with these settings; with others it may go well
            self._run.status = Status.COMPLETED
            self._course.over(better=False, records=records)
            return False
        if self._run.ended:
            self.best = self.best or tried
            return False
        scores = self._judge(tried)
        gains = scores - self._scores
        gain = self._mean(gains)
        noise = float(np.sqrt(self._mean((gains - gain) ** 2)) / np.sqrt(self._n_judges))
        freer = wider or ridge <= self.ridge / TUNING.long_step  # which has to be worth it
        better = bool(first or gain > (noise if freer else 0))
        found = {"rank": rank, "ridge": ridge, "ndcg": self._mean(scores), "noise": noise}
        self.history.append({"phase": "search", "n_steps": self._run.n_steps} | found)
        self._course.over(better=better, records=[*records, self.history[-1]])
        if better:
            self.best, self._scores = tried, scores
        return better

    def _repeat(self, problem: AllPairs, rank: int) -> bool:
        """A fit that is over, by its outcome."""
        outcome = self._course.outcome()
        self.history += outcome["records"]
        if outcome["better"]:
            self.best = self._course.best(problem, rank)
        if not self._course.repeats and self.best is not None:
            self._scores = self._judge(self.best)
        return bool(outcome["better"])

    def _mean(self, of_judges: NDArray[np.float64]) -> float:
        return float(self._group.sum(of_judges.sum()) / self._n_judges)

    def _judge(self, tried: Descent) -> NDArray[np.float64]:
        """(judges,) NDCG of their first places."""
        lists, _ = tried.factors().top_n(self._judges, TUNING.places, exclude=self._problem.pattern.by_row)
        worth = 1 / np.log2(np.arange(lists.shape[1]) + 2)
        found = (lists[self._of] == self._sought[:, None]) @ worth
        count = len(self._judges)
        sought = np.bincount(self._of, minlength=count)
        return np.bincount(self._of, found, count) / np.cumsum(worth)[np.minimum(sought, len(worth)) - 1]


def _judges(candidates: NDArray[np.integer], rng: np.random.Generator, share: Share) -> NDArray[np.integer]:
    """Ascending: so many of all candidates as are wanted, or about so many where they are hashed into parts."""
    if not share.hashed:
        return np.sort(rng.permutation(candidates)[: TUNING.max_judges])
    of_parts = np.diff(np.searchsorted(candidates, share.ends))
    count = int(share.group.sum(np.array([len(candidates)]))[0])
    drawn = share.draw(rng, of_parts, lambda of_part, n: of_part.random(n))
    return np.asarray(candidates[drawn * count < TUNING.max_judges])
