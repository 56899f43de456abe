"""The inputs on which every kernel is tested, and how two answers are compared."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dmc.inputs import observe
from dmc.kernels import residual_gradients
from dmc.observations import Observations
from dmc.pattern import BothOrders, Pattern, SparseIndex

# Whole vectors of every instruction set, one more and one less, every unrolled number of them, and some between.
WIDTHS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 18, 20, 31, 32, 33, 48, 63, 64, 65, 100, 128, 130)
DTYPES = (np.float32, np.float64)


class Case(NamedTuple):
    """The arguments of a kernel."""

    left: Any
    right: Any
    pattern: Pattern
    target: BothOrders
    weights: BothOrders | None

    @property
    def inputs(self) -> tuple[Any, Any, Pattern]:
        return self.left, self.right, self.pattern


def masks() -> dict[str, np.ndarray]:
    """Where something was observed, by the name of what is special there."""
    rng = np.random.default_rng(1)
    holes = rng.random((13, 11)) < 0.5
    holes[[0, 4, 5, 12]] = False  # the first, the last and two neighbours
    holes[:, [0, 3, 10]] = False
    single = np.zeros((5, 7), bool)
    single[3, 6] = True
    # More entries than a kernel cuts into one piece of work, nearly all of them in one row: some pieces get no row.
    long_row = rng.random((6, 20_000)) < 0.01
    long_row[2] = True
    return {
        "all observed": np.ones((4, 6), bool),
        "empty rows and columns": holes,
        "single entry": single,
        "one long row": long_row,
        "one long column": long_row.T,
        "one row": np.ones((1, 9), bool),
        "one column": np.ones((9, 1), bool),
    }


MASKS = masks()
ODD = tuple(name for name in MASKS if name != "empty rows and columns")


def case(
    width: int,
    dtype: Any = np.float64,
    weighted: bool = False,
    mask: str = "empty rows and columns",
    index: Any = np.int32,
) -> Case:
    rng = np.random.default_rng(width)
    where = MASKS[mask]
    m, n = where.shape
    observations = observe(rng.standard_normal((m, n)).astype(dtype), where)
    pattern = with_indices(observations.pattern, index)
    weights = rng.random(observations.n_observed).astype(dtype) if weighted else None
    return Case(
        rng.standard_normal((m, width)).astype(dtype),
        rng.standard_normal((n, width)).astype(dtype),
        pattern,
        observations.pattern.both_orders(observations.values),
        None if weights is None else observations.pattern.both_orders(weights),
    )


def with_indices(pattern: Pattern, dtype: Any) -> Pattern:
    """The pattern with the indices that a matrix of 2³¹ lines would have, which is too large for a test."""

    def cast(lines: SparseIndex) -> SparseIndex:
        return SparseIndex(lines.indptr, lines.indices.astype(dtype))

    wide = Pattern(pattern.shape, cast(pattern.by_row))
    vars(wide)["by_column"] = cast(pattern.by_column)  # in the place of the cached property
    return wide


def dense_answers(given: Case) -> tuple[Any, float, Any, Any]:
    """Product, loss and both gradients by dense float64 matrices."""
    left, right, pattern, target, weights = given
    left, right = left.astype(np.float64), right.astype(np.float64)
    where = pattern.rows, pattern.cols
    X, W = np.zeros(pattern.shape), np.zeros(pattern.shape)
    X[where] = target.by_row
    W[where] = 1 if weights is None else weights.by_row
    product = left @ right.T
    R = W * (product - X)
    return product[where], 0.5 * float(np.sum(R * (product - X))), R @ right, R.T @ left


def answers(kernel: Any, given: Case) -> tuple[Any, float, Any, Any]:
    """Product, loss and both gradients by a kernel."""
    return kernel.masked_product(*given.inputs), *residual_gradients(kernel, *given)


def one_sided(kernel: Any, given: Case) -> dict[str, Any]:
    """What a kernel says of one side at a time: by either side, with and without numbers of the entries."""
    left, right, pattern, target, weights = given
    found = {}
    for side, (own, other) in enumerate(((left, right), (right, left))):
        w = None if weights is None else weights[side]
        loss, gradient = kernel.residual_gradient(side, own, other, pattern, target[side], w)
        found |= {f"loss {side}": loss, f"gradient {side}": gradient}
        loss, product = kernel.residual_gradient(side, own, other, pattern, None, w)
        found |= {f"loss of zeros {side}": loss, f"gradient of zeros {side}": product}
        found[f"sums {side}"] = kernel.weighted_sums(side, other, pattern, target[side])
        found[f"plain sums {side}"] = kernel.weighted_sums(side, other, pattern)
    return found


def dense_one_sided(given: Case) -> dict[str, Any]:
    """The same by dense float64 matrices."""
    left, right, pattern, target, weights = given
    left, right = left.astype(np.float64), right.astype(np.float64)
    where, found = (pattern.rows, pattern.cols), {}
    X, W, ones = np.zeros(pattern.shape), np.zeros(pattern.shape), np.zeros(pattern.shape)
    X[where], W[where], ones[where] = target.by_row, 1 if weights is None else weights.by_row, 1
    for side, other in enumerate((right, left)):
        for name, R in (("", left @ right.T - X), (" of zeros", left @ right.T)):
            found[f"loss{name} {side}"] = 0.5 * float(np.sum(W * R * R))
            found[f"gradient{name} {side}"] = (W * R if side == 0 else (W * R).T) @ other
        found[f"sums {side}"] = (X if side == 0 else X.T) @ other
        found[f"plain sums {side}"] = (ones if side == 0 else ones.T) @ other
    return found


def assert_one_sided(kernel: Any, oracle: Any, given: Case, same: Case | None = None) -> None:
    """One side at a time a kernel says what another does, of the same numbers as it takes them."""
    tolerance, wanted = 200 * np.finfo(given.left.dtype).eps, one_sided(oracle, given)
    for name, got in one_sided(kernel, same or given).items():
        assert np.shape(got) == np.shape(wanted[name]), name
        scale = max(np.abs(wanted[name]).max(initial=0), 1)
        np.testing.assert_allclose(got, wanted[name], rtol=0, atol=tolerance * scale, err_msg=name)


def assert_same(got: tuple[Any, float, Any, Any], wanted: tuple[Any, float, Any, Any], dtype: Any) -> None:
    """Equal up to the rounding of the dtype, against the largest number of each answer."""
    # A long line adds up 20,000 terms: more than a few units in the last place is no error there.
    tolerance = 200 * np.finfo(dtype).eps
    for name, a, b in zip(("product", "loss", "d_left", "d_right"), got, wanted, strict=True):
        assert np.shape(a) == np.shape(b), name
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max(), err_msg=name)


def assert_types(given: Case, got: tuple[Any, float, Any, Any]) -> None:
    """What the contract says of the answers' types."""
    product, loss, d_left, d_right = got
    assert product.dtype == d_left.dtype == d_right.dtype == given.left.dtype
    assert isinstance(loss, float)
    assert product.shape == (given.pattern.n_observed,)


def many_entries() -> Observations:
    """Enough entries for several pieces of work, so that several threads have something to do."""
    rng = np.random.default_rng(2)
    return observe(rng.standard_normal((400, 300)), rng.random((400, 300)) < 0.9)
