"""What a pattern determines of a generic model, to first order, by the null space of its Jacobian: slow and sure."""

import numpy as np


class Movements:
    """The movements of a random model of some rank, with column biases or without, that keep all observed entries."""

    def __init__(self, mask: np.ndarray, rank: int, biased: bool = False, seed: int = 0) -> None:
        rng, (m, n) = np.random.default_rng(seed), mask.shape
        self.U, self.V = rng.standard_normal((m, rank)), rng.standard_normal((n, rank))
        self.bias = rng.standard_normal(n) if biased else None
        _, s, right = np.linalg.svd(self._jacobian(*np.nonzero(mask)))
        free = right[np.count_nonzero(s > 1e-10 * s[0]) :].T
        moved = np.linalg.norm(self._jacobian(*np.indices((m, n)).reshape(2, -1)) @ free, axis=1)
        self.determined = (moved < 1e-8).reshape(m, n)

    @property
    def truth(self) -> np.ndarray:
        return self.U @ self.V.T + (0 if self.bias is None else self.bias)

    def _jacobian(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """(entries, unknowns) of the rows' unknowns, the columns' and the biases."""
        m, n, at = len(self.U), len(self.V), np.arange(len(rows))
        of_rows, of_columns = np.zeros((len(at), m, self.V.shape[1])), np.zeros((len(at), n, self.U.shape[1]))
        of_rows[at, rows], of_columns[at, cols] = self.V[cols], self.U[rows]
        of_biases = np.zeros((len(at), 0 if self.bias is None else n))
        if self.bias is not None:
            of_biases[at, cols] = 1
        return np.concatenate([of_rows.reshape(len(at), -1), of_columns.reshape(len(at), -1), of_biases], axis=1)
