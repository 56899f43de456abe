"""Made-up ratings: shaped like real ones, and with a truth that is the truth."""

import numpy as np
import pytest

from dmc.cli import made_up_ratings as module


@pytest.fixture(scope="module")
def made() -> module.Ratings:
    return module.made_up_ratings(300, 100)


def test_they_have_the_shape_of_ratings(made: module.Ratings) -> None:
    assert made.means.shape == (300, 100)
    assert set(made.values) == {1, 2, 3, 4, 5}
    assert len(set(zip(made.rows.tolist(), made.cols.tolist(), strict=True))) == len(made.values)
    of_items = np.sort(np.bincount(made.cols))[::-1]
    assert of_items[:10].sum() > 2 * of_items[-50:].sum() * 10 / 50  # some films are seen by many
    assert len(set(made.items)) == 100


def test_the_expected_rating_is_the_mean_of_drawn_ones(made: module.Ratings) -> None:
    drawn = made.means[0, :10, None] + np.random.default_rng(1).normal(0, module.NOISE, (10, 200_000))
    means = np.clip(np.round(drawn), 1, 5).mean(axis=1)
    np.testing.assert_allclose(made.true_means(0)[:10], means, atol=0.01)
    assert made.true_mean(0, made.items[3]) == made.true_means(0)[3]


def test_no_prediction_is_better_than_the_expected_rating(made: module.Ratings) -> None:
    off = [np.mean((made.expected + shift - made.values) ** 2) for shift in (0, -0.1, 0.1)]
    assert off[0] < min(off[1:])


def test_biases_are_fitted_on_the_chosen_ratings_alone(made: module.Ratings) -> None:
    chosen = np.random.default_rng(0).random(len(made.values)) < 0.9
    predicted = made.biases(chosen)
    spoilt = module.Ratings(made.rows, made.cols, np.where(chosen, made.values, 99.0), made.items, made.means)
    np.testing.assert_array_equal(spoilt.biases(chosen), predicted)
    hidden = made.values[~chosen]
    assert np.mean((predicted[~chosen] - hidden) ** 2) < 0.9 * np.mean((made.values[chosen].mean() - hidden) ** 2)


def test_the_table_is_what_a_recommender_takes(made: module.Ratings) -> None:
    chosen = np.arange(len(made.values)) < 3
    table = made.table(chosen)
    assert table["user"].tolist() == ["user 0"] * 3
    assert table["item"].tolist() == [made.items[j] for j in made.cols[:3]]
    assert table["rating"].tolist() == made.values[:3].tolist()
