"""A fitted Bayesian model, asked."""

import numpy as np

from dmc.bayesian_model import scaled
from test_bayesian import ratings


def test_values_are_scaled_as_numpy_would():
    _, observations = ratings()
    mean, unit, values = scaled(observations)
    given = observations.values.astype(float)
    np.testing.assert_allclose((mean, unit), (given.mean(), given.std()), rtol=1e-6)
    np.testing.assert_allclose(values, (given - given.mean()) / given.std(), atol=1e-5)
