"""Preconditioned conjugate gradients on flat arrays, for one system or for many at once."""

from __future__ import annotations

from collections.abc import Callable

from array_api_compat import array_namespace

from dmc.factors import Array


def conjugate_gradients(
    product: Callable[[Array], Array],
    precondition: Callable[[Array], Array],
    right_side: Array,
    tol: float,
    max_products: int,
    dot: Callable[[Array, Array], Array] | None = None,
) -> Array:
    """Solve one system or many by preconditioned conjugate gradients, from zero.

    If a matrix is singular, the iterates have no component in its null space.

    Parameters
    ----------
    product, precondition : callables
        Multiply (systems, unknowns) by each system's matrix, which is symmetric and positive semidefinite, and by an
        approximate inverse.
    right_side : (systems, unknowns) array
        Each system takes steps of its own length. With one system the host waits for each of them, which may be the
        last; with several all products are computed, because reading their state may mean waiting for a device.
    tol : float
        A system has converged when its preconditioned residual is at most `tol` times that at the start.
    max_products : int
        The largest number of products.
    dot : callable, optional
        The inner products (systems,) of two (systems, unknowns) arrays, if these hold only a part of the unknowns.

    Returns
    -------
    (systems, unknowns) array
        The solutions.
    """
    xp, alone = array_namespace(right_side), len(right_side) == 1
    dot = dot or xp.vecdot
    solution, residual = 0 * right_side, right_side
    direction = precondition(residual)
    size = dot(residual, direction)
    goal = tol**2 * size
    for _ in range(max_products):
        if alone and not size[0] > goal[0]:
            break
        bent = product(direction)
        bend = dot(direction, bent)
        if alone and not bend[0] > 0:
            break
        length = _ratio(xp.where(size > goal, size, 0 * size), bend)
        solution = solution + length * direction
        residual = residual - length * bent
        z = precondition(residual)
        before, size = size, dot(residual, z)
        direction = z + _ratio(size, before) * direction
    return solution


def _ratio(a: Array, b: Array) -> Array:
    """(systems, 1) a/b where b is positive, else 0: that system has converged."""
    xp = array_namespace(a)
    return xp.where(b > 0, a / xp.where(b > 0, b, 0 * b + 1), 0 * b)[:, None]
