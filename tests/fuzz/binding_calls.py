"""Calls of the compiled core with arguments that fit, and what it has to answer: by plain NumPy."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from dmc import _extensions
from fuzz.targets import Fault

core: Any = _extensions.core
BLOCK = 16  # as in csrc/all_pairs.h and csrc/posterior.h


class Call(NamedTuple):
    """Arguments of a function, and whether its answer to them is right: raises Fault."""

    arguments: dict[str, Any]
    check: Callable[[Any], None] | None = None
    written: tuple[str, ...] = ()  # arguments that the function changes


class Draw:
    """A random small matrix of entries and what goes with it."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.m, self.n = (int(size) for size in rng.choice([0, 1, 2, 3, 5, 8, 17, 40], 2))
        self.index = np.int32 if rng.random() < 0.5 else np.int64
        self.real = np.float32 if rng.random() < 0.5 else np.float64
        self.mask = rng.random((self.m, self.n)) < rng.choice([0.0, 0.1, 0.5, 1.0])
        self.rows, self.cols = np.nonzero(self.mask)
        self.count = len(self.rows)
        self.width = int(rng.integers(0, 20))
        self.threads = int(rng.integers(0, 3))

    def index_of(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        mask = self.mask.T if side else self.mask
        pointers = np.concatenate([[0], np.cumsum(mask.sum(axis=1))]).astype(np.int64)
        return pointers, np.nonzero(mask)[1].astype(self.index)

    def entries(self, side: int = 0) -> Any:
        make = core.Entries if self.index == np.int32 else core.WideEntries
        return make(*self.index_of(side), self.m if side else self.n)

    def normal(self, *shape: int, dtype: Any = None) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(dtype or self.real)

    def positive(self, *shape: int, dtype: Any = None) -> np.ndarray:
        return (self.rng.random(shape) + 0.1).astype(dtype or self.real)

    def maybe(self, array: np.ndarray) -> np.ndarray | None:
        return array if self.rng.random() < 0.5 else None

    def whole(self, *shape: int) -> np.ndarray:
        """Whole numbers, whose products are exact in any order: ties are ties."""
        return self.rng.integers(-2, 3, shape).astype(self.real)


def close(got: Any, wanted: Any, dtype: Any, what: str) -> None:
    tolerance = 500 * np.finfo(dtype).eps * max(float(np.abs(wanted).max(initial=0)), 1)
    if np.shape(got) != np.shape(wanted) or not np.allclose(got, wanted, rtol=0, atol=tolerance):
        raise Fault(f"{what} differs from what NumPy says")


def same(got: Any, wanted: Any, what: str) -> None:
    if not np.array_equal(got, wanted, equal_nan=np.asarray(wanted).dtype.kind == "f"):
        raise Fault(f"{what} differs from what NumPy says")


def dense(draw: Draw, values: np.ndarray) -> np.ndarray:
    matrix = np.zeros((draw.m, draw.n))
    matrix[draw.rows, draw.cols] = values
    return matrix


def entries(draw: Draw) -> Call:
    pointers, indices = draw.index_of(0)

    def check(made: Any) -> None:
        ones = core.weighted_sums(made, np.ones((draw.n, 1)))
        same(ones[:, 0], draw.mask.sum(axis=1), "the number of entries of each line")

    return Call({"pointers": pointers, "indices": indices, "other_lines": draw.n}, check)


def narrow_entries(draw: Draw) -> Call:
    draw.index = np.int32
    return entries(draw)


def wide_entries(draw: Draw) -> Call:
    draw.index = np.int64
    return entries(draw)


def masked_product(draw: Draw) -> Call:
    own, other = draw.normal(draw.m, draw.width), draw.normal(draw.n, draw.width)

    def check(out: Any) -> None:
        close(out, (own.astype(float) @ other.T.astype(float))[draw.mask], draw.real, "the product")

    return Call({"entries": draw.entries(), "own": own, "other": other, "n_threads": draw.threads}, check)


def weighted_sums(draw: Draw) -> Call:
    other, c = draw.normal(draw.n, draw.width), draw.maybe(draw.normal(draw.count))

    def check(out: Any) -> None:
        close(out, dense(draw, 1 if c is None else c) @ other, draw.real, "the sum")

    given = {"entries": draw.entries(), "other": other, "coefficients": c, "n_threads": draw.threads}
    return Call(given, check)


def residual_gradient(draw: Draw, rounded: bool = False) -> Call:
    own, other = draw.normal(draw.m, draw.width), draw.normal(draw.n, draw.width)
    t, w = draw.maybe(draw.normal(draw.count)), draw.maybe(draw.positive(draw.count))

    def check(answer: Any) -> None:
        product = (own.astype(float) @ other.T.astype(float))[draw.mask]
        residual = product - (0 if t is None else t)
        weighted = residual * (1 if w is None else w)
        if rounded:
            return
        close(answer[0], 0.5 * weighted @ residual, draw.real, "the loss")
        close(answer[1], dense(draw, weighted) @ other, draw.real, "the gradient")

    given = {"entries": draw.entries(), "own": own, "other": other, "target": t, "weights": w}
    return Call({**given, "n_threads": draw.threads}, check)


def residual_gradient_bfloat16(draw: Draw) -> Call:
    draw.real = np.float32
    return residual_gradient(draw, rounded=True)


def value_and_grad(draw: Draw, rounded: bool = False) -> Call:
    widths = draw.rng.integers(0, 7, int(draw.rng.integers(1, 4)))
    U, V = draw.normal(draw.m, widths[0]), draw.normal(draw.n, widths[-1])
    cores = [draw.normal(a, b) for a, b in pairwise(widths)]
    biases = draw.maybe(draw.normal(draw.m)), draw.maybe(draw.normal(draw.n))
    t, w = dense(draw, draw.normal(draw.count)), dense(draw, draw.positive(draw.count))
    weighted, l2 = draw.rng.random() < 0.5, (draw.maybe(draw.positive(draw.m)), draw.maybe(draw.positive(draw.n)))
    by_row, by_column = draw.mask, (slice(None), draw.mask.T)[1]

    def check(answer: Any) -> None:
        if rounded or any(of is not None for of in l2):
            return
        left = np.linalg.multi_dot([U, *cores]).astype(float) if cores else U.astype(float)
        product = left @ V.T + (0 if biases[0] is None else biases[0][:, None])
        product = product + (0 if biases[1] is None else biases[1])
        squares = (w if weighted else 1) * (product - t) ** 2
        close(answer[0], 0.5 * squares[draw.mask].sum(), draw.real, "the value")

    def both(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return matrix[by_row].astype(draw.real), matrix.T[by_column].astype(draw.real)

    given: dict[str, Any] = {"by_row": draw.entries(0), "by_column": draw.entries(1), "U": U, "cores": cores, "V": V}
    given |= zip(("row_bias", "column_bias"), biases, strict=True)
    given |= zip(("target_by_row", "target_by_column"), both(t), strict=True)
    given |= zip(("weights_by_row", "weights_by_column"), both(w) if weighted else (None, None), strict=True)
    given |= zip(("row_l2", "column_l2"), l2, strict=True)
    return Call({**given, "n_threads": draw.threads}, check)


def value_and_grad_bfloat16(draw: Draw) -> Call:
    draw.real = np.float32
    return value_and_grad(draw, rounded=True)


def solve_normal_equations(draw: Draw) -> Call:
    narrow, wide = int(draw.rng.integers(0, 5)), int(draw.rng.integers(0, 5))
    order = np.lexsort((draw.rows, draw.cols)).astype(np.int64)
    l2 = draw.maybe(draw.positive(draw.m)), draw.maybe(draw.positive(draw.n))
    ridges = draw.maybe(draw.positive(wide)), draw.maybe(draw.positive(narrow))
    given = {
        "by_row": draw.entries(0),
        "by_column": draw.entries(1),
        "column_order": order,
        "left": draw.normal(draw.m, narrow),
        "right": draw.normal(draw.n, wide),
        "weights": draw.maybe(draw.positive(draw.count)),
        "curvature": float(draw.rng.random()),
        "row_l2": l2[0],
        "column_l2": l2[1],
        "row_ridge": ridges[0],
        "column_ridge": ridges[1],
        "of_lines": bool(draw.rng.random() < 0.5),
        "row_gradient": draw.normal(draw.m, wide),
        "column_gradient": draw.normal(draw.n, narrow),
        "tol": float(draw.rng.choice([1e-8, 0.1])),
        "max_products": int(draw.rng.integers(0, 30)),
        "n_threads": draw.threads,
    }
    return Call(given)


def sort_entries(draw: Draw) -> Call:
    m, n, count = max(draw.m, 1), max(draw.n, 1), int(draw.rng.integers(0, 60))
    rows, cols = (draw.rng.integers(0, size, count).astype(draw.index) for size in (m, n))
    values = draw.normal(count)

    def check(answer: Any) -> None:
        order = np.lexsort((cols, rows))
        pointers = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=m))])
        for got, wanted in zip(answer, (pointers, cols[order], values[order]), strict=False):
            same(got, wanted, "what was sorted")
        again = np.flatnonzero((np.diff(rows[order]) == 0) & (np.diff(cols[order]) == 0)) + 1
        same(answer[3:], (len(again), again[0] if len(again) else -1), "the repeats")

    return Call({"rows": rows, "cols": cols, "values": values, "m": m, "n": n}, check)


def transpose(draw: Draw) -> Call:
    pointers, indices = draw.index_of(0)

    def check(answer: Any) -> None:
        for got, wanted in zip(answer, draw.index_of(1), strict=True):
            same(got, wanted, "the transposed index")

    return Call({"pointers": pointers, "indices": indices, "n": draw.n}, check)


def by_line(draw: Draw) -> Call:
    n, count = max(draw.n, 1), int(draw.rng.integers(0, 60))
    indices = draw.rng.integers(0, n, count).astype(draw.index)
    values = draw.rng.integers(0, 100, count).astype(draw.rng.choice(["u1", "i2", "f4", "f8", "?", "M8[s]", "S4"]))

    def check(answer: Any) -> None:
        same(answer, values[np.argsort(indices, kind="stable")], "the order")

    return Call({"indices": indices, "n": n, "values": values}, check)


def locate(draw: Draw) -> Call:
    pointers, indices = draw.index_of(0)
    count = int(draw.rng.integers(0, 30)) * bool(draw.m and draw.n)
    rows = draw.rng.integers(0, max(draw.m, 1), count).astype(draw.rng.choice(["i4", "i8"]))
    cols = draw.rng.integers(0, max(draw.n, 1), count).astype(draw.index)

    def check(answer: Any) -> None:
        place = np.where(draw.mask, np.cumsum(draw.mask).reshape(draw.mask.shape) - 1, -1)
        same(answer, place[rows, cols], "the place")

    return Call({"pointers": pointers, "indices": indices, "rows": rows, "cols": cols}, check)


def product_at(draw: Draw) -> Call:
    left, right = draw.normal(draw.m, draw.width), draw.normal(draw.n, draw.width)
    count = int(draw.rng.integers(0, 50)) * bool(draw.m and draw.n)
    rows, cols = (draw.rng.integers(0, max(size, 1), count).astype(draw.index) for size in (draw.m, draw.n))

    def check(answer: Any) -> None:
        close(answer, (left.astype(float) @ right.T.astype(float))[rows, cols], draw.real, "the product")

    return Call({"left": left, "right": right, "rows": rows, "cols": cols, "n_threads": draw.threads}, check)


def top_n(draw: Draw) -> Call:
    left, right = draw.whole(draw.m, draw.width), draw.whole(draw.n, draw.width)
    pointers, indices = draw.index_of(0)
    n = int(draw.rng.integers(1, 30))
    among = draw.maybe(np.flatnonzero(draw.rng.random(draw.n) < 0.5))

    def check(answer: Any) -> None:
        scores = np.where(draw.mask, np.nan, left.astype(float) @ right.T.astype(float))
        chosen = np.arange(draw.n) if among is None else among
        scores = scores[:, chosen]
        order = np.argsort(-scores, axis=1, kind="stable")[:, :n]
        best = np.take_along_axis(scores, order, axis=1)
        columns = np.where(np.isnan(best), -1, chosen[order] if len(chosen) else order)
        same(answer[0], columns, "the best columns")
        same(answer[1], best, "their scores")

    given = {"left": left, "right": right, "n": n, "first": pointers[:-1].copy(), "last": pointers[1:].copy()}
    return Call({**given, "indices": indices, "among": among, "n_threads": draw.threads}, check)


CALLS: dict[str, Callable[[Draw], Call]] = {
    "Entries": narrow_entries,
    "WideEntries": wide_entries,
    "instruction_set": lambda draw: Call({}),
    "max_threads": lambda draw: Call({}),
} | {
    made.__name__: made
    for made in (
        by_line, locate, masked_product, product_at, residual_gradient, residual_gradient_bfloat16,
        solve_normal_equations, sort_entries, top_n, transpose, value_and_grad, value_and_grad_bfloat16, weighted_sums
    )
}  # fmt: skip
