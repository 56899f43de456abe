"""Ratings without noise, finished in float64."""

from dmc import bayesian, noise_free
from test_bayesian import excess, ratings


def test_clean_ratings_are_fitted_to_their_rounding():
    truth, observations = ratings(noise=0)
    rough = bayesian.fit(observations)
    fine = noise_free.finish(rough, observations)
    assert excess(fine, truth) < 1e-6 < excess(rough, truth)
    assert fine.rank == 3


def test_noisy_ratings_stay_as_they_are():
    _, observations = ratings()
    rough = bayesian.fit(observations)
    assert noise_free.finish(rough, observations) is rough
