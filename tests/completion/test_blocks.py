"""A matrix in blocks that share no entry: each is a model of its own entries, whatever the size of the others."""

import re

import numpy as np
import pytest

from dmc import MatrixCompletion, Observations, Status, datasets, observe
from dmc.completion import blocks
from dmc.completion.blocks import blocks_of


def beside(*parts: np.ndarray) -> np.ndarray:
    """Matrices down the diagonal, with nothing observed between them."""
    whole = np.full(np.sum([part.shape for part in parts], axis=0), np.nan)
    row = col = 0
    for part in parts:
        whole[row : row + part.shape[0], col : col + part.shape[1]] = part
        row, col = row + part.shape[0], col + part.shape[1]
    return whole


def planted(shape, rank, share=0.6, seed=0) -> tuple[np.ndarray, np.ndarray]:
    """The truth, and what was observed of it."""
    problem = datasets.planted(shape, rank, share, seed=seed)
    truth, x = problem.A @ problem.B.T, np.full(shape, np.nan)
    x[problem.observations.rows, problem.observations.cols] = problem.observations.values
    return truth, x


def in_units(shape, rank, seed) -> np.ndarray:
    """A table of which each column has a level and a size of its own."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
    return (truth + rng.uniform(20, 60, shape[1])) * np.logspace(-3, 3, shape[1])


def relative(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def fit(x: np.ndarray, n_blocks: int, **settings) -> MatrixCompletion:
    with pytest.warns(UserWarning, match=f"{n_blocks} blocks that share no entry: predictions there are guesses"):
        return MatrixCompletion(**settings).fit(x)


# --- which they are


def patterned(mask: np.ndarray):
    return observe(np.ones(mask.shape), mask).pattern


def test_what_hangs_together_is_one_block_without_empty_rows_and_columns():
    mask = np.ones((6, 5), bool)
    mask[2] = mask[:, 3] = False
    ((rows, cols),) = blocks_of(patterned(mask))
    assert (rows == (np.arange(6) != 2)).all()
    assert (cols == (np.arange(5) != 3)).all()


@pytest.mark.parametrize("bound", [None, 3, 6])
def test_empty_rows_and_columns_change_nothing_for_the_others(bound):
    """However many they are: what is fitted is the matrix without them, and there the average is predicted."""
    problem = datasets.planted((40, 30), 2, 0.5, noise=0.1)
    rows, cols, o = 9 * np.arange(40), 8 * np.arange(30) + 1, problem.observations
    alone = MatrixCompletion(bound).fit(o)
    spread = Observations.from_entries(rows[o.rows], cols[o.cols], o.values, (360, 250))
    with pytest.warns(UserWarning, match="320 of 360 rows and 220 of 250 columns have no observed entry"):
        among = MatrixCompletion(bound).fit(spread)
    np.testing.assert_allclose(among.complete()[np.ix_(rows, cols)], alone.complete(), rtol=0, atol=1e-9)
    np.testing.assert_allclose(among.complete()[1, cols], alone.complete().mean(axis=0), atol=1e-9)


def test_a_chain_of_single_entries_hangs_together():
    """Until one link is missing."""
    mask = np.eye(12, dtype=bool) | np.eye(12, k=1, dtype=bool)
    assert len(blocks_of(patterned(mask))) == 1
    mask[6, 6] = False
    assert [(rows.sum(), cols.sum()) for rows, cols in blocks_of(patterned(mask))] == [(6, 7), (6, 5)]


def test_blocks_are_found_whatever_the_order_of_lines():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 30), rng.integers(0, 3, 20)
    mask = label[0][:, None] == label[1]
    found = blocks_of(patterned(mask))
    assert len(found) == 3
    entries = [mask[np.ix_(rows, cols)].sum() for rows, cols in found]
    assert entries == sorted(entries, reverse=True)
    for rows, cols in found:
        assert mask[np.ix_(rows, cols)].all()
        assert len(set(label[0][rows]) | set(label[1][cols])) == 1


def test_single_entries_stay_together_and_empty_lines_fall_nowhere():
    x = beside(np.ones((4, 3)), *[np.ones((1, 1))] * 3, np.full((2, 2), np.nan))
    (rows, cols), (alone, also) = blocks_of(patterned(np.isfinite(x)))
    assert (rows.sum(), cols.sum()) == (4, 3)
    np.testing.assert_array_equal(np.flatnonzero(alone)[:3], [4, 5, 6])
    np.testing.assert_array_equal(np.flatnonzero(also)[:3], [3, 4, 5])
    assert not (alone & rows).any()
    x = beside(np.ones((4, 3)), np.full((2, 2), np.nan), np.ones((3, 3)))
    assert [(rows.sum(), cols.sum()) for rows, cols in blocks_of(patterned(np.isfinite(x)))] == [(4, 3), (3, 3)]


def test_of_many_blocks_the_largest_are_alone():
    sizes = [3 + i % 4 for i in range(blocks.MOST + 6)]
    found = blocks_of(patterned(np.isfinite(beside(*[np.ones((k, k)) for k in sizes]))))
    assert len(found) == blocks.MOST + 1
    rows = np.sum([rows for rows, _ in found], axis=0)
    assert (rows == 1).all()  # each row in one part
    alone = [mask.sum() for mask, _ in found[:-1]]
    assert alone == sorted(sizes, reverse=True)[: blocks.MOST]
    assert found[-1][0].sum() == sum(sizes) - sum(alone)


# --- exact ones


@pytest.mark.parametrize("scale", ["auto", "none", "columns", "rows"])
@pytest.mark.parametrize("size", [1e-8, 1.0, 1e8])
def test_a_block_is_exact_whatever_the_size_of_the_other(size, scale):
    (one, seen), (other, also) = planted((60, 40), 2), planted((50, 30), 1, seed=1)
    model = fit(beside(seen, size * also), 2, scale=scale)
    found = model.complete()
    assert relative(found[:60, :40], one) < 1e-9
    assert relative(found[60:, 40:], size * other) < 1e-9


def test_three_blocks_among_each_other():
    """Rows and columns shuffled."""
    parts = [planted((40, 30), 2, seed=s) for s in range(3)]
    x, truth = beside(*[p[1] for p in parts]), beside(*[p[0] for p in parts])
    rng = np.random.default_rng(0)
    rows, cols = rng.permutation(x.shape[0]), rng.permutation(x.shape[1])
    x, truth = x[np.ix_(rows, cols)], truth[np.ix_(rows, cols)]
    model = fit(x, 3)
    inside = np.isfinite(truth)
    np.testing.assert_allclose(model.complete()[inside], truth[inside], atol=1e-10)
    assert (model.rank_, model.scale_) == (6, "none")


def test_rank_and_what_can_be_known():
    """Each block is told by its own entries at the rank of the widest, and nothing between them is."""
    (_, seen), (_, also) = planted((60, 40), 3), planted((50, 30), 1, seed=1)
    model = fit(beside(seen, also), 2)
    assert model.rank_ == model.factors_.width == 4
    assert model.identifiability_.rank == 3
    assert model.identifiability_.n_blocks == 2
    assert model.status_ is Status.UNDETERMINED
    marked = np.isnan(model.complete(unknown=np.nan))
    assert not marked[:60, :40].any()
    assert not marked[60:, 40:].any()
    assert marked[:60, 40:].all()
    assert marked[60:, :40].all()
    assert not model.complete()[:60, 40:].any()  # a guess, without levels: nothing
    assert np.isnan(model.held_out_rmse_) or model.held_out_rmse_ < 1e-9
    assert model.residual_rms_ < 1e-12


def test_new_rows_are_folded_in_to_their_block():
    (one, seen), (other, also) = planted((60, 40), 2), planted((50, 30), 1, seed=1)
    model = fit(beside(seen, 1e3 * also), 2)
    new = np.full((2, 70), np.nan)
    new[0, :10], new[1, 40:45] = one[3, :10], 1e3 * other[7, :5]
    found = model.transform(new)
    np.testing.assert_allclose(found[0, :40], one[3], atol=1e-5)
    np.testing.assert_allclose(found[1, 40:], 1e3 * other[7], atol=1e-2)


def test_deviations_are_known_inside_blocks_only():
    rng = np.random.default_rng(0)
    parts = [planted((60, 40), 2, seed=s)[1] for s in range(2)]
    model = fit(beside(*[part + 0.2 * rng.standard_normal(part.shape) for part in parts]), 2)
    with pytest.warns(UserWarning, match="1 position of 2 cannot be determined from the observed entries"):
        deviations = model.predict([3, 3], [5, 60], return_std=True)[1]
    assert np.isnan(deviations).tolist() == [False, True]


def test_deviations_are_those_of_a_block_alone():
    # too, and the trace of their product is added.
    rng = np.random.default_rng(0)
    parts = [planted((60, 40), 2, seed=s)[1] for s in range(2)]
    parts = [part + 0.2 * rng.standard_normal(part.shape) for part in parts]
    rows, cols = np.arange(40), np.arange(40)
    found = fit(beside(*parts), 2).predict(rows, cols, return_std=True)[1]
    alone = MatrixCompletion().fit(parts[0]).predict(rows, cols, return_std=True)[1]
    np.testing.assert_allclose(found, alone, rtol=0.2)


def test_samples_spread_as_those_of_a_block_alone():
    rng = np.random.default_rng(0)
    parts = [planted((60, 40), 2, seed=s)[1] for s in range(2)]
    parts = [part + 0.2 * rng.standard_normal(part.shape) for part in parts]
    hidden = np.isnan(parts[0])
    found = np.std([table[:60, :40][hidden] for table in fit(beside(*parts), 2).sample(20)], axis=0).mean()
    alone = np.std([table[hidden] for table in MatrixCompletion().fit(parts[0]).sample(20)], axis=0).mean()
    assert found == pytest.approx(alone, rel=0.15)


# --- noisy ones


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_noisy_blocks_are_as_good_as_alone(size):
    rng = np.random.default_rng(0)
    truths, x = zip(planted((60, 40), 2), planted((50, 30), 1, seed=1), strict=True)
    seen = [part + 0.3 * rng.standard_normal(part.shape) for part in x]
    found = fit(beside(seen[0], size * seen[1]), 2).complete()
    inside = found[:60, :40], found[60:, 40:] / size
    for part, truth, alone in zip(inside, truths, seen, strict=True):
        assert relative(part, truth) < 1.1 * relative(MatrixCompletion().fit(alone).complete(), truth)


def test_noise_beside_an_exact_block_does_not_blur_it():
    truth, seen = planted((60, 40), 2)
    noise = np.random.default_rng(0).standard_normal((60, 40))
    with pytest.warns(UserWarning, match="predictions there are guesses"):
        model = MatrixCompletion().fit(beside(seen, noise))
    assert relative(model.complete()[:60, :40], truth) < 1e-9


def test_what_a_block_determines_depends_on_its_own_rank():
    _, seen = planted((60, 40), 2)
    noise = np.random.default_rng(0).standard_normal((60, 40))
    with pytest.warns(UserWarning, match="predictions there are guesses"):
        model = MatrixCompletion().fit(beside(seen, noise))
    assert not np.isnan(model.complete(unknown=np.nan)[:60, :40]).any()


def test_a_block_and_a_single_entry():
    truth, seen = planted((60, 40), 2)
    with pytest.warns(UserWarning, match="predictions there are guesses"):
        model = MatrixCompletion().fit(beside(seen, np.full((1, 1), 7.0)))
    found = model.complete()
    assert relative(found[:60, :40], truth) < 1e-9
    assert found[60, 40] == pytest.approx(7)


def test_a_block_and_single_entries():
    truth, seen = planted((60, 40), 2)
    found = fit(beside(seen, *[np.full((1, 1), value) for value in (3.0, -2.0, 700.0)]), 4).complete()
    assert relative(found[:60, :40], truth) < 1e-9
    np.testing.assert_allclose(np.diag(found[60:, 40:]), [3, -2, 700], rtol=1e-6)


def test_a_block_and_two_small_ones():
    truth, seen = planted((60, 40), 2)
    one, other = np.outer([1.0, 2], [1, 2, 3]), np.outer([5.0, 7], [1, -1, 4])
    found = fit(beside(seen, one, other), 3).complete()
    assert relative(found[:60, :40], truth) < 1e-9
    np.testing.assert_allclose(found[60:62, 40:43], one, rtol=1e-6)
    np.testing.assert_allclose(found[62:, 43:], other, rtol=1e-6)


def test_weights_stay_with_their_entries():
    """In each block a tenth of the entries is wrong, at next to no weight."""
    (one, seen), (other, also) = planted((60, 40), 2), planted((50, 30), 1, seed=1)
    x = beside(seen, also)
    wrong = np.random.default_rng(0).random(x.shape) < 0.1
    with pytest.warns(UserWarning, match="2 blocks"):
        model = MatrixCompletion().fit(np.where(wrong, x + 50, x), weights=np.where(wrong, 0, 1.0))
    found = model.complete()
    assert relative(found[:60, :40], one) < 1e-9
    assert relative(found[60:, 40:], other) < 1e-9


# --- blocks of tables in units


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_scaled_blocks(noise):
    truth = beside(in_units((80, 10), 2, 0), in_units((80, 10), 1, 1)[:, ::-1])
    rng = np.random.default_rng(2)
    spread = np.nanstd(truth, axis=0)
    hidden = rng.random(truth.shape) < 0.25
    x = np.where(hidden, np.nan, truth + noise * spread * rng.standard_normal(truth.shape))
    model = fit(x, 2)
    missed = ((model.complete() - truth) / spread)[hidden & np.isfinite(truth)]
    assert np.sqrt(np.mean(missed**2)) < (0.1 if noise else 1e-9)
    assert model.scale_ == "columns"
    assert model.identifiability_.n_blocks == 2
    if not noise:
        assert model.rank_ == 3


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_between_scaled_blocks_the_level_of_the_column_is_predicted(noise):
    truth = beside(in_units((80, 10), 2, 0), in_units((80, 10), 1, 1))
    rng = np.random.default_rng(2)
    spread = np.nanstd(truth, axis=0)
    x = truth + noise * spread * rng.standard_normal(truth.shape)
    x[rng.random(x.shape) < 0.25] = np.nan
    model = fit(x, 2)
    found, level = model.complete(), np.nanmean(x, axis=0)
    for rows, cols in ((slice(80, None), slice(10)), (slice(80), slice(10, None))):
        between = found[rows, cols]
        np.testing.assert_array_equal(between, np.broadcast_to(between[0], between.shape))  # of each row the same
        assert (np.abs(between[0] - level[cols]) < 0.3 * spread[cols]).all()


def test_rows_in_units_fall_into_blocks_as_columns_do():
    x = beside(in_units((80, 10), 2, 0), in_units((80, 10), 1, 1))
    x[np.random.default_rng(2).random(x.shape) < 0.25] = np.nan
    upright, turned = fit(x, 2), fit(np.ascontiguousarray(x.T), 2)
    assert (upright.scale_, turned.scale_) == ("columns", "rows")
    np.testing.assert_allclose(turned.complete().T, upright.complete(), rtol=1e-9)


def test_blocks_in_units_and_without():
    """A table beside a matrix around zero: only the first has levels."""
    truth, seen = planted((60, 40), 2)
    table = in_units((80, 10), 2, 0)
    x = np.where(np.random.default_rng(2).random(table.shape) < 0.25, np.nan, table)
    found = fit(beside(seen, x), 2).complete()
    assert relative(found[:60, :40], truth) < 1e-9
    missed = (found[60:, 40:] - table) / table.std(axis=0)
    assert np.abs(missed).max() < 1e-8


def test_the_message_says_what_to_do():
    seen = [planted((30, 20), 1, seed=s)[1] for s in range(2)]
    message = "the rest falls into 2 blocks that share no entry: predictions there are guesses; observe more entries"
    with pytest.warns(UserWarning, match=re.escape(message)) as caught:
        MatrixCompletion().fit(beside(*seen))
    assert len(caught) == 1
    assert caught[0].filename == __file__
