"""A fitted Bayesian model, asked."""

import numpy as np

from dmc.bayesian_model import scaled
from dmc.observations import Observations
from test_bayesian import ratings


def test_values_are_scaled_as_numpy_would():
    _, observations = ratings()
    mean, unit, values = scaled(observations)
    given = observations.values.astype(float)
    np.testing.assert_allclose((mean, unit), (given.mean(), given.std()), rtol=1e-6)
    np.testing.assert_allclose(values, (given - given.mean()) / given.std(), atol=1e-5)


def test_values_far_from_zero_are_told_from_the_mean_that_is_kept():
    """Else predictions are off by what float32 rounds away of the mean: here half of its steps of 1."""
    rng = np.random.default_rng(0)
    given = np.float32(1e7 + 1.5) + rng.integers(0, 20, 1000).astype(np.float32)
    observations = Observations.from_entries(*np.divmod(np.arange(1000), 40), given, (25, 40))
    mean, unit, values = scaled(observations)
    np.testing.assert_allclose(mean + unit * values.astype(float), given, rtol=0, atol=1e-5)
