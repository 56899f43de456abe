"""Ratings without noise, finished in float64."""

import numpy as np
import pytest
from test_bayesian import excess, ratings

from dmc.observations import Observations
from dmc.recommend import bayesian, noise_free
from dmc.solver.solution import Status


def test_clean_ratings_are_fitted_to_their_rounding():
    truth, observations = ratings(noise=0)
    rough = bayesian.fit(observations)
    fine = noise_free.finish(rough, observations)
    assert excess(fine, truth) < 1e-6 < excess(rough, truth)
    assert fine.rank == 3
    assert (fine.status, fine.errors[:-1]) == (Status.CONVERGED, rough.errors)


@pytest.mark.parametrize("noise", [0.5, 0.05, 0.003])
def test_noisy_ratings_stay_as_they_are(noise):
    _, observations = ratings(noise=noise)
    rough = bayesian.fit(observations)
    assert noise_free.finish(rough, observations) is rough


def test_a_few_wrong_ratings_are_noise():
    """All but a thousandth are exact: then no model matches, and none is bent to it."""
    truth, observations = ratings(noise=0)
    values = observations.values.copy()
    values[::1000] += 1
    rough = bayesian.fit(observations.with_values(values))
    fine = noise_free.finish(rough, observations.with_values(values))
    assert fine is rough
    assert excess(rough, truth) < 0.1


def test_too_few_ratings_stay_as_they_are():
    _, observations = ratings((60, 50), share=0.1, noise=0)
    rough = bayesian.fit(observations)
    assert noise_free.finish(rough, observations) is rough


def test_with_attributes_it_stays_as_it_is():
    _, observations = ratings(noise=0)
    told = np.random.default_rng(0).standard_normal((observations.shape[0], 2)).astype(np.float32)
    rough = bayesian.fit(observations, attributes=(told, None))
    assert noise_free.finish(rough, observations) is rough


def test_a_line_of_few_ratings_is_drawn_to_the_others():
    """Two ratings match anything, a model of rank three as well; what it adds must not explode."""
    truth, observations = ratings(noise=0)
    keep = (observations.rows >= 5) | (np.cumsum(observations.rows < 5) % 20 == 0)
    some = Observations.from_entries(
        observations.rows[keep], observations.cols[keep], observations.values[keep], observations.shape
    )
    assert np.diff(some.pattern.by_row.indptr)[:5].max() < 6
    fine = noise_free.finish(bayesian.fit(some), some)
    assert fine.noise < 1e-5
    off = np.sqrt(np.mean((fine.factors.dense() + fine.mean - truth) ** 2, axis=1))
    assert off[5:].max() < 1e-4
    assert off[:5].max() < 2 * truth.std()


@pytest.mark.parametrize("step", [0, 1])
def test_ctrl_c_keeps_what_was_reached(step):
    truth, observations = ratings(noise=0)
    rough = bayesian.fit(observations)

    def interrupt(info):
        if info.n_steps == step:
            raise KeyboardInterrupt

    fine = noise_free.finish(rough, observations, [interrupt])
    assert (fine.status, fine.stopped_by) == (Status.STOPPED, "interrupt")
    assert excess(fine, truth) <= 1.01 * excess(rough, truth)


def test_a_callback_may_end_it():
    truth, observations = ratings(noise=0)
    rough = bayesian.fit(observations)
    fine = noise_free.finish(rough, observations, [lambda info: info.n_steps == 1])
    assert excess(fine, truth) <= 1.01 * excess(rough, truth)
