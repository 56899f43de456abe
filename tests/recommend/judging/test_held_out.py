"""What of a test table is judged: new pairs, relevant ones, what they are worth, and what is told of the rest."""

import numpy as np
import pytest

from dmc import Recommender
from dmc.recommend.judging.baselines import Popularity
from dmc.recommend.judging.held_out import TestSet, error_figures, feedback_of

CLICKS = {"user": [1, 1, 2, 2, 3, 4], "item": ["a", "b", "a", "c", "a", "d"]}


@pytest.fixture
def clicks():
    return Popularity(CLICKS, feedback="implicit")


def test_pairs_of_the_fit_are_left_out_and_counted(clicks):
    test = {"user": [1, 1, 2, 9, "3"], "item": ["a", "c", "c", "a", "a"]}
    with pytest.warns(UserWarning, match="3 of 5 test rows are pairs from the fit and are left out"):
        tests = TestSet.open((clicks,), test, 10, None)
    assert tests.n_seen == 3
    assert tests.listed.tolist() == [1, 9]
    assert tests.wanted[1].tolist() == ["c", "a"]
    with pytest.warns(UserWarning, match="all 2 test rows are pairs from the fit, so nothing is judged"):
        assert TestSet.open((clicks,), {"user": [1, 2], "item": ["a", "a"]}, 10, None).n_seen == 2


def test_pairs_of_either_fit_are_left_out(clicks):
    other = Popularity({"user": [1, 9], "item": ["c", "x"]}, feedback="implicit")
    with pytest.warns(UserWarning, match="2 of 3 test rows"):
        tests = TestSet.open((clicks, other), {"user": [1, 1, 1], "item": ["a", "c", "d"]}, 10, None)
    assert tests.items.tolist() == ["d"]


def test_pairs_seen_by_a_recommender_equal_those_of_its_table(rng):
    pairs = np.argwhere(rng.random((40, 30)) < 0.3)
    table = {"user": pairs[:, 0] + 5, "item": np.array([f"i{j}" for j in pairs[:, 1]])}
    train, test = ({k: v[part] for k, v in table.items()} for part in (slice(0, 250), slice(150, None)))
    rec = Recommender(2, feedback="implicit").fit(train)
    known = set(zip(train["user"].tolist(), train["item"].tolist(), strict=True))
    both = zip(test["user"].tolist(), test["item"].tolist(), strict=True)
    with pytest.warns(UserWarning, match="from the fit"):
        tests = TestSet.open((rec,), test, 10, None)
    assert tests.n_seen == 100
    left = list(zip(tests.users.tolist(), tests.items.tolist(), strict=True))
    assert left == [pair for pair in both if pair not in known]


def test_counts_of_clicks_are_added_up_and_dislikes_are_never_relevant(clicks):
    test = {"user": [1, 1, 2, 2, 4], "item": ["c", "c", "b", "b", "a"], "rating": [1, 2, 1, -3, -1]}
    for relevant, wanted in ((None, ["c"]), (-5, ["c"]), (3, ["c"])):
        tests = TestSet.open((clicks,), test, 10, relevant)
        assert tests.wanted[1].tolist() == wanted
        assert tests.grades.tolist() == [3]
        assert tests.relevant == relevant
    with pytest.warns(UserWarning, match="no pair of the test has a count of at least 4, so nothing is relevant"):
        TestSet.open((clicks,), test, 10, 4)
    with pytest.warns(UserWarning, match="no pair of the test has a count above 0, so nothing is relevant"):
        TestSet.open((clicks,), {**test, "rating": [-1] * 5}, 10, None)


def test_grades_are_there_where_all_are_above_0(clicks):
    assert TestSet.open((clicks,), {"user": [1], "item": ["c"]}, 10, None).grades is None
    ratings = Popularity({**CLICKS, "rating": [1, 2, 3, 4, 5, 3]})
    test = {"user": [1, 1], "item": ["c", "d"], "rating": [0, 5]}
    assert TestSet.open((ratings,), test, 10, 3).grades.tolist() == [5]
    assert TestSet.open((ratings,), test, 10, -1).grades is None


def test_what_cannot_be_found_is_told(clicks):
    nobody = TestSet.open((clicks,), {"user": [7, 8], "item": ["a", "b"]}, 10, None)
    with pytest.warns(UserWarning, match="knows none of the 2 users in the test"):
        assert nobody.n_unknown_users(clicks) == 2
    nothing = TestSet.open((clicks,), {"user": [1, 8], "item": ["x", "y"]}, 10, None)
    with pytest.warns(UserWarning, match="knows none of the relevant items in the test"):
        assert nothing.n_unknown_users(clicks) == 1
    some = TestSet.open((clicks,), {"user": [1, 8], "item": ["x", "b"]}, 10, None)
    assert some.n_unknown_users(clicks) == 1


def test_nothing_relevant_is_told():
    ratings = Popularity({**CLICKS, "rating": [3.0] * 6})
    with pytest.warns(UserWarning, match="no pair of the test has a rating of at least 9, so nothing is relevant"):
        TestSet.open((ratings,), {"user": [9], "item": ["a"], "rating": [4.0]}, 10, 9)


def test_who_gets_no_list_has_no_novelty(clicks):
    """User 1 has all but c and d; when those are recommended, it is known how many have them."""
    tests = TestSet.open((clicks,), {"user": [1, 9], "item": ["c", "b"]}, 10, None)

    class Sparing(Popularity):
        def recommend(self, users, n):
            given = super().recommend(users, n)
            return {name: values[given["user"] == 1] for name, values in given.items()}

    lists = tests.lists(Sparing(CLICKS, feedback="implicit"))
    np.testing.assert_array_equal(lists.per_user["novelty"], [2, np.nan])  # one user in four has each
    np.testing.assert_array_equal(lists.per_user["recall"], [1, 0])
    assert lists.sums(["novelty", "recall"]).tolist() == [[2, 1, 1, 1], [0, 0, 0, 1]]
    assert tests.lists(clicks).per_user["novelty"].tolist() == [2, pytest.approx(np.mean([np.log2(4 / 3), 2, 2, 2]))]


def test_errors_are_added_up_for_each_user():
    ratings = Popularity({**CLICKS, "rating": [3.0] * 6})
    test = {"user": [9, 1, 9, 2], "item": ["a", "c", "b", "d"], "rating": [1, 3, 4, 5]}
    sums = TestSet.open((ratings,), test, 10, None).errors(ratings)
    assert sums.tolist() == [[0, 0, 1], [4, 2, 1], [5, 3, 2]]
    assert error_figures(sums.sum(axis=0)).tolist() == [1.5, 1.25]


def test_two_of_one_kind(clicks):
    assert feedback_of(clicks) == "implicit"
    assert feedback_of(object()) == "explicit"
    other = Popularity({**CLICKS, "rating": [1] * 6})
    with pytest.raises(
        ValueError, match=r"fitted to implicit feedback .* explicit feedback .*; compare two of one kind"
    ):
        TestSet.open((clicks, other), CLICKS, 10, None)


def test_refused(clicks):
    with pytest.raises(ValueError, match="there are no test ratings"):
        TestSet.open((clicks,), {"user": [], "item": []}, 10, None)
    with pytest.raises(ValueError, match="the table has no column 'item'"):
        TestSet.open((clicks,), {"user": [1]}, 10, None)
    ratings = Popularity({**CLICKS, "rating": [1] * 6})
    with pytest.raises(ValueError, match="the table has no column 'rating'"):
        TestSet.open((ratings,), CLICKS, 10, None)
