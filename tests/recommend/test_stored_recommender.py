"""A recommender as it is printed, and as it is when it has been saved and loaded."""

import pytest

from dmc import Recommender

ROWS = {"user": [1, 1, 2], "item": [1, 2, 1], "rating": [1, 2, 5]}


@pytest.mark.parametrize(
    ("model", "printed"),
    [
        (Recommender(5), "Recommender(rank=5, not fitted)"),
        (Recommender(), "Recommender(not fitted)"),
        (Recommender(model="network", depth=2), "Recommender(model='network', depth=2, not fitted)"),
        (Recommender(intervals=False, ensemble=2), "Recommender(ensemble=2, not fitted)"),
    ],
)
def test_it_is_printed_with_what_was_set(model, printed):
    assert repr(model) == printed


def test_it_is_printed_with_the_size_of_what_was_fitted(tmp_path):
    assert repr(Recommender().fit(ROWS)) == "Recommender(2 users, 2 items, 3 ratings)"
    clicks = Recommender(1, feedback="implicit").fit({name: ROWS[name] for name in ("user", "item")})
    assert repr(clicks) == "Recommender(rank=1, feedback='implicit', 2 users, 2 items, 3 pairs)"
    clicks.save(tmp_path / "clicks")
    assert repr(Recommender.load(tmp_path / "clicks")) == repr(clicks)


def test_a_subclass_is_loaded_as_one(tmp_path):
    class Own(Recommender):
        pass

    Recommender().fit(ROWS).save(tmp_path / "own")
    assert type(Own.load(tmp_path / "own")) is Own
