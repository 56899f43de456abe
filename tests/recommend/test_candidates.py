"""Lists out of each user's own candidates, beside the plain lists and a search of all of them."""

import numpy as np
import pytest
from test_recommender import planted

from dmc import Recommender
from dmc.recommend import candidates


@pytest.fixture(scope="module")
def fitted():
    return Recommender(3).fit(planted())


@pytest.mark.parametrize("filter_liked", [True, False])
@pytest.mark.parametrize("never", [None, ["né 003", "?"]])
def test_own_candidates_are_the_plain_list_of_each(filter_liked, never, fitted):
    rng, known = np.random.default_rng(0), fitted.items_.ids
    users = [*fitted.users_.ids[:6].tolist(), "nobody"]
    own = {user: [*rng.choice(known, 25).tolist(), "unknown"] for user in users}
    how = {"filter_already_liked_items": filter_liked, "filter_items": never}
    found = fitted.recommend(users[::-1], 8, items=own, **how)
    expected = [fitted.recommend(user, 8, items=own[user], **how) for user in users[::-1]]
    for name in found:
        np.testing.assert_array_equal(found[name], np.concatenate([one[name] for one in expected]))
    np.testing.assert_array_equal(fitted.recommend(n=8, items=own, **how)["user"], np.repeat(users, 8))


def test_candidates_in_any_spelling_and_kind():
    rng = np.random.default_rng(0)
    user, item = np.nonzero(rng.random((30, 20)) < 0.4)
    rec = Recommender(2).fit({"user": user, "item": item, "rating": rng.integers(1, 6, len(user))})
    how = {"filter_already_liked_items": False}
    expected = rec.recommend([1, 2, 3], 9, items={1: [4, 5], 2: [6], 3: []}, **how)
    assert expected["user"].tolist() == [1, 1, 2]
    for own in (
        {"1": {4, 5}, 2: np.array([6.0]), 3: ()},
        {1: iter(["4", 5, 5]), 2: ["6", "x"], 3: np.array([], np.int64)},
        {1: (4,), "1": (5,), 2: 6, 3: []},  # 1 and "1" are one user, whose candidates are both
    ):
        found = rec.recommend([1, 2, 3], 9, items=own, **how)
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])
    table = rec.recommend([1, 2], 9, items={"item": [4, 5]}, **how)  # a table of items, for all
    assert table["user"].tolist() == [1, 1, 2, 2]
    assert len(rec.recommend(items={})["user"]) == 0
    assert len(rec.recommend([1], items={1: []})["user"]) == 0


def test_users_without_candidates_are_named(fitted):
    with pytest.raises(ValueError, match="items has no candidates for user 'user 2' and 1 other user; give a list for"):
        fitted.recommend(["user 1", "user 2", "user 3"], items={"user 1": ["né 003"]})
    with pytest.raises(ValueError, match="n is 0"):
        fitted.recommend(n=0, items={"user 1": ["né 003"]})


def test_candidates_less_what_is_rated():
    from dmc.pattern import SparseIndex

    mine = SparseIndex(np.array([0, 3, 3, 5]), np.array([0, 2, 9, 2, 3]))
    theirs = SparseIndex(np.array([0, 1, 2, 4]), np.array([2, 1, 3, 9]))
    left = candidates.without(mine, theirs, 10)
    np.testing.assert_array_equal(left.indptr, [0, 2, 2, 3])
    np.testing.assert_array_equal(left.indices, [0, 9, 2])
