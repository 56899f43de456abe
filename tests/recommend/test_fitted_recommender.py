"""Queries of a recommender: refused before the fit, and answered alike by a method and by its docstring's columns."""

import pytest
from sklearn.exceptions import NotFittedError

from dmc import Recommender

ROWS = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5, 3, 4, 2]}
QUERIES = {
    "predict": lambda rec: rec.predict(ROWS),
    "recommend": lambda rec: rec.recommend("ann"),
    "similar_items": lambda rec: rec.similar_items("a"),
    "similar_users": lambda rec: rec.similar_users("ann"),
    "explain": lambda rec: rec.explain("ann", "c"),
    "user_vector": lambda rec: rec.user_vector(["a"], [5]),
    "export": lambda rec: rec.export("nowhere"),
}
COLUMNS = {
    "predict": ["user", "item", "rating", "prediction", "known"],
    "recommend": ["user", "item", "prediction"],
    "similar_items": ["item", "similar", "similarity"],
    "similar_users": ["user", "similar", "similarity"],
    "explain": ["item", "rating", "contribution"],
}


@pytest.mark.parametrize("name", QUERIES)
def test_nothing_is_answered_before_the_fit(name):
    with pytest.raises(NotFittedError, match="this Recommender is not fitted yet; call fit"):
        QUERIES[name](Recommender())


@pytest.mark.parametrize("name", COLUMNS)
def test_answers_have_the_columns_that_the_docstring_names(name):
    assert list(QUERIES[name](Recommender().fit(ROWS))) == COLUMNS[name]
    words = getattr(Recommender, name).__doc__.partition("Returns\n")[2]
    assert all(f'"{column}"' in words for column in COLUMNS[name] if column not in ROWS)
