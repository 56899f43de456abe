"""The three functions through which everything touches the observed set Ω, each with several implementations.

    masked_product(left, right, pattern)                -> (observed,) left_i·right_j, in row order
    weighted_sums(side, other, pattern, coefficients)   -> (own rows, k) Σ_j c_ij other_j
    residual_gradient(side, own, other, pattern, target, weights, gather_dtype)
                                                        -> loss, (own rows, k) Σ_j w_ij r_ij other_j

The last two work on one side at a time: on the rows given the columns (ROWS), or the reverse (COLUMNS). left (rows, k)
and right (columns, k), and accordingly own and other, are C-ordered arrays of one dtype (float32 or float64);
coefficients, target and weights are (observed,) of that dtype, in the order of the side, and by default ones, zeros and
ones. The residual is r = own_i·other_j − target, the loss ½ Σ w r² (a number). gather_dtype="bfloat16" (float32 only)
allows the pass to round the side that it gathers: half the traffic, a relative error of 2⁻⁹; a kernel that has no such
form gathers in full. The gradient with respect to both sides takes two calls: `residual_gradients`. Only this file
finds out what the machine has.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, cast

from threadpoolctl import ThreadpoolController, threadpool_limits

from dmc import _checks, _extensions
from dmc._arrays import Device
from dmc._locks import lock
from dmc.factors import Array
from dmc.kernels import thread_limits
from dmc.pattern import COLUMNS, ROWS, BothOrders, Pattern

__all__ = [
    "Availability",
    "Kernel",
    "chosen",
    "report",
    "select",
    "threads",
]

_MODULES = {  # in the order of preference
    "native": "dmc.kernels.native",
    "numba": "dmc.kernels.numba_cpu",
    "reference": "dmc.kernels.reference",
    "dense": "dmc.kernels.dense",  # not by preference but by width: see `wide`
}
NAMES = tuple(_MODULES)
_ON_TENSORS = {name: _MODULES[name] for name in ("reference", "dense")} | {"operators": "dmc.kernels.operators"}

thread_limits.register()


class Kernel(Protocol):
    """What an implementation of the masked product offers; each is a module.

    Some offer more, because on small problems the Python between two calls takes as long as they do: ``value_and_grad``
    (of a whole network), ``solve_normal_equations`` (a whole Gauss–Newton solve), as in `dmc.kernels.native`, or
    ``residual_gradients`` (of both sides, where these share work). One whose threads are neither the core's nor those
    of BLAS has ``threads(count)``, a context manager.

    Examples
    --------
    >>> import numpy as np
    >>> import dmc
    >>> pattern = dmc.datasets.planted((4, 3), rank=1, observed=0.5).observations.pattern
    >>> dmc.kernels.select().masked_product(np.ones((4, 2)), np.ones((3, 2)), pattern)
    array([2., 2., 2., 2., 2., 2.])
    """

    def masked_product(self, left: Array, right: Array, pattern: Pattern) -> Array:
        """Compute left_i·right_j at the observed positions.

        Parameters
        ----------
        left : (rows, k) array
            Row factors, C-ordered, float32 or float64.
        right : (columns, k) array
            Column factors, of the same dtype.
        pattern : Pattern
            The observed positions.

        Returns
        -------
        (observed,) array
            In row order.
        """
        ...

    def weighted_sums(self, side: int, other: Array, pattern: Pattern, coefficients: Array | None = None) -> Array:
        """Compute Σ_j c_ij other_j for each row, or for each column.

        Parameters
        ----------
        side : int
            ``ROWS`` (0), or ``COLUMNS`` (1).
        other : (columns, k) or (rows, k) array
            Vectors of the other side.
        pattern : Pattern
            The observed positions.
        coefficients : (observed,) array, optional
            The c_ij, in the order of the side; by default ones.

        Returns
        -------
        (rows, k) or (columns, k) array
            The sums.
        """
        ...

    def residual_gradient(
        self,
        side: int,
        own: Array,
        other: Array,
        pattern: Pattern,
        target: Array | None = None,
        weights: Array | None = None,
        gather_dtype: str | None = None,
    ) -> tuple[Array | float, Array]:
        """Compute the loss ½ Σ w r² and its gradient with respect to one side.

        Parameters
        ----------
        side : int
            ``ROWS`` (0), or ``COLUMNS`` (1).
        own : (rows, k) or (columns, k) array
            Vectors of this side.
        other : (columns, k) or (rows, k) array
            Vectors of the other side.
        pattern : Pattern
            The observed positions.
        target : (observed,) array, optional
            In the order of the side; by default zeros.
        weights : (observed,) array, optional
            In the order of the side; by default ones.
        gather_dtype : {"bfloat16", "float16"}, optional
            Dtype to which the gathered side may be rounded; by default its own.

        Returns
        -------
        loss : float
            On a device, a tensor without dimensions.
        gradient : (rows, k) or (columns, k) array
            The sums Σ_j w_ij r_ij other_j.
        """
        ...


def residual_gradients(
    kernel: Kernel,
    left: Array,
    right: Array,
    pattern: Pattern,
    target: BothOrders,
    weights: BothOrders | None = None,
    gather_dtype: str | None = None,
) -> tuple[Array | float, Array, Array]:
    """Compute the loss and its gradients with respect to both sides: loss, (rows, k), (columns, k)."""
    both = getattr(kernel, "residual_gradients", None)
    if both is not None:
        loss, d_left, d_right = both(left, right, pattern, target, weights, gather_dtype)
        return loss, d_left, d_right
    w = (None, None) if weights is None else weights
    loss, d_left = kernel.residual_gradient(ROWS, left, right, pattern, target[ROWS], w[ROWS], gather_dtype)
    _, d_right = kernel.residual_gradient(COLUMNS, right, left, pattern, target[COLUMNS], w[COLUMNS], gather_dtype)
    return loss, d_left, d_right


@dataclass(frozen=True)
class Availability:
    """Whether an implementation can be used on this machine, and why; from `report`.

    Parameters
    ----------
    name : str
        Of the implementation.
    available : bool
        Whether it can be used here.
    reason : str
        Why, or why not.
    remedy : str
        What to do if it is not available.

    Examples
    --------
    >>> import dmc
    >>> found = dmc.kernels.report()[-1]
    >>> found.name, found.available
    ('dense', True)
    """

    name: str
    available: bool
    reason: str
    remedy: str = ""


def select(name: str | None = None, device: Device = None) -> Kernel:
    """Return the kernel of a name, or the best that this machine has.

    Parameters
    ----------
    name : {"native", "numba", "reference", "dense", "operators"}, optional
        By default the environment variable DMC_KERNEL decides, then the best that is available. "operators" is the one
        for torch tensors.
    device : str, optional
        Device of the tensors that it is for; None for NumPy arrays.

    Returns
    -------
    Kernel
        A module.

    Raises
    ------
    ValueError
        If the name is none of these.
    ImportError
        If the one named is not available here; the message says why, and what to do.

    Examples
    --------
    >>> import dmc
    >>> dmc.kernels.select("reference").__name__
    'dmc.kernels.reference'
    """
    if device is None:
        module = _MODULES[chosen(name)]
    else:
        module = _ON_TENSORS[_checks.choice(name or "operators", f"the kernel for tensors on {device}", _ON_TENSORS)]
    return cast(Kernel, importlib.import_module(module))


def chosen(name: str | None = None) -> str:
    """Return the name of the kernel that `select` returns for NumPy arrays.

    Parameters
    ----------
    name : {"native", "numba", "reference", "dense"}, optional
        As in `select`.

    Returns
    -------
    str
        One of these names.

    Raises
    ------
    ValueError, ImportError
        As `select`.

    Examples
    --------
    >>> import dmc
    >>> dmc.kernels.chosen() in ("native", "numba", "reference", "dense")
    True
    >>> dmc.kernels.chosen("reference")
    'reference'
    """
    wish = name or os.environ.get("DMC_KERNEL") or None
    if wish is not None:
        _checks.choice(wish, "kernel" if name else "the environment variable DMC_KERNEL", NAMES)
    for candidate in report():
        if candidate.available and wish in (None, candidate.name):
            return candidate.name
        if wish == candidate.name:
            raise ImportError(f"the {wish} kernel is not available: {candidate.reason}; {candidate.remedy}")
    raise AssertionError("the reference kernel is always available")


def report() -> list[Availability]:
    """List every implementation, best first: whether it can be used on this machine, why, and what to do.

    Returns
    -------
    list of Availability
        The command ``dmc doctor`` prints it.

    Examples
    --------
    >>> import dmc
    >>> [found.name for found in dmc.kernels.report()]
    ['native', 'numba', 'reference', 'dense']
    """
    return [_availability(name) for name in NAMES]


def _availability(name: str) -> Availability:
    if name == "native":
        if _extensions.missing:
            return Availability(name, False, _extensions.missing, _extensions.REMEDY)
        from dmc.kernels import native

        return Availability(name, True, native.describe())
    if name == "numba":
        if importlib.util.find_spec("numba") is None:
            return Availability(name, False, "numba is not installed", "run: pip install numba")
        return Availability(name, True, "compiled by numba at first use")
    if name == "dense":
        return Availability(name, True, f"BLAS, for factors wider than {NARROW} on matrices that are not sparse")
    return Availability(name, True, "NumPy, slow: for checking the others")


@contextmanager
def threads(n_threads: int | None) -> Iterator[None]:
    """Limit the threads of kernels and BLAS within a ``with`` block.

    Parameters
    ----------
    n_threads : int, optional
        At least 1. By default nothing changes: as many as OMP_NUM_THREADS says, or as there are cores for this process.

    Yields
    ------
    None
        The counts are restored on leaving.

    Raises
    ------
    ValueError
        If it is below 1.

    Examples
    --------
    >>> import dmc
    >>> observed = dmc.datasets.planted((30, 20), rank=2, observed=0.6).observations
    >>> with dmc.kernels.threads(1):
    ...     solution = dmc.solve(
    ...         dmc.MaskedLeastSquares(observed), dmc.initial.spectral(observed, 2), dmc.steps.ScaledDescent()
    ...     )
    """
    if n_threads is None:
        yield
        return
    count = _checks.integer(n_threads, "n_threads", 1)
    with (
        _blas_threads(count),
        threadpool_limits(count, user_api="openmp"),
        getattr(select(), "threads", nullcontext)(count),
    ):
        yield


NARROW = 256  # up to this width the products of the cores are too small to be worth BLAS threads


def wide(width: int, pattern: Pattern) -> bool:
    """Whether BLAS on the whole matrix is faster than gathering the observed entries: wide factors, not too sparse."""
    m, n = pattern.shape
    return width > NARROW and pattern.n_observed > 0.05 * m * n


def sharing_cores(width: int) -> AbstractContextManager[object]:
    """Limit BLAS to one thread for factors up to `NARROW` wide, so that the kernel has the processor's cores.

    Idle BLAS threads spin for a while: alternating between them and the kernel's every few hundred microseconds costs
    several times the work itself. The thread counts are restored on leaving.
    """
    if width > NARROW:
        return nullcontext()
    return _blas_threads(1)


_blas_lock = lock()
_blas_open = 0  # contexts
_blas_found: Any  # what the first of them found


@cache
def _blas_libraries(_with_torch: bool) -> ThreadpoolController:
    """Find the BLAS libraries once, and again when torch has loaded its own: the search takes milliseconds."""
    return ThreadpoolController()


@contextmanager
def _blas_threads(count: int) -> Iterator[None]:
    """Limit the threads of BLAS within a ``with`` block.

    BLAS has one count for the whole process, and fits in several Python threads end in any order: the count that one of
    them found may be the limit of another. So the last to end restores what the first found.
    """
    global _blas_found, _blas_open
    with _blas_lock:
        limits = _blas_libraries("torch" in sys.modules).limit(limits=count, user_api="blas")
        if not _blas_open:
            _blas_found = limits
        _blas_open += 1
    try:
        yield
    finally:
        with _blas_lock:
            _blas_open -= 1
            limits.restore_original_limits()
            if not _blas_open and limits is not _blas_found:
                _blas_found.restore_original_limits()
