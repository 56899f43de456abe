"""Clicks by conjugate gradients on torch tensors."""

import numpy as np
import pytest
from remembering import again
from spread_fits import planted

from dmc._group import ALONE, Share
from dmc.recommend import implicit

DRAWN, PARTS = planted((300, 100), 9000, 5)
LIKED = np.asarray(DRAWN.values) > 3
COUNTS = DRAWN.take(LIKED).with_values(np.ones(int(LIKED.sum()), np.float32))


@pytest.mark.filterwarnings("ignore:the preferences did not converge:UserWarning")
def test_parts_end_where_a_whole_does():
    parts, rows = np.unique(PARTS, return_counts=True)
    whole = implicit.fit(COUNTS, 8, seed=1, device="cpu")
    in_parts = implicit.fit(COUNTS, 8, seed=1, device="cpu", share=Share(ALONE, parts, rows))
    assert in_parts.errors[-1] == pytest.approx(whole.errors[-1], rel=2e-3)
    blocks = implicit.fit(COUNTS, 8, seed=1)
    assert in_parts.errors[-1] > 0
    of_lists = [np.argsort(-of.factors.dense(), axis=1)[:, :5] for of in (whole, in_parts, blocks)]
    shared = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(of_lists[0], of_lists[1], strict=True)])
    assert shared > 0.9


@pytest.mark.parametrize("end_after", [1, 3])
def test_it_goes_on_where_it_was(end_after):
    def fit(keeper):
        return implicit.fit(COUNTS, 8, seed=1, device="cpu", keeper=keeper)

    whole, _ = again(fit, None)
    found, _ = again(fit, end_after)
    np.testing.assert_allclose(found.factors.V, whole.factors.V, rtol=1e-5, atol=1e-6)
    assert found.n_iter == whole.n_iter
