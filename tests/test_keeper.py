"""A keeper that keeps nothing."""

import numpy as np

from dmc._keeper import NOTHING_KEPT, Snapshot


def test_nothing_is_found_again():
    NOTHING_KEPT.keep("sweep", Snapshot({"n": 1}, {"a": np.zeros(3)}, {}))
    assert NOTHING_KEPT.found("sweep") is None
    assert not NOTHING_KEPT.keeps
