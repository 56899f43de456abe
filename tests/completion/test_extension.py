"""A model of a part, carried on to all: planted answers, and the least of many where entries are too few."""

import numpy as np
import pytest

from dmc import observe
from dmc.completion.extension import extended
from dmc.factors import Factors


def conditioned(shape, rank, condition, seed=0):
    """The two sides of a planted model with singular values over so many powers of ten."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((count, rank)))[0] for count in shape)
    root = np.logspace(0, -np.log10(condition) / 2, rank) * np.sqrt(np.sqrt(np.prod(shape)))
    return left * root, right * root


def part_of(shape, rows, columns):
    return np.arange(shape[0]) < rows, np.arange(shape[1]) < columns


def known(U, V, part, bias=None):
    return Factors(U[part[0]], (), V[part[1]], None, None if bias is None else bias[part[1]])


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("condition", [1, 1e4, 1e8])
def test_a_planted_model_is_carried_on_exactly(condition, biased):
    """Far from the part by way of rows and columns that were not in it either: a band of entries."""
    shape = 60, 50
    rng = np.random.default_rng(1)
    U, V = conditioned(shape, 3, condition)
    bias = rng.uniform(-3, 3, 50) if biased else None
    truth = U @ V.T + (0 if bias is None else bias)
    rows, columns = np.indices(shape)
    mask = (abs(rows / 60 - columns / 50) < 0.4) & (rng.random(shape) < 0.8)
    part = part_of(shape, 20, 18)
    found = extended(known(U, V, part, bias), part, observe(truth, mask))
    np.testing.assert_array_equal(found.U[:20], U[:20])
    np.testing.assert_array_equal(found.V[:18], V[:18])
    assert np.linalg.norm(found.dense() - truth) < 1e-9 * np.linalg.norm(truth)
    smallest = [np.linalg.svd(x - (0 if bias is None else bias))[1][2] for x in (found.dense(), truth)]
    assert smallest[0] == pytest.approx(smallest[1], rel=1e-5)


@pytest.mark.parametrize("entries", [0, 1, 2, 3])
def test_a_row_with_too_few_entries_gets_the_least_solution(entries):
    """Of those that match them the one that predicts the least of the known columns, but for what rounding adds."""
    shape = 12, 10
    U, V = conditioned(shape, 3, 100)
    truth, mask = U @ V.T, np.ones(shape, bool)
    mask[11, entries:] = False
    part = part_of(shape, 11, 10)
    found = extended(known(U, V, part), part, observe(truth, mask, allow_empty=True))
    left = np.linalg.qr(V)[0]
    wanted = left @ np.linalg.pinv(left[:entries]) @ truth[11, :entries]
    np.testing.assert_allclose(found.dense()[11], wanted, atol=5e-3)
    np.testing.assert_allclose(found.dense()[11, :entries], truth[11, :entries], atol=1e-9)


def test_rows_with_many_entries_come_before_columns_with_few():
    """A column with three entries, one of them in a row of the part: alone that one tells next to nothing of it."""
    shape = 30, 20
    U, V = conditioned(shape, 2, 1)
    truth, mask = U @ V.T, np.ones(shape, bool)
    mask[:, 19] = False
    mask[[0, 28, 29], 19] = True
    part = part_of(shape, 10, 19)
    found = extended(known(U, V, part), part, observe(truth, mask))
    np.testing.assert_allclose(found.dense(), truth, atol=1e-9)


@pytest.mark.parametrize("levels", [0.0, 2.0])
def test_entries_at_the_level_of_their_column_count(levels):
    """What is left of them is zero, and they say so: a sparse difference would forget them."""
    shape, rng = (20, 8), np.random.default_rng(3)
    U, V = rng.standard_normal((20, 2)), rng.standard_normal((8, 2))
    U[15] = 0
    bias = np.full(8, levels)
    part = part_of(shape, 15, 8)
    found = extended(known(U, V, part, bias), part, observe(U @ V.T + bias))
    np.testing.assert_allclose(found.dense(), U @ V.T + bias, atol=1e-9)


def test_columns_that_say_nothing_leave_their_row_at_zero():
    """A row whose only entries are in columns of zeros; and a direction that the known columns do not have."""
    shape, rng = (20, 8), np.random.default_rng(4)
    U, V = rng.standard_normal((20, 2)), rng.standard_normal((8, 2))
    V[:4] = 0
    truth, mask = U @ V.T, np.ones(shape, bool)
    mask[19, 4:] = False
    part = part_of(shape, 15, 8)
    found = extended(known(U, V, part), part, observe(truth, mask))
    np.testing.assert_allclose(found.dense()[19], 0, atol=1e-12)
    np.testing.assert_allclose(found.dense()[:19], truth[:19], atol=1e-9)
    flat = V * [1, 0]
    found = extended(known(U, flat, part), part, observe(U @ flat.T, mask))
    np.testing.assert_allclose(found.dense()[:19], (U @ flat.T)[:19], atol=1e-9)
    assert np.abs(found.U[15:]).max() < 10


def test_a_model_of_levels_alone_is_carried_on():
    bias, part = np.arange(8.0), part_of((20, 8), 15, 5)
    model = Factors(np.zeros((15, 0)), (), np.zeros((5, 0)), None, bias[:5])
    np.testing.assert_allclose(extended(model, part, observe(np.tile(bias, (20, 1)))).dense(), [bias] * 20, atol=1e-9)


def test_it_stays_in_its_precision():
    U, V = (side.astype(np.float32) for side in conditioned((30, 20), 2, 1))
    part = part_of((30, 20), 15, 12)
    found = extended(known(U, V, part), part, observe(U @ V.T))
    assert found.U.dtype == found.V.dtype == np.float32
    np.testing.assert_allclose(found.dense(), U @ V.T, atol=1e-5)
