"""What the pattern of a table says about its lines: none where chance made it, and what NumPy says of the rest."""

import numpy as np
import pytest

from dmc.observations import Observations
from dmc.recommend import presence_features


def communities(seed=0, shape=(300, 200)):
    """Values of noise only but for what the pattern tells: rows rate what their kind rates, and rate it higher."""
    rng = np.random.default_rng(seed)
    m, n = shape
    own, theirs = rng.integers(0, 2, m), rng.integers(0, 2, n)
    same = own[:, None] == theirs
    seen = rng.random(shape) < np.where(same, 0.12, 0.03)
    rows, cols = np.nonzero(seen)
    truth = 3 + 0.8 * same
    values = truth[rows, cols] + 0.5 * rng.standard_normal(len(rows))
    return truth, Observations.from_entries(rows, cols, values.astype(np.float32), shape)


def test_a_pattern_of_chance_gives_no_coordinates():
    rows, cols = np.nonzero(np.random.default_rng(0).random((300, 200)) < 0.25)
    observations = Observations.from_entries(rows, cols, np.ones(len(rows), np.float32), (300, 200))
    for features in presence_features.pattern_features(observations.pattern):
        assert features.loadings.shape[1] == 0


def test_a_pattern_that_tells_kinds_apart_gives_coordinates():
    _, observations = communities()
    of_rows, of_columns = presence_features.pattern_features(observations.pattern)
    for features, lines in ((of_rows, observations.pattern.by_row), (of_columns, observations.pattern.by_column)):
        found = features(lines)
        assert found.shape[1] > 2
        np.testing.assert_allclose(np.mean(found[:, 2:] ** 2, axis=0), 1, rtol=0.05)
        np.testing.assert_allclose(found[:, 1].mean(), 0, atol=0.02)


def expected_of(features, lines, others):
    """The features of `PresenceFeatures`, in other words: each line a loop."""
    counts = np.diff(lines.indptr)
    out = np.zeros((len(counts), 2 + others.shape[1]))
    for i, count in enumerate(counts):
        level = (np.log(max(count, 1)) - features.center) / features.spread
        out[i, :2] = 1, np.clip(level, -presence_features.TUNING.max_level, presence_features.TUNING.max_level)
        own = lines.indices[lines.indptr[i] : lines.indptr[i + 1]]
        out[i, 2:] = others[own].sum(axis=0) * (count**-presence_features.TUNING.count_power if count else 0)
    return out


@pytest.mark.parametrize("side", [0, 1])
def test_features_are_those_of_a_loop_over_lines(side):
    pattern = communities()[1].pattern
    features, lines = presence_features.pattern_features(pattern)[side], (pattern.by_row, pattern.by_column)[side]
    np.testing.assert_allclose(features(lines), expected_of(features, lines, features.loadings), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("blocks", [2, 5])
def test_a_pattern_of_few_blocks_gives_no_coordinates_of_rounding(blocks):
    """Its further singular values are zero, and nothing is divided by them."""
    rows, cols = np.nonzero(np.kron(np.eye(blocks), np.ones((20, 16))))
    pattern = Observations.from_entries(rows, cols, np.ones(len(rows), np.float32), (20 * blocks, 16 * blocks)).pattern
    for features, lines in zip(
        presence_features.pattern_features(pattern), (pattern.by_row, pattern.by_column), strict=True
    ):
        found = features(lines)
        assert found.shape[1] == 1 + blocks  # one, the level, and a coordinate less than there are blocks
        assert np.abs(found).max() < 4
        assert np.abs(found[:, 1]).max() < 1e-6  # all have the same count
