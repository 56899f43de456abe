"""The pieces by which the rank is found, each against a case whose answer is known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from dmc import datasets, observe
from dmc.completion import rank_search, tuning
from dmc.completion.phases import Phase, Phases
from dmc.completion.rank_search import RankSearch
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.solver.gauss_newton import inverse
from dmc.solver.loop import Run
from dmc.solver.solution import Status

FAST = tuning.RANK_SEARCH.path_decay


def discover(observed: Observations, bound=12, depth=3, callbacks=(), **settings) -> RankSearch:
    return RankSearch(observed, bound, depth, np.random.default_rng(0), Phases(Run(callbacks)), **settings)


def parted(observed: Observations, fraction=0.1) -> tuple[Observations, Observations]:
    return observed.split(fraction, 0)


def truth(problem: datasets.Planted) -> Factors:
    return Factors(problem.A, (), problem.B)


def noise(shape=(40, 30), share=0.5) -> Observations:
    rng = np.random.default_rng(0)
    return observe(rng.standard_normal(shape), rng.random(shape) < share)


def relative_error(found: Factors, problem: datasets.Planted) -> float:
    X = problem.A @ problem.B.T
    return float(np.linalg.norm(found.dense() - X) / np.linalg.norm(X))


def phases(run: RankSearch) -> list[str]:
    return [phase["phase"] for phase in run.phases.history]


# --- degrees of freedom


def test_oversampling_counts_entries_for_each_degree_of_freedom():
    observed = datasets.planted((80, 60), 3, 0.4).observations
    run = discover(observed)
    for rank in (1, 3, 7):
        assert run.exactness.oversampling(rank) == pytest.approx(observed.n_observed / (rank * (80 + 60 - rank)))


def test_lines_without_entries_have_no_freedom():
    """The same entries in a matrix with empty rows and columns between them."""
    problem = datasets.planted((40, 30), 3, 0.4)
    small = problem.observations
    large = Observations.from_entries(3 * small.rows, 2 * small.cols, small.values, (120, 60))
    one, other = discover(small), discover(large)
    assert [one.exactness.oversampling(r) for r in (1, 4)] == [other.exactness.oversampling(r) for r in (1, 4)]
    assert one.bound == other.bound


@pytest.mark.parametrize("rank", [1, 5, 30])
def test_full_observation_is_always_enough(rank):
    assert discover(observe(np.ones((40, 30))), 30).exactness.oversampling(rank) == math.inf
    padded = Observations.from_entries(*np.indices((4, 3)).reshape(2, -1), np.arange(12.0), (9, 8))
    assert discover(padded, 30).exactness.oversampling(rank) == math.inf


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7])
@pytest.mark.parametrize("shape", [(30, 30), (100, 20), (7, 400)])
def test_the_bound_leaves_more_entries_than_degrees_of_freedom(shape, share):
    observed = noise(shape, share)
    run = discover(observed, min(shape))
    m, n = run.exactness.filled
    widest = max([r for r in range(1, min(m, n) + 1) if 1.05 * r * (m + n - r) <= observed.n_observed], default=1)
    assert run.bound == min(2 * widest, *shape)
    assert discover(observed, 2).bound == 2


def test_only_a_match_with_entries_to_spare_is_certain():
    problem = datasets.planted((40, 30), 3, 0.4)
    run, exact = discover(problem.observations), truth(problem)
    assert run.exactness.certain(exact)
    assert not run.exactness.certain(exact.scaled(1 + 1e-6))
    few = datasets.planted((40, 30), 3, 0.17)  # 204 entries for 201 degrees of freedom
    assert discover(few.observations).exactness.matched(truth(few))
    assert not discover(few.observations).exactness.certain(truth(few))


# --- explore


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize(("shape", "rank", "share"), [((60, 50), 3, 0.5), ((40, 80), 1, 0.4), ((120, 30), 4, 0.6)])
def test_exploring_finds_the_planted_rank_exactly(shape, rank, share, depth):
    """And holds nothing out for it."""
    problem = datasets.planted(shape, rank, share)
    run = discover(problem.observations, depth=depth)
    found = run.explore(FAST).factors
    assert found.width == rank
    assert run.exactness.certain(found)
    assert relative_error(found, problem) < 1e-7
    assert set(phases(run)) == {"path", "polish"}
    assert all(phase["held_out_error"] is None for phase in run.phases.history)
    assert run.phases.run.n_steps == sum(phase["n_steps"] for phase in run.phases.history)


def test_what_a_first_round_leaves_is_found_by_the_next():
    """Two ranks ten thousand apart: the path settles on the first, and goes on in what the polish leaves."""
    strong, weak = (datasets.planted((60, 50), 2, 0.6, seed=0, condition=1), datasets.planted((60, 50), 2, 0.6, seed=1))
    X = strong.A @ strong.B.T + 1e-4 * weak.A @ weak.B.T
    rows, cols = strong.observations.rows, strong.observations.cols
    run = discover(strong.observations.with_values(X[rows, cols]))
    found = run.explore(FAST).factors
    assert [phase["width"] for phase in run.phases.history] == [2, 2, 4, 4, 2]  # and last whether two would do
    assert phases(run) == ["path", "polish"] * 2 + ["polish"]
    assert np.linalg.norm(found.dense() - X) < 1e-9 * np.linalg.norm(X)


def test_exploring_stops_at_noise():
    """By the signs of the residual: what is left after the planted rank is no structure."""
    problem = datasets.planted((80, 60), 3, 0.5, noise=0.1)
    run = discover(problem.observations)
    found = run.explore(FAST).factors
    assert phases(run) == ["path", "polish"]
    assert found.width == 3
    assert not run.exactness.matched(found)
    assert relative_error(found, problem) < 0.1 * math.sqrt(3 * 140 / 2400) * 1.3  # σ √(freedom/entries)


@pytest.mark.parametrize("room", [1, 2, 5])
def test_a_path_is_no_wider_than_its_room(room):
    run = discover(datasets.planted((60, 50), 4, 0.5).observations)
    found = run.explore(FAST, room=room).factors
    assert max(phase["width"] for phase in run.phases.history) <= room
    assert found.width <= room


def test_a_path_may_pass_the_bound_and_its_answer_not():
    """Directions join that leave again; what is said is no wider than was asked for."""
    problem = datasets.planted((60, 50), 4, 0.5)
    run = discover(problem.observations, bound=2)
    found = run.explore(FAST).factors
    assert max(phase["width"] for phase in run.phases.history) > 2
    assert found.width == 2
    assert not run.exactness.certain(found)


def test_the_room_is_for_twice_what_entries_can_tell_and_a_few():
    for shape, share in (((60, 50), 0.3), ((30, 6), 0.5)):
        run = discover(noise(shape, share), min(shape))
        assert run.room == min(2 * run.carried + tuning.RANK_SEARCH.further_room, *shape)


@pytest.mark.parametrize(
    ("observed", "said", "lost"),
    [
        (datasets.planted((80, 60), 3, 0.5, noise=0.1).observations, True, False),
        (datasets.planted((80, 60), 3, 0.5).observations, False, False),
        (noise((40, 30), 0.3), False, True),
    ],
    ids=["noisy", "exact", "noise alone"],
)
def test_a_search_knows_why_a_path_has_ended(observed, said, lost):
    """Nothing but noise was left; nothing at all; or it had more directions than the entries can decide on."""
    run = discover(observed, bound=3)
    assert not run.noise
    assert not run.lost
    run.explore(FAST)
    assert run.noise == said
    assert run.lost == lost


# --- parts


def test_a_search_of_a_part_is_one_of_its_entries_alone():
    rng = np.random.default_rng(0)
    observed = noise((30, 20), 0.6)
    weights, rounding = rng.uniform(1, 2, observed.n_observed), rng.uniform(0, 1e-9, 20)
    run = discover(observed, bound=7, intercept=True, weights=weights, rounding=rounding)
    rows, cols = rng.random(30) < 0.5, rng.random(20) < 0.6
    part = run.within(rows, cols)
    table = observed.to_scipy().toarray()[np.ix_(rows, cols)]
    np.testing.assert_array_equal(part.observations.to_scipy().toarray(), table)
    inside = rows[observed.rows] & cols[observed.cols]
    np.testing.assert_array_equal(part.weights, weights[inside])
    np.testing.assert_array_equal(part.exactness._rounding, rounding[cols])
    assert part.intercept
    assert (part.rng is run.rng, part.phases is run.phases, part.depth == run.depth) == (True, True, True)
    assert part.bound <= run.bound
    other = run.within(rows, cols, 3 * weights)
    np.testing.assert_array_equal(other.weights, 3 * weights[inside])


def test_what_a_part_leads_to_is_the_part_of_the_truth():
    problem = datasets.planted((60, 50), 3, 0.5)
    rows, cols = np.arange(60) % 2 == 0, np.arange(50) < 30
    part = discover(problem.observations).within(rows, cols)
    found = part.explore(FAST).factors
    np.testing.assert_allclose(found.dense(), (problem.A @ problem.B.T)[np.ix_(rows, cols)], atol=1e-9)


# --- an intercept, rows and columns of their own size, rounding


@pytest.mark.parametrize("seed", range(3))
def test_levels_of_columns_are_fitted_exactly_and_are_no_rank(seed):
    """Levels that the data were not freed of, but for what their means say of them."""
    problem = datasets.planted((80, 60), 3, 0.5, seed=seed)
    observed, levels = problem.observations, np.random.default_rng(seed).uniform(-2, 2, 60)
    run = discover(observed.with_values(observed.values + levels[observed.cols]), intercept=True)
    found = run.explore(FAST).factors
    assert found.width == 3
    assert run.exactness.certain(found)
    np.testing.assert_allclose(found.dense(), problem.A @ problem.B.T + levels, atol=1e-9)


def test_an_intercept_takes_freedom():
    observed = datasets.planted((80, 60), 3, 0.4).observations
    run = discover(observed, intercept=True)
    assert run.exactness.oversampling(3) == pytest.approx(observed.n_observed / (3 * (80 + 60 - 3) + 60 - 3))


def test_a_small_column_that_is_missed_is_no_match():
    """Its share in all entries is below rounding; of its own it is all."""
    problem = datasets.planted((60, 40), 2, 0.6)
    X = problem.A @ problem.B.T
    X[:, 7] = 1e-12 * np.random.default_rng(0).standard_normal(60)
    model = Factors(problem.A, (), np.where(np.arange(40)[:, None] == 7, 0, problem.B))
    run = discover(problem.observations.with_values(X[problem.observations.rows, problem.observations.cols]))
    assert not run.exactness.matched(model)


def test_rounding_of_shifted_data_counts_as_a_match():
    problem = datasets.planted((60, 40), 2, 0.6)
    observed = problem.observations
    rounded = observed.with_values((observed.values + 1e6) - 1e6)
    exact = truth(problem).map(lambda a: a)
    noisy = rounded.with_values(rounded.values + 1e-9 * np.sign(np.sin(np.arange(observed.n_observed))))
    assert not discover(noisy).exactness.matched(exact)
    assert discover(noisy, rounding=np.full(40, 1e-9)).exactness.matched(exact)


# --- candidates


@pytest.mark.parametrize(
    ("observed", "low", "high"),
    [(datasets.planted((60, 50), 3, 0.5, noise=0.2).observations, 0.1, 0.4), (noise(), 0.9, 1.2)],
    ids=["noisy", "pure noise"],
)
def test_candidates_are_judged_by_entries_that_they_have_not_seen(observed, low, high):
    run = discover(observed)
    explored = run.explore(FAST)
    train, held_out = parted(observed)
    found = run.candidates(explored, train, held_out)
    assert {"penalised"} <= {candidate.kind for candidate in found} <= {"cut", "explored", "penalised"}
    size = np.sqrt(np.mean(held_out.values**2))
    assert low < min(candidate.error for candidate in found) / size < high
    assert not any(candidate.matched for candidate in found)
    final = found[-1].finish()
    assert phases(run)[-1] == "final"
    assert final.status is Status.COMPLETED  # as many steps as were best
    assert not run.exactness.certain(final.factors)


def test_what_part_of_the_entries_leads_to_may_match_all():
    problem = datasets.planted((60, 50), 3, 0.5)
    run = discover(problem.observations)
    train, held_out = parted(problem.observations)
    exact = Phase("polish", truth(problem), Status.CONVERGED, 0, 0.0)
    found = {c.kind: c for c in run.candidates(exact, train, held_out)}
    assert found["explored"].matched
    assert run.exactness.certain(found["explored"].finish().factors)


def test_weights_say_which_entries_count():
    """Rows of another matrix beside the planted ones, at next to no weight."""
    problem = datasets.planted((60, 50), 3, 0.6)
    observed = problem.observations
    wrong = observed.rows < 10
    data = observed.with_values(np.where(wrong, np.sin(np.arange(observed.n_observed)), observed.values))
    found = discover(data, weights=np.where(wrong, 1e-12, 1.0)).explore(FAST).factors
    X = problem.A @ problem.B.T
    assert np.linalg.norm((found.dense() - X)[10:]) < 1e-4 * np.linalg.norm(X)


def test_a_callback_ends_everything():
    run = discover(noise(), callbacks=[lambda info: True])
    reached = run.explore(FAST)
    assert run.phases.ended
    assert reached.status is Status.STOPPED
    assert len(run.phases.history) == 1
    assert run.phases.run.stopped_by == "<lambda>"


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
    ("observed", "fraction", "parts"),
    [(observe(np.ones((9, 10))), 0.05, 1), (noise(), 0.0, 1), (observe(np.eye(60), np.eye(60) == 1), 0.5, 1)],
    ids=["few", "no share", "alone in their lines"],
)
def test_too_few_entries_hold_nothing_out(observed, fraction, parts):
    assert rank_search.hold_out(observed, fraction, np.random.default_rng(0), parts) is None


def test_several_parts_may_be_small_each():
    assert rank_search.hold_out(observe(np.ones((19, 20))), 0.05, np.random.default_rng(0), 5).n_observed == 19


@pytest.mark.parametrize(("shape", "wanted"), [((20, 5), 20), ((50, 4), 20), ((40, 40), 80)])
def test_of_a_small_table_a_larger_share_is_held_out(shape, wanted):
    assert rank_search.hold_out(observe(np.ones(shape)), 0.05, np.random.default_rng(0), 1).n_observed == wanted


def test_a_direction_of_its_own_makes_a_match_an_accident():
    """Two unrelated columns beside constant ones: rank two matches all, and says nothing of what is missing."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.standard_normal((40, 2)), np.full((40, 3), [1, 2, 3])])
    mask = np.ones(X.shape, bool)
    mask[:5, 0] = False
    run = discover(observe(X, mask), intercept=True)
    U = X[:, :2]
    model = Factors(U, (), np.eye(5)[:, :2], column_bias=np.array([0, 0, 1.0, 2, 3]))
    assert run.exactness.matched(model)
    assert not run.exactness.certain(model)


def test_held_out_entries_are_a_share_and_no_more_than_tell_the_error(monkeypatch):
    observed = noise((50, 40), 1.0)
    for most, wanted in ((10_000, 200), (50, 50)):
        monkeypatch.setattr(tuning, "RANK_SEARCH", replace(tuning.RANK_SEARCH, max_held_out=most))
        assert rank_search.hold_out(observed, 0.1, np.random.default_rng(0), 1).n_observed == wanted


def test_without_held_out_entries_the_model_is_no_wider_than_they_carry():
    run = discover(noise())
    before = run.bound
    found = run.explore(FAST, room=run.carried).factors
    assert run.exactness.oversampling(found.width) >= tuning.RANK_SEARCH.min_oversampling
    assert run.bound == before


# --- ridges of each row


def test_rows_of_any_size_have_an_inverse():
    """One row a billion times the others: a ridge by the mean of all would leave it, and drown them."""
    rng = np.random.default_rng(0)
    half = rng.standard_normal((50, 4, 2)) * np.where(np.arange(50) == 7, 1e9, 1.0)[:, None, None]
    grams = half @ half.transpose(0, 2, 1)  # of rank two
    assert np.isfinite(inverse(grams)).all()
