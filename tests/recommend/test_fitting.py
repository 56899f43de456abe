"""From a table to what is served: what is refused on the way, and what is left of the state before."""

import numpy as np
import pytest

from dmc.recommend import fitting
from dmc.recommend.settings import RecommenderSettings

COLUMNS = fitting.Columns("user", "item", "rating")
TABLE = {"user": [1, 1, 2, 2, 3], "item": [1, 2, 1, 3, 3], "rating": [5.0, 3.0, 4.0, 1.0, 2.0]}


@pytest.fixture(scope="module")
def settings():
    return RecommenderSettings().checked()


def test_fold_in_and_fit_further_leave_the_state_before(settings):
    before = fitting.fit(settings, TABLE, COLUMNS, "error")
    more = {"user": [0, 3], "item": [2, 9], "rating": [2.0, 4.0]}
    folded, further = (way(settings, before, more) for way in (fitting.fold_in, fitting.fit_further))
    assert before.users.ids.tolist() == [1, 2, 3]
    for after in (folded, further):
        assert after.users.ids.tolist() == [0, 1, 2, 3]
        assert after.items.ids.tolist() == [1, 2, 3, 9]
        assert len(after.fitted().observations.values) == 7
    assert folded.fit_info is before.fit_info
    assert further.fit_info is not before.fit_info
    assert fitting.fit_further(settings, before, TABLE) is before


def test_ids_with_features_are_known(settings):
    features = {"item": [7, 2], "size": [1.0, 4.0]}
    state = fitting.fit(settings, TABLE, COLUMNS, "error", item_features=features)
    assert state.items.ids.tolist() == [1, 2, 3, 7]
    assert state.seen.indices.tolist() == [0, 1, 0, 2, 2]


@pytest.mark.parametrize("fit", [fitting.fit, fitting.fold_in])
def test_an_empty_table(fit, settings):
    empty = {name: [] for name in TABLE}
    rest = (COLUMNS, "error") if fit is fitting.fit else ()
    arguments = (settings, empty) if rest else (settings, fitting.fit(settings, TABLE, COLUMNS, "error"), empty)
    with pytest.raises(ValueError, match="the table holds no rating; give at least one"):
        fit(*arguments, *rest)


def test_repeats_are_told_apart_from_other_errors(settings):
    twice = {name: [*values, values[0]] for name, values in TABLE.items()}
    with pytest.raises(ValueError, match="1 rating repeats a user and an item given before; pass duplicates='last'"):
        fitting.fit(settings, twice, COLUMNS, "error")
    clicks = RecommenderSettings(feedback="implicit").checked()
    found = fitting.fit(clicks, twice, COLUMNS, "error").fitted().observations
    assert found.values.max() == np.float32(10)


def test_later_tables_have_the_columns_of_the_fit():
    state = fitting.fit(RecommenderSettings().checked(), TABLE, COLUMNS, "error")
    named = {"person": [1], "item": [2], "rating": [3.0]}
    told = "the table has no column 'user', only 'person', 'item', 'rating'; name its columns as in the fit"
    with pytest.raises(ValueError, match=told):
        fitting.fold_in(RecommenderSettings().checked(), state, named)


def test_a_column_of_times_that_would_not_be_read_is_refused():
    told = "time is 'when' and duplicates 'error', which uses no times; pass duplicates='latest' or leave time out"
    with pytest.raises(ValueError, match=told):
        fitting.fit(RecommenderSettings().checked(), TABLE, COLUMNS._replace(time="when"), "error")
