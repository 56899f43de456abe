"""Standard errors over users are those of the bootstrap; Wilson's interval is statsmodels', and holds what it says."""

import numpy as np
import pytest

from dmc.recommend.judging import bootstrap
from dmc.recommend.judging.held_out import error_figures
from dmc.report import over_users


@pytest.fixture(scope="module")
def drawn():
    """Users of very different numbers of ratings, whose errors are alike."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(200), rng.integers(1, 40, 200))
    return rng.standard_normal(len(users)) + 0.7 * rng.standard_normal(200)[users], users


def test_errors_are_those_of_the_bootstrap_over_users(drawn):
    errors, users = drawn
    sums = np.stack([np.bincount(users, of) for of in (errors**2, np.abs(errors), np.ones(len(errors)))], axis=1)
    found = bootstrap.resampled(sums, error_figures, 4000, np.random.default_rng(1))
    for measured, column in ((over_users.rmse(errors, users), 0), (over_users.mean(np.abs(errors), users), 1)):
        assert measured.value == pytest.approx(error_figures(sums.sum(axis=0))[column])
        assert measured.error == pytest.approx(found[:, column].std(), rel=0.06)
    naive = np.abs(errors).std() / np.sqrt(len(errors))
    assert over_users.mean(np.abs(errors), users).error > 1.2 * naive  # ratings of a user are alike


def test_of_one_rating_a_user_it_is_the_textbooks():
    values = np.random.default_rng(2).standard_normal(50)
    assert over_users.mean(values, np.arange(50)).error == pytest.approx(values.std(ddof=1) / np.sqrt(50))
    assert over_users.mean(values, np.zeros(50, int)) == over_users.mean(values, np.arange(50))  # a single user
    assert over_users.mean(values[:1], np.zeros(1, int)).error is None
    assert over_users.rmse(np.zeros(5), np.arange(5)) == (0, None, False)


@pytest.mark.parametrize(
    ("inside", "size", "low", "high"),
    [(0, 10, 0.0, 0.27753), (9, 10, 0.59585, 0.98212), (90, 100, 0.82563, 0.94477), (10, 10, 0.72247, 1.0)],
)
def test_wilsons_interval(inside, size, low, high):
    """Against statsmodels' proportion_confint(method="wilson")."""
    found = over_users.share(np.arange(size) < inside, np.arange(size))
    assert found == pytest.approx((inside / size, low, high), abs=1e-5)


def test_intervals_of_shares_hold_the_truth_though_users_differ():
    rng, held, naive_held = np.random.default_rng(3), 0, 0
    for _ in range(300):
        users = np.repeat(np.arange(60), rng.integers(1, 30, 60))
        inside = rng.random(len(users)) < rng.beta(9, 1, 60)[users]  # .9 on average
        found = over_users.share(inside, users)
        held += found.low <= 0.9 <= found.high
        naive = over_users.share(inside, np.arange(len(users)))
        naive_held += naive.low <= 0.9 <= naive.high
    assert 0.9 <= held / 300 <= 0.99
    assert naive_held / 300 < 0.9  # so that who is whose matters


def test_the_standard_error_of_an_interval():
    assert over_users.standard_error((1.0, 1.0 + 2 * 1.959964 * 0.25)) == pytest.approx(0.25)
    assert over_users.standard_error(None) is None
