"""The largest singular value by products alone, beside NumPy's."""

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator

from dmc._bidiagonal import largest_singular_value


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (5, 5), (300, 40), (60, 500)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("density", [0.1, 1.0])
def test_it_is_that_of_numpy_to_a_percent(shape, dtype, density):
    """Of noise, whose singular values lie close together."""
    rng = np.random.default_rng(sum(shape))
    X = (rng.standard_normal(shape) * (rng.random(shape) < density)).astype(dtype)
    wanted = np.linalg.norm(X, 2)
    for matrix in (sparse.csr_array(X), aslinearoperator(X)):
        assert largest_singular_value(matrix) == pytest.approx(wanted, rel=0.01)


@pytest.mark.parametrize("rank", [1, 3])
def test_it_ends_where_a_matrix_of_low_rank_has_no_more(rank):
    rng = np.random.default_rng(rank)
    X = rng.standard_normal((50, rank)) @ rng.standard_normal((rank, 40))
    assert largest_singular_value(sparse.csr_array(X)) == pytest.approx(np.linalg.norm(X, 2), rel=1e-9)


def test_it_is_never_above():
    rng = np.random.default_rng(0)
    for _ in range(50):
        X = rng.standard_normal((30, 25))
        assert largest_singular_value(sparse.csr_array(X)) <= np.linalg.norm(X, 2) * (1 + 1e-9)


def test_of_nothing_it_is_zero():
    assert largest_singular_value(sparse.csr_array((4, 3))) == 0
