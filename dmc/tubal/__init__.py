"""Tensors as matrices of tubes: their algebra, and least squares over factor tensors.

`product`, `transpose`, `identity`, `svd`, `singular_values`, `singular_tubes`, `multi_rank`, `rank`, `truncate` take
(rows, columns, length) arrays, and a transform along the tubes: "dft", "dct", or an orthogonal matrix. `flatten` and
`unflatten` convert between factor tensors and `dmc.Factors`; `small_random` and `spectral` make starts for
`dmc.TubalLeastSquares`.
"""

from dmc.tubal.algebra import (
    identity,
    multi_rank,
    product,
    rank,
    singular_tubes,
    singular_values,
    svd,
    transpose,
    truncate,
)
from dmc.tubal.containers import flatten, unflatten
from dmc.tubal.problem import TubalLeastSquares
from dmc.tubal.starts import small_random, spectral
from dmc.tubal.transforms import FourierTube, OrthogonalTube, transform_of

__all__ = [
    "FourierTube",
    "OrthogonalTube",
    "TubalLeastSquares",
    "flatten",
    "identity",
    "multi_rank",
    "product",
    "rank",
    "singular_tubes",
    "singular_values",
    "small_random",
    "spectral",
    "svd",
    "transform_of",
    "transpose",
    "truncate",
    "unflatten",
]
