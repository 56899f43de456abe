"""Planted matrices have the answer that they promise."""

import sys

import numpy as np
import pytest

from dmc import datasets


@pytest.mark.parametrize("shape", [(40, 60), (60, 40)])
@pytest.mark.parametrize("condition", [1, 100])
def test_rank_condition_and_size(shape, condition):
    observed, A, B = datasets.planted(shape, 4, 0.3, condition=condition)
    X = A @ B.T
    s = np.linalg.svd(X, compute_uv=False)
    np.testing.assert_allclose(s[4:], 0, atol=1e-12 * s[0])
    np.testing.assert_allclose(s[:4] / s[0], np.geomspace(1, 1 / condition, 4), rtol=1e-10)
    assert np.sqrt(np.mean(X**2)) == pytest.approx(1)
    np.testing.assert_allclose(observed.values, X[observed.rows, observed.cols], atol=1e-12)
    assert observed.shape == shape
    assert observed.n_observed == 720
    assert observed.dtype == np.float64


def test_observed_everywhere_with_equal_chance():
    observed = datasets.planted((200, 100), 1, 0.5).observations
    # Binomial: 100 of 200 in a column, with deviation 7; 50 of 100 in a row, with deviation 5.
    assert np.abs(observed.pattern.column_counts - 100).max() < 35
    assert np.abs(observed.pattern.row_counts - 50).max() < 25


def test_all_may_be_observed():
    assert datasets.planted((6, 5), 2, 1).observations.n_observed == 30


def test_noise_is_on_the_observed_values_only():
    observed, A, B = datasets.planted((200, 100), 2, 0.5, noise=0.3, seed=1)
    noise = observed.values - (A @ B.T)[observed.rows, observed.cols]
    assert np.std(noise) == pytest.approx(0.3, rel=0.03)
    np.testing.assert_array_equal(A, datasets.planted((200, 100), 2, 0.5, seed=1).A)


def test_the_seed_decides():
    first, again, other = (datasets.planted((20, 10), 2, 0.5, seed=seed) for seed in (7, np.random.default_rng(7), 8))
    np.testing.assert_array_equal(first.observations.values, again.observations.values)
    np.testing.assert_array_equal(first.observations.cols, again.observations.cols)
    assert not np.array_equal(first.A, other.A)


def test_what_the_drawn_entries_determine():
    problem = datasets.planted((60, 60), 3, 0.14)
    found, pattern = problem.identifiability, problem.observations.pattern
    assert found.rank == 3
    few = pattern.row_counts < 3, pattern.column_counts < 3
    assert few[0].any()
    assert (found.row_blocks[few[0]] == -1).all()
    assert (found.column_blocks[few[1]] == -1).all()
    assert datasets.planted((60, 60), 3, 0.5).identifiability.whole


def test_a_large_shape_is_no_dense_matrix():
    observed = datasets.planted((300_000, 200_000), 1, 1e-8).observations
    assert observed.n_observed == 600


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"shape": (0, 5)}, "the number of rows is 0"),
        ({"rank": 6}, "rank is 6; it has to be from 1 to 5"),
        ({"observed": 0}, "observed is 0"),
        ({"observed": 0.001}, "observed is 0.001: not one entry of a 7×5 matrix"),
        ({"observed": 1.1}, "observed is 1.1"),
        ({"condition": 0.5}, "condition is 0.5"),
        ({"noise": -1}, "noise is -1"),
    ],
)
def test_bad_settings(settings, said):
    given = {"shape": (7, 5), "rank": 2, "observed": 0.5, **settings}
    with pytest.raises(ValueError, match=said):
        datasets.planted(**given)


def test_photograph():
    pytest.importorskip("PIL")
    image, mask = datasets.photograph(0.3, seed=1)
    assert image.shape == (427, 640, 3)
    assert mask.shape == image.shape[:2]
    assert (image.dtype, mask.dtype) == (np.float64, np.bool_)
    assert 0 <= image.min() < 0.1
    assert 0.9 < image.max() <= 1
    assert mask.mean() == pytest.approx(0.3, abs=0.01)
    np.testing.assert_array_equal(mask, datasets.photograph(0.3, seed=1)[1])


def test_photograph_without_pillow_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"needs Pillow .* pip install 'dmc\[plot\]'"):
        datasets.photograph()


def test_photograph_observed_in_part():
    with pytest.raises(ValueError, match=r"observed is 1\.5"):
        datasets.photograph(1.5)
