"""What every attribute of a fitted recommender says: read from what is served, described, and not to be set."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

import dmc
from dmc.recommend import fitted_attributes
from dmc.recommend.fitted_attributes import FittedAttributes

ATTRIBUTES = [name for name, value in vars(FittedAttributes).items() if isinstance(value, fitted_attributes._Fitted)]


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    rows, cols = np.nonzero(rng.random((30, 20)) < 0.5)
    return dmc.Recommender().fit({"user": rows, "item": cols, "rating": rng.integers(1, 6, len(rows))})


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_is_there_once_fitted_described_and_not_set(name, fitted):
    with pytest.raises(NotFittedError, match="this Recommender is not fitted yet; call fit"):
        getattr(dmc.Recommender(), name)
    getattr(fitted, name)
    with pytest.raises(AttributeError, match="what was fitted cannot be set; fit again"):
        setattr(fitted, name, 1)
    assert vars(FittedAttributes)[name].__doc__.endswith(".")
    attributes = dmc.Recommender.__doc__.partition("Attributes\n")[2]
    assert any(name in line.partition(":")[0] for line in attributes.splitlines())


def test_attributes_are_those_of_what_is_served(fitted):
    before = fitted.n_observed_, fitted.mean_
    folded = fitted.fold_in({"user": [99], "item": [0], "rating": [5.0]})
    assert (fitted.n_observed_, fitted.mean_) == before
    assert folded.n_observed_ == before[0] + 1
    assert len(folded.user_factors) == len(fitted.user_factors) + 1
    products = fitted.user_factors @ fitted.item_factors.T
    np.testing.assert_allclose(fitted.factors_.dense(), products, atol=1e-5)
