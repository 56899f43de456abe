"""Recommending clicks by items that go together: three rivals of factorisation, each a matrix of weights between items.

A user's scores are his clicks times the weights. X: (users, items) CSR of ones, float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import lapack

BATCH = 500  # lines of the dense products that are made at a time


def ease(X: Any, l2: float) -> NDArray[np.float32]:
    """Of all weights without a diagonal those of ridge regression, in closed form (Steck, 2019, arXiv 1905.03375).

    Two dense items × items matrices at a time: 740 MB each for 13,584 items.
    """
    gram = (X.T @ X).toarray()
    np.fill_diagonal(gram, gram.diagonal() + l2)
    # Half the work of `inv`, and in place: as Fortran sees it, this is the transpose, which is the same.
    factor, failed = lapack.spotrf(gram.T, overwrite_a=True)
    inverse, failed = (factor, failed) if failed else lapack.spotri(factor, overwrite_c=True)
    if failed:
        raise ArithmeticError(f"l2 is {l2}, with which the Gram matrix is not positive; give more")
    inverse = np.triu(inverse)
    inverse += np.triu(inverse, 1).T
    weights = inverse / -inverse.diagonal()
    np.fill_diagonal(weights, 0)
    return weights


def item_knn(X: Any, k: int) -> Any:
    """Of each item the k that are likest it, by the cosine (Deshpande & Karypis, 2004, doi 10.1145/963770.963776)."""
    unit = sparse.csr_array(X.multiply(1 / np.sqrt(_popularity(X))))
    return _largest(unit.T.tocsr(), unit, k).T.tocsr()  # the cosines are symmetric, what is kept of them is not


def rp3beta(X: Any, alpha: float, beta: float, k: int) -> Any:
    """Random walks item, user, item, popular ends penalised (Paudel et al., 2017, doi 10.1145/2955101).

    The probability of each step to the power alpha, that of the walk over popularity to the power beta; of each item
    the k likeliest ends.
    """
    to_item = sparse.csr_array(X.multiply(1 / np.asarray(X.sum(axis=1), np.float32).reshape(-1, 1)))
    to_user = sparse.csr_array(X.multiply(1 / _popularity(X))).T.tocsr()
    return _largest(to_user.power(alpha), to_item.power(alpha), k, _popularity(X) ** -beta)


def _popularity(X: Any) -> NDArray[np.float32]:
    return np.asarray(X.sum(axis=0), np.float32).ravel()


def _largest(left: Any, right: Any, k: int, worth: Any = 1) -> Any:
    """Of left @ right * worth, without its diagonal, the k largest of each row."""
    k, blocks = min(k, right.shape[1]), []
    for begin in range(0, left.shape[0], BATCH):
        block = (left[begin : begin + BATCH] @ right).toarray() * worth
        lines = np.arange(len(block))
        block[lines, begin + lines] = 0
        kept = np.argpartition(-block, k - 1, axis=1)[:, :k]
        entries = np.take_along_axis(block, kept, axis=1).ravel()
        blocks.append(sparse.csr_array((entries, (np.repeat(lines, k), kept.ravel())), shape=block.shape))
    whole = sparse.vstack(blocks, format="csr")
    whole.eliminate_zeros()
    return whole
