"""Clicks, plays and purchases: what was not chosen counts a little against it, what was chosen often counts for it,
and what was disliked against it as much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from dmc import _checks
from dmc._group import Share
from dmc._keeper import NOTHING_KEPT, Keeper
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.pattern import plain
from dmc.recommend import implicit_device, implicit_search
from dmc.recommend.all_pairs import AllPairs, Descent, Settings
from dmc.recommend.implicit_device import ImplicitTuning
from dmc.recommend.implicit_search import Search, settings_for
from dmc.recommend.implicit_snapshot import Course
from dmc.recommend.preferences import Preferences, rank_of
from dmc.recommend.side_information import NONE, SideInformation
from dmc.solver.loop import Callback, Run
from dmc.solver.solution import Record

TUNING = ImplicitTuning()


def fit(
    counts: Observations,
    rank: int | None = None,
    seed: int | np.random.Generator = 0,
    callbacks: Sequence[Callback] = (),
    device: str | None = None,
    start: Preferences | None = None,
    side_information: SideInformation = NONE,
    share: Share | None = None,
    keeper: Keeper = NOTHING_KEPT,
) -> Preferences:
    """Weighted least squares over all pairs, chosen ones 1 and all others 0, for users and items in turn.

    How strong the ridge is, and without `rank` how many directions there are, is found by fits to nine tenths of the
    counts: those with which the lists of users rank the held-out tenth best. The last fit is to all.

    Parameters
    ----------
    counts : Observations
        How often each pair occurred, float32; below 0: how surely it is disliked. What counts less than one, such as a
        click of long ago, tells so much less; 0 nothing.
    rank : int, optional
        Width of the factors. Left out: twice as wide again and again, up to 1,024, for as long as that helps; on a
        device 64.
    seed : int or numpy.random.Generator
        Of what is held out, and of the first factors.
    callbacks : sequence of callables
        See `dmc.solve`; called before and after each sweep of all of these fits, the steps being numbered through. One
        that returns true ends them all.
    device : str, optional
        Where to compute, by conjugate gradients; nothing is searched for there.
    start : Preferences, optional
        A model of these counts to begin with. Its settings and rank are kept, unless they were found with less than
        half as many counts: then the fit is anew. Its attributes are kept in any case.
    side_information : SideInformation, optional
        Attributes, by which users and items without counts are placed behind the fit.
    share : Share, optional
        The rows that these counts are of, where several processes hold some each, and all of them all columns; they
        call this with the same arguments otherwise. Left out: all rows.
    keeper : Keeper
        Gets what is needed to go on from after each sweep, and is asked for it first.

    Returns
    -------
    Preferences
        Of own rows. Ctrl-C ends the search or the sweeps as STOPPED, with what was reached (`stopped_by`); with several
        processes it ends the program.

    Raises
    ------
    ValueError
        If no count is above 0; or if several processes are to use attributes.

    References
    ----------
    Y. Hu, Y. Koren, C. Volinsky, "Collaborative filtering for implicit feedback datasets", 2008;
    S. Rendle et al., "Revisiting the performance of iALS on item recommendation benchmarks", 2022 (arXiv 2110.14037).
    """
    most = implicit_search.TUNING.max_rank if rank is None else _checks.integer(rank, "rank", 1)
    share = Share.whole(counts.shape[0]) if share is None else share
    if not share.group.any((counts.values > 0).any()):
        raise ValueError("no count is above 0, so there are no preferences to learn; give counts of what was chosen")
    attributes = side_information if start is None else start.attributes
    if share.group.size > 1 and any(of is not None for of in attributes):
        raise ValueError("attributes are not used in a fit to clicks in several processes; leave them out")
    of_columns = share.group.sum(np.asarray(counts.pattern.column_counts))
    if start is not None and of_columns.sum() > TUNING.research_ratio * start.n_searched:
        start = None
    # Who has no counts, but attributes, is not to change what others are: they are as many as anybody describes.
    rows, cols = np.flatnonzero(counts.pattern.row_counts), np.flatnonzero(of_columns)
    among = counts if counts.shape == (len(rows), len(cols)) else counts.among(rows, cols)
    share = replace(share, rows=np.diff(np.searchsorted(rows, share.ends)))
    if start is not None:
        start = replace(start, factors=Factors(start.factors.U[rows], (), start.factors.V[cols]))
    rng = np.random.default_rng(seed)
    most = min(most, int(share.group.sum(len(rows))), len(cols))
    if device is None:
        found = _fit(among, most, rank is None, rng, callbacks, start, share, keeper)
    else:
        width = min(rank or TUNING.device_rank, most, len(cols))
        found = implicit_device.fit(among, width, rng, callbacks, device, start, share, keeper, TUNING)
    if among is not counts:
        U, V = (np.zeros((size, found.factors.width), np.float32) for size in counts.shape)
        U[rows], V[cols] = found.factors.U, found.factors.V
        found = replace(found, factors=Factors(U, (), V))
    if share.hashed:  # others may have counts of columns that have none here, and have users
        users, known = found.factors.U, found.known
        average = share.group.sum(users[known].sum(axis=0)) / np.float32(max(share.group.sum(int(known.sum())), 1))
        cold, directions = (counts.pattern.row_counts == 0, of_columns == 0), rank_of(found.factors, share.group)
        found = replace(found, cold=cold, average=average, directions=directions)
    return replace(found, counts=counts, attributes=attributes).with_cold_starts()


def _fit(
    counts: Observations,
    most: int,
    any_rank: bool,
    rng: np.random.Generator,
    callbacks: Sequence[Callback],
    start: Preferences | None,
    share: Share,
    keeper: Keeper,
) -> Preferences:
    group = share.group
    with Run(callbacks, group) as run:
        course = Course(keeper, run, rng)
        if start is None:
            settings, begin, width, history = _found(run, counts, most, any_rank, rng, share, course)
            searched = [record for record in history if "ndcg" in record]
            n_searched = int(group.sum(np.array([counts.n_observed]))[0])
        else:
            settings, begin, history = start.settings, start.factors, list(start.searched)
            width = begin.width if any_rank else max(begin.width, most)
            searched, n_searched = start.searched, start.n_searched
        problem = AllPairs.of(counts.pattern, counts.values, settings, group)
        last = course.begun(problem)
        if last is None:
            last = Descent.beginning(problem, begin, width, rng)
        last.run(run, TUNING.max_sweeps - len(last.falls), TUNING.tol, partial(course.keep, None, last))
    assert run.status is not None
    factors, history = last.factors().map(plain), history + last.records("fit", run.n_steps)
    ending = history, run.n_steps, run.stopped_by
    return Preferences(factors, counts, last.values, run.status, settings, searched, n_searched, *ending)


def _found(
    run: Run,
    counts: Observations,
    most: int,
    any_rank: bool,
    rng: np.random.Generator,
    share: Share,
    course: Course,
) -> tuple[Settings, Factors | None, int, list[Record]]:
    """What held-out counts say: the settings, where to begin, and the rank; and what was measured on the way."""
    told = counts.shape, counts.values
    search, first_rank = None, min(implicit_search.TUNING.first_rank, most)
    with run.until_interrupted():
        search = Search(counts, rng, run, share, course)
        if search.possible:
            search.find_ridge(first_rank)
            if any_rank:
                search.find_rank(most)
    if search is None or search.best is None:
        history = [] if search is None else search.history
        return settings_for(*told, group=share.group), None, first_rank if any_rank else most, history
    begin = search.best.factors()
    width = begin.width if any_rank else most
    return settings_for(*told, search.ridge, share.group), begin, width, search.history
