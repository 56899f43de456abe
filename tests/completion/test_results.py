"""Matrices turned and cut, as the selection hands them on."""

import numpy as np

from dmc import observe
from dmc.completion.results import submatrix, transposed


def example():
    rng = np.random.default_rng(0)
    X = np.where(rng.random((7, 5)) < 0.6, rng.standard_normal((7, 5)), np.nan)
    return X, observe(X)


def test_transposed_is_the_transposed_matrix():
    X, observed = example()
    turned, expected = transposed(observed), observe(X.T)
    assert turned.shape == (5, 7)
    np.testing.assert_array_equal(turned.to_scipy().toarray(), expected.to_scipy().toarray())
    for mine, theirs in zip(turned.pattern.by_column, expected.pattern.by_column, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_part_of_rows_and_columns():
    X, observed = example()
    rows, cols = np.arange(7) % 2 == 0, np.arange(5) > 1
    part, keep = submatrix(observed, rows, cols)
    expected = observe(X[np.ix_(rows, cols)], allow_empty=True)
    np.testing.assert_array_equal(part.to_scipy().toarray(), expected.to_scipy().toarray())
    np.testing.assert_array_equal(observed.values[keep], part.values)
