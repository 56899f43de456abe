"""When a match is no accident: against the null space of the Jacobian, and planted accidents."""

import math

import numpy as np
import pytest

import hard_patterns
import jacobian
from dmc import MatrixCompletion, observe
from dmc.completion.exactness import Exactness
from dmc.factors import Factors
from dmc.identifiability import Identifiability
from dmc.solver.problem import MaskedLeastSquares


def of(observed, biased=False, rounding=None, seed=0) -> Exactness:
    return Exactness(MaskedLeastSquares(observed), biased, rounding, np.random.default_rng([seed, 1]))


def generic(mask, rank, biased=False, seed=0):
    """A random model, what it leaves open to first order, and what is to be said of it."""
    found = jacobian.Movements(mask, rank, biased, seed)
    said = of(observe(found.truth, mask), biased)
    return found, said, Factors(found.U, (), found.V, column_bias=found.bias)


# --- movable


def corners(links, rank=2):
    """Two full corners, linked by so many entries between them."""
    mask = np.zeros((12, 12), bool)
    mask[:6, :6] = mask[6:, 6:] = True
    rows, cols = np.unravel_index(np.arange(links), (rank, rank))
    mask[rows, 6 + cols] = True
    return mask


@pytest.mark.parametrize("links", [1, 2, 3, 4])
def test_two_blocks_move_against_each_other_with_fewer_than_rank_times_rank_links(links):
    found, said, model = generic(corners(links), 2)
    assert found.determined.all() == (links == 4)
    assert said.movable(model) == (links < 4)


@pytest.mark.parametrize("width", [1, 2])
def test_a_band_moves_where_its_rows_have_too_little_in_common(width):
    mask = abs(np.subtract.outer(np.arange(15), np.arange(15))) <= width
    found, said, model = generic(mask, 2)
    assert said.movable(model) == (not found.determined.all()) == (width == 1)


def test_a_cycle_of_rows_and_columns_moves():
    """Each has as many entries as unknowns, so that counts say nothing against it."""
    at = np.arange(8)
    mask = np.eye(8, dtype=bool)
    mask[at, np.roll(at, 1)] = True
    _, said, model = generic(mask, 2)
    assert Identifiability.of(said.observations.pattern, 2).whole
    assert said.movable(model)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_a_model_is_movable_where_the_null_space_says_so(seed, biased):
    """Among the rows and columns that have as many entries as unknowns: others do not count."""
    rng = np.random.default_rng(seed)
    mask = rng.random((10, 11)) < rng.uniform(0.35, 0.7)
    rank = int(rng.integers(1, 4))
    found, said, model = generic(mask, rank, biased, seed)
    counted = Identifiability.of(said.observations.pattern, rank, (rank, rank + biased))
    open_ = counted.known(np.arange(10)[:, None], np.arange(11)) & ~found.determined
    assert said.movable(model) == open_.any()


@pytest.mark.parametrize("condition", [1, 1e4, 1e8])
def test_a_condition_number_is_no_movement(condition):
    truth, observed = hard_patterns.planted(hard_patterns.uniform, 60, 0.2, 0)
    left, _, right = np.linalg.svd(truth)
    root = np.logspace(0, -np.log10(condition) / 2, 3)
    U, V = left[:, :3] * root, right[:3].T * root
    values = (U @ V.T)[observed.rows, observed.cols]
    assert not of(observed.with_values(values)).movable(Factors(U, (), V))


def test_nothing_moves_where_nothing_is_missing():
    mask = np.zeros((8, 8), bool)
    mask[:5, :5] = True
    _, said, model = generic(mask, 3)
    assert not said.movable(model)


# --- certain


@pytest.mark.parametrize("pattern", [hard_patterns.uniform, hard_patterns.power_law, hard_patterns.band])
def test_the_truth_is_certain_and_what_matches_as_well_by_accident_is_not(pattern):
    truth, observed = hard_patterns.planted(pattern, 60, 0.2, 1)
    said = of(observed)
    left, s, right = np.linalg.svd(truth)
    model = Factors(left[:, :3] * s[:3], (), right[:3].T)
    assert said.certain(model)
    assert not said.certain(model.scaled(1 + 1e-7))
    unseen = np.argwhere(observed.to_scipy().toarray() == 0)[7]  # a direction that only this entry has
    row, column = (np.eye(60)[at] for at in unseen)
    spoilt = Factors(np.column_stack([model.U, row]), (), np.column_stack([model.V, 1e3 * column]))
    assert said.matched(spoilt)
    assert not said.certain(spoilt)


def test_entries_to_spare_elsewhere_do_not_make_a_match_certain():
    """A full corner, and rows with as many entries as unknowns among each other: of all there are more than enough."""
    mask = np.zeros((40, 40), bool)
    mask[:20, :20] = True
    at = np.arange(20, 40)
    mask[at, at] = mask[at, np.roll(at, 1)] = True
    mask[20, :2] = True
    _, said, model = generic(mask, 2)
    assert said.oversampling(2) > 2
    assert said.matched(model)
    counted = Identifiability.of(said.observations.pattern, 2)
    assert (counted.row_blocks[20:] == -1).sum() >= 19
    assert said.certain(model)  # of the corner; the others are not called known
    _, alone, model = generic(mask[20:, 20:], 2)
    assert not alone.certain(model)


def test_data_of_too_few_digits_are_never_certain():
    truth, observed = hard_patterns.planted(hard_patterns.uniform, 40, 0.4, 0)
    left, s, right = np.linalg.svd(truth)
    model = Factors(left[:, :3] * s[:3], (), right[:3].T)
    assert of(observed).certain(model)
    assert not of(observed, rounding=np.full(40, 1e-3)).certain(model)


def test_a_match_of_single_precision_is_judged_by_its_own_rounding():
    truth, observed = hard_patterns.planted(hard_patterns.uniform, 40, 0.4, 0)
    left, s, right = np.linalg.svd(truth)
    model = Factors((left[:, :3] * s[:3]).astype(np.float32), (), right[:3].T.astype(np.float32))
    single = observed.with_values(observed.values.astype(np.float32))
    assert of(single).certain(model)
    assert not of(observed).certain(model.map(lambda side: side.astype(np.float64)))


# --- noise and rounding


@pytest.mark.parametrize("shape", [(60, 50), (300, 8)])
def test_noise_is_told_from_structure_by_its_signs(shape):
    rng = np.random.default_rng(0)
    noise, mask = rng.standard_normal(shape), rng.random(shape) < 0.5
    said = of(observe(noise, mask))
    assert said.is_noise(said.observations)
    strength = 1.5 * np.linalg.norm(np.where(mask, noise, 0), 2)
    structure = np.outer(np.ones(shape[0]), np.ones(shape[1])) * strength / math.sqrt(np.prod(shape)) / 0.5
    assert not said.is_noise(observe(noise + structure, mask))


def test_few_entries_tell_no_noise():
    said = of(observe(np.random.default_rng(0).standard_normal((9, 11))))
    assert not said.is_noise(said.observations)


def test_a_tenth_decade_is_no_rounding():
    """Structure of 1e-10 is left: more than last bits, less than a last step does; by its signs it is neither."""
    rng = np.random.default_rng(0)
    X, weak = rng.standard_normal((50, 40)), 1e-10 * np.outer(rng.standard_normal(50), rng.standard_normal(40))
    said = of(observe(X))
    assert not said.to_rounding(observe(weak))
    assert said.to_rounding(observe(1e-10 * rng.standard_normal((50, 40))))
    assert said.to_rounding(observe(1e-16 * np.ones((50, 40))))
    assert not said.to_rounding(observe(1e-8 * rng.standard_normal((50, 40))))


# --- freedom


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("shape", "rank"), [((7, 6), 2), ((4, 9), 1), ((6, 6), 5)])
def test_freedom_is_the_rank_of_the_jacobian(shape, rank, biased):
    model, size = jacobian.Movements(np.ones(shape, bool), rank, biased), np.indices(shape).reshape(2, -1)
    said = of(observe(model.truth), biased)
    assert said.freedom(rank) == np.linalg.matrix_rank(model._jacobian(*size))
    assert said.freedom(rank, (20, 30)) == rank * (50 - rank) + biased * (30 - rank)


@pytest.mark.parametrize("biased", [False, True])
def test_of_two_blocks_that_move_against_each_other_the_larger_is_held(biased):
    """They share two rows, which leave directions of rank three open between them."""
    rows, cols = np.indices((40, 36))
    mask = ((rows < 24) & (cols < 22)) | ((rows >= 22) & (cols >= 22))
    _, said, model = generic(mask, 3, biased)
    assert said.movable(model)
    held_rows, held_cols = said.held(model)
    np.testing.assert_array_equal(held_rows, np.arange(40) < 24)
    np.testing.assert_array_equal(held_cols, np.arange(36) < 22)


def test_of_what_nothing_moves_all_is_held():
    _, said, model = generic(np.random.default_rng(0).random((30, 25)) < 0.6, 3)
    assert not said.movable(model)
    assert all(side.all() for side in said.held(model))


def test_rows_that_are_all_alike_leave_nothing_to_factor():
    X = np.random.default_rng(0).standard_normal((12, 1)) @ np.ones((1, 9))
    wanted = X.copy()
    X[::3, 2] = np.nan
    np.testing.assert_allclose(MatrixCompletion(rank=1).fit(X).complete(), wanted)
