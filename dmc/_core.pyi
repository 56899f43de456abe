"""The compiled CPU core (csrc/bind_*.cpp): what each function does is said in its own docstring."""

from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Float = TypeVar("Float", np.float32, np.float64)
Index = TypeVar("Index", np.int32, np.int64)

class Entries:
    def __init__(self, pointers: NDArray[np.int64], indices: NDArray[np.int32], other_lines: int) -> None: ...

class WideEntries:
    def __init__(self, pointers: NDArray[np.int64], indices: NDArray[np.int64], other_lines: int) -> None: ...

AnyEntries: TypeAlias = Entries | WideEntries

def block_grams(other: NDArray[np.float32], unobserved: float, n_threads: int = 0) -> NDArray[np.float32]: ...
def block_predict(
    entries: AnyEntries,
    other: NDArray[np.float32],
    steps: NDArray[np.float32],
    predicted: NDArray[np.float32],
    lines: slice = ...,
    n_threads: int = 0,
) -> None: ...
def block_steps(
    sums: NDArray[np.float32],
    grams: NDArray[np.float32],
    ridge: NDArray[np.float32],
    own: NDArray[np.float32],
    block: int,
    n_threads: int = 0,
) -> tuple[Any, ...]: ...
def block_sums(
    entries: AnyEntries,
    weights: NDArray[np.float32],
    pulls: NDArray[np.float32],
    unobserved: float,
    other: NDArray[np.float32],
    predicted: NDArray[np.float32],
    lines: slice = ...,
    n_threads: int = 0,
) -> NDArray[np.float32]: ...
def by_line(indices: NDArray[Index], n: int, values: NDArray[Any]) -> NDArray[Any]: ...
def half_sweep(
    entries: AnyEntries,
    weights: NDArray[np.float32],
    pulls: NDArray[np.float32],
    unobserved: float,
    ridge: NDArray[np.float32],
    other: NDArray[np.float32],
    own: NDArray[np.float32],
    predicted: NDArray[np.float32],
    passes: int = 1,
    tol: float = 0.0,
    n_threads: int = 0,
) -> float: ...
def instruction_set() -> str: ...
def line_sums(
    entries: AnyEntries, vectors: NDArray[np.float32], weights: NDArray[np.float32] | None = None, n_threads: int = 0
) -> NDArray[np.float32]: ...
def locate(
    pointers: NDArray[np.int64], indices: NDArray[Index], rows: NDArray[Index], cols: NDArray[Index]
) -> NDArray[np.int64]: ...
def masked_product(
    entries: AnyEntries, own: NDArray[Float], other: NDArray[Float], n_threads: int = 0
) -> NDArray[Float]: ...
def max_threads() -> int: ...
def moments_of(means: NDArray[np.float32], n_threads: int = 0) -> NDArray[np.float32]: ...
def posterior(
    entries: AnyEntries,
    values: NDArray[np.float32],
    others: NDArray[np.float32],
    precision: NDArray[np.float64],
    means: NDArray[np.float32],
    noise: NDArray[np.float64],
    moments: NDArray[np.float32],
    weights: NDArray[np.float32] | None = None,
    n_threads: int = 0,
) -> tuple[Any, ...]: ...
def posterior_of_sums(
    sums: NDArray[np.float32],
    precision: NDArray[np.float64],
    means: NDArray[np.float32],
    noise: NDArray[np.float64],
    moments: NDArray[np.float32],
    n_threads: int = 0,
) -> tuple[Any, ...]: ...
def posterior_sums(
    entries: AnyEntries,
    values: NDArray[np.float32],
    others: NDArray[np.float32],
    weights: NDArray[np.float32] | None = None,
    lines: slice = ...,
    n_threads: int = 0,
) -> NDArray[np.float32]: ...
def product_at(
    left: NDArray[Float], right: NDArray[Float], rows: NDArray[Index], cols: NDArray[Index], n_threads: int = 0
) -> NDArray[Float]: ...
def residual_gradient(
    entries: AnyEntries,
    own: NDArray[Float],
    other: NDArray[Float],
    target: NDArray[Float] | None = None,
    weights: NDArray[Float] | None = None,
    n_threads: int = 0,
) -> tuple[Any, ...]: ...
def residual_gradient_bfloat16(
    entries: AnyEntries,
    own: NDArray[np.float32],
    other: NDArray[np.float32],
    target: NDArray[np.float32] | None = None,
    weights: NDArray[np.float32] | None = None,
    n_threads: int = 0,
) -> tuple[Any, ...]: ...
def solve_gaussians(
    grams: NDArray[np.float64], sides: NDArray[np.float64], invert: bool, n_threads: int = 0
) -> None: ...
def solve_normal_equations(
    by_row: AnyEntries,
    by_column: AnyEntries,
    column_order: NDArray[np.int64],
    left: NDArray[Float],
    right: NDArray[Float],
    weights: NDArray[Float] | None,
    curvature: float,
    row_l2: NDArray[Float] | None,
    column_l2: NDArray[Float] | None,
    row_ridge: NDArray[Float] | None,
    column_ridge: NDArray[Float] | None,
    of_lines: bool,
    row_gradient: NDArray[Float],
    column_gradient: NDArray[Float],
    tol: float,
    max_products: int,
    n_threads: int = 0,
) -> tuple[Any, ...]: ...
def sort_entries(
    rows: NDArray[Index], cols: NDArray[Index], values: NDArray[Float], m: int, n: int
) -> tuple[Any, ...]: ...
def top_n(
    left: NDArray[Float],
    right: NDArray[Float],
    n: int,
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    indices: NDArray[Index],
    among: NDArray[np.int64] | None = None,
    n_threads: int = 0,
) -> tuple[Any, ...]: ...
def transpose(pointers: NDArray[np.int64], indices: NDArray[Index], n: int) -> tuple[Any, ...]: ...
def value_and_grad(
    by_row: AnyEntries,
    by_column: AnyEntries,
    U: NDArray[Float],
    cores: list[NDArray[Float]],
    V: NDArray[Float],
    row_bias: NDArray[Float] | None,
    column_bias: NDArray[Float] | None,
    target_by_row: NDArray[Float],
    target_by_column: NDArray[Float],
    weights_by_row: NDArray[Float] | None,
    weights_by_column: NDArray[Float] | None,
    row_l2: NDArray[Float] | None,
    column_l2: NDArray[Float] | None,
    n_threads: int = 0,
) -> tuple[Any, ...]: ...
def value_and_grad_bfloat16(
    by_row: AnyEntries,
    by_column: AnyEntries,
    U: NDArray[np.float32],
    cores: list[NDArray[np.float32]],
    V: NDArray[np.float32],
    row_bias: NDArray[np.float32] | None,
    column_bias: NDArray[np.float32] | None,
    target_by_row: NDArray[np.float32],
    target_by_column: NDArray[np.float32],
    weights_by_row: NDArray[np.float32] | None,
    weights_by_column: NDArray[np.float32] | None,
    row_l2: NDArray[np.float32] | None,
    column_l2: NDArray[np.float32] | None,
    n_threads: int = 0,
) -> tuple[Any, ...]: ...
def weighted_sums(
    entries: AnyEntries, other: NDArray[Float], coefficients: NDArray[Float] | None = None, n_threads: int = 0
) -> NDArray[Float]: ...
