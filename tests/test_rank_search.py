"""The pieces by which the rank is found, each against a case whose answer is known."""

import math

import numpy as np
import pytest

from dmc import datasets, observe
from dmc.completion import rank_search
from dmc.completion.rank_search import FAST, RankSearch, Settled
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.solution import Status, StepInfo


def discover(observed: Observations, bound=12, fraction=0.05, depth=3, callbacks=()) -> RankSearch:
    return RankSearch(observed, bound, depth, fraction, np.random.default_rng(0), callbacks)


def truth(problem: datasets.Planted) -> Factors:
    return Factors(problem.A, (), problem.B)


def noise(shape=(40, 30), share=0.5) -> Observations:
    rng = np.random.default_rng(0)
    return observe(rng.standard_normal(shape), rng.random(shape) < share)


def relative_error(found: Factors, problem: datasets.Planted) -> float:
    X = problem.A @ problem.B.T
    return float(np.linalg.norm(found.dense() - X) / np.linalg.norm(X))


def phases(run: RankSearch) -> list[str]:
    return [phase["phase"] for phase in run.history]


# --- Settled


def looks(settled: Settled, widths, values) -> list[bool]:
    """What it says to each of a row of looks."""
    said = []
    for i, (width, value) in enumerate(zip(widths, values, strict=True)):
        at = Factors(np.ones((20, width)), (), np.ones((20, width)))
        said.append(settled(StepInfo(i, 100, value, 1.0, 0.0, at)))
    return said


def test_a_path_has_settled_after_five_looks_at_one_width():
    assert looks(Settled(9, 1.0), [3] * 7, [0.5] * 7) == [False] * 5 + [True] * 2
    assert not any(looks(Settled(9, 1.0), [1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 2], [0.5] * 12))
    assert looks(Settled(9, 1.0), [1, 2, 4, 4, 3, 3, 3, 3, 3, 3], [0.5] * 10) == [False] * 9 + [True]


def test_at_the_bound_it_has_settled_only_when_the_entries_are_nearly_matched():
    settled = Settled(3, 1.0)
    assert not any(looks(settled, [3] * 15, 0.8 ** np.arange(15)))  # to 0.04: it falls
    assert not settled.stuck
    assert looks(settled, [3] * 6, 0.9e-3 * 0.8 ** np.arange(6))[4]
    assert not settled.stuck


def test_at_the_bound_it_is_stuck_when_the_value_no_longer_falls():
    settled = Settled(3, 1.0)
    assert looks(settled, [1, 2, 3, 3, 3, 3, 3, 3], [1, 0.5, *(0.4 * 0.99 ** np.arange(6))]) == [False] * 7 + [True]
    assert settled.stuck
    below = Settled(4, 1.0)
    assert any(looks(below, [3] * 8, 0.4 * 0.99 ** np.arange(8)))
    assert not below.stuck


# --- degrees of freedom


def test_oversampling_counts_entries_for_each_degree_of_freedom():
    observed = datasets.planted((80, 60), 3, 0.4).observations
    run = discover(observed)
    for rank in (1, 3, 7):
        assert run.oversampling(rank) == pytest.approx(observed.n_observed / (rank * (80 + 60 - rank)))


def test_lines_without_entries_have_no_freedom():
    """The same entries in a matrix with empty rows and columns between them."""
    problem = datasets.planted((40, 30), 3, 0.4)
    small = problem.observations
    large = Observations.from_entries(3 * small.rows, 2 * small.cols, small.values, (120, 60))
    one, other = discover(small), discover(large)
    assert [one.oversampling(r) for r in (1, 4)] == [other.oversampling(r) for r in (1, 4)]
    assert one.bound == other.bound


@pytest.mark.parametrize("rank", [1, 5, 30])
def test_full_observation_is_always_enough(rank):
    assert discover(observe(np.ones((40, 30))), 30).oversampling(rank) == math.inf
    padded = Observations.from_entries(*np.indices((4, 3)).reshape(2, -1), np.arange(12.0), (9, 8))
    assert discover(padded, 30).oversampling(rank) == math.inf


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7])
@pytest.mark.parametrize("shape", [(30, 30), (100, 20), (7, 400)])
def test_the_bound_leaves_more_entries_than_degrees_of_freedom(shape, share):
    observed = noise(shape, share)
    run = discover(observed, min(shape))
    m, n = run._lines
    widest = max([r for r in range(1, min(m, n) + 1) if 1.05 * r * (m + n - r) <= observed.n_observed], default=1)
    assert run.bound == min(2 * widest, *shape)
    assert discover(observed, 2).bound == 2


def test_only_a_match_with_entries_to_spare_is_certain():
    problem = datasets.planted((40, 30), 3, 0.4)
    run, exact = discover(problem.observations), truth(problem)
    assert run.certain(exact)
    assert not run.certain(exact.scaled(1 + 1e-6))
    few = datasets.planted((40, 30), 3, 0.17)  # 204 entries for 201 degrees of freedom
    assert discover(few.observations).matched(truth(few))
    assert not discover(few.observations).certain(truth(few))


# --- explore


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize(("shape", "rank", "share"), [((60, 50), 3, 0.5), ((40, 80), 1, 0.4), ((120, 30), 4, 0.6)])
def test_exploring_finds_the_planted_rank_exactly(shape, rank, share, depth):
    """And holds nothing out for it."""
    problem = datasets.planted(shape, rank, share)
    run = discover(problem.observations, depth=depth)
    found = run.run()
    assert found.width == rank
    assert run.certain(found)
    assert relative_error(found, problem) < 1e-7
    assert set(phases(run)) == {"path", "polish"}
    assert all(phase["held_out_error"] is None for phase in run.history)
    assert run.n_steps == sum(phase["n_steps"] for phase in run.history)
    assert run.unexplained == 0


def test_what_a_first_round_leaves_is_found_by_the_next():
    """Two ranks ten thousand apart: the path settles on the first, and goes on in what the polish leaves."""
    strong, weak = (datasets.planted((60, 50), 2, 0.6, seed=0, condition=1), datasets.planted((60, 50), 2, 0.6, seed=1))
    X = strong.A @ strong.B.T + 1e-4 * weak.A @ weak.B.T
    rows, cols = strong.observations.rows, strong.observations.cols
    run = discover(strong.observations.with_values(X[rows, cols]))
    found = run.explore(FAST)
    assert [phase["width"] for phase in run.history] == [2, 2, 4, 4, 2]  # and last whether two would do
    assert phases(run) == ["path", "polish"] * 2 + ["polish"]
    assert np.linalg.norm(found.dense() - X) < 1e-9 * np.linalg.norm(X)


def test_exploring_stops_at_noise():
    """By the signs of the residual: what is left after the planted rank is no structure."""
    problem = datasets.planted((80, 60), 3, 0.5, noise=0.1)
    run = discover(problem.observations)
    found = run.explore(FAST)
    assert phases(run) == ["path", "polish"]
    assert found.width == 3
    assert not run.matched(found)
    assert relative_error(found, problem) < 0.1 * math.sqrt(3 * 140 / 2400) * 1.3  # σ √(freedom/entries)


# --- choose


@pytest.mark.parametrize(
    ("observed", "low", "high"),
    [(datasets.planted((60, 50), 3, 0.5, noise=0.2).observations, 0.1, 0.4), (noise(), 0.9, 1.1)],
    ids=["noisy", "pure noise"],
)
def test_what_cannot_be_matched_is_judged_by_held_out_entries(observed, low, high):
    run = discover(observed, fraction=0.1)
    found = run.run()
    judged = [phase for phase in run.history if phase["held_out_error"] is not None]
    assert judged[0]["phase"] == "path"
    assert {phase["phase"] for phase in judged[1:]} == {"polish"}
    assert "final" in phases(run)
    assert not run.certain(found)
    assert low < run.unexplained < high
    assert run.held_out_error <= 1.01 * min(phase["held_out_error"] for phase in judged)
    assert run.status is Status.CONVERGED


def test_a_callback_ends_everything():
    run = discover(noise(), callbacks=[lambda info: len(run.history) == 1])
    run.run()
    assert run.ended
    assert run.status is Status.STOPPED
    assert len(run.history) == 2
    assert run.stopped_by == "<lambda>"


@pytest.mark.parametrize(
    ("s", "kept"),
    [
        ([1.0], 1),
        ([1.0, 0.9, 0.8, 1e-6, 1e-6], 3),
        ([1.0, 1e-6, 1e-6], 1),
        ([1.0, 0.9, 1e-4, 1e-9], 3),
        ([1.0, 0.5, 0.0, 0.0], 2),
        ([1.0, 0.5, 1e-17, 1e-30], 2),  # what is below rounding has no gaps
    ],
)
def test_the_cut_is_at_the_largest_ratio_of_neighbours(s, kept):
    assert rank_search._gap(np.array(s)) == kept


@pytest.mark.parametrize(
    ("observed", "fraction"),
    [(observe(np.ones((19, 20))), 0.05), (noise(), 0.0), (observe(np.eye(60), np.eye(60) == 1), 0.5)],
    ids=["few", "no share", "alone in their lines"],
)
def test_too_few_entries_hold_nothing_out(observed, fraction):
    train, held_out = rank_search._hold_out(observed, fraction, np.random.default_rng(0))
    assert held_out is None
    assert train is observed


def test_held_out_entries_are_a_share_and_no_more_than_tell_the_error(monkeypatch):
    observed = noise((50, 40), 1.0)
    for most, wanted in ((10_000, 200), (50, 50)):
        monkeypatch.setattr(rank_search, "MAX_HELD_OUT", most)
        train, held_out = rank_search._hold_out(observed, 0.1, np.random.default_rng(0))
        assert held_out.n_observed == wanted
        assert train.n_observed + wanted == observed.n_observed


def test_without_held_out_entries_the_model_is_no_wider_than_they_carry():
    run = discover(noise(), fraction=0.0)
    found = run.run()
    assert all(phase["held_out_error"] is None for phase in run.history)
    assert run.oversampling(found.width) >= rank_search.AMPLE
