"""What you derive from to take part in the loop: `Problem`, what is minimised, and `Step`, how to move."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from array_api_compat import array_namespace

from dmc import _arrays, _checks
from dmc._arrays import Device
from dmc._group import ALONE, Group
from dmc._locks import cached_property
from dmc.factors import Factors


class Problem(Protocol):
    """Base class of what `dmc.solve` minimises: a function of the factors, with its gradient and its scales.

    To write your own, derive from it and define `value_and_grad`, `curvature` and `target_norm`; the other members have
    defaults for problems of NumPy arrays. `dmc.check_problem` compares the gradient with finite differences. Some step
    rules need more than this and say so: `GaussNewton`, `AlternatingLeastSquares` and `RankPath` work with
    `MaskedLeastSquares` and classes derived from it.

    Examples
    --------
    The distance from a given matrix, minimised over its factors:

    >>> import numpy as np, dmc
    >>> class Distance(dmc.Problem):
    ...     curvature = 1.0
    ...
    ...     def __init__(self, matrix):
    ...         self.matrix, self.target_norm = matrix, float(np.linalg.norm(matrix, 2))
    ...
    ...     def value_and_grad(self, factors):
    ...         residual = factors.left @ factors.right.T - self.matrix
    ...         gradient = factors.pull_back(residual @ factors.right, residual.T @ factors.left)
    ...         return 0.5 * np.sum(residual**2), gradient
    >>> problem, start = Distance(np.ones((4, 3))), dmc.initial.gaussian((4, 3), 2, depth=1)
    >>> dmc.check_problem(problem, start) < 1e-6
    True
    >>> dmc.solve(problem, start, dmc.steps.DiscrepantDescent()).value < 1e-9
    True
    """

    # Cached, so that a class or an instance may also have a plain number of that name.
    @cached_property
    def curvature(self) -> float:
        """The c for which the loss is about ½ c ‖X̂ − X‖² over the whole matrix; step sizes are scaled by it."""
        ...

    @cached_property
    def target_norm(self) -> float:
        """Approximate spectral norm of the matrix sought, in the units of the data."""
        ...

    def value_and_grad(self, factors: Factors) -> tuple[Any, Factors]:
        """Compute the value and the gradient.

        Parameters
        ----------
        factors : Factors
            Of the problem's shape, dtype and device.

        Returns
        -------
        value : float
            On a device, a tensor without dimensions: nothing waits for it.
        gradient : Factors
            The gradient with respect to each factor.
        """
        ...

    def value(self, factors: Factors) -> float:
        """Compute the value alone.

        Parameters
        ----------
        factors : Factors
            Of the problem's shape, dtype and device.

        Returns
        -------
        float
            The value at these factors.
        """
        return float(self.value_and_grad(factors)[0])

    @property
    def device(self) -> Device:
        """Where it computes and factors have to be: None for NumPy on the host, else a torch device."""
        return None

    def to(self, device: Device) -> Problem:
        """Move the problem to a device.

        Parameters
        ----------
        device : str or None
            "cpu" or "cuda" for torch; None for NumPy on the host.

        Returns
        -------
        Problem
            The same object, if it is there already.

        Raises
        ------
        ValueError
            If it cannot compute there.
        """
        if _arrays.checked(device) != self.device:
            raise ValueError(f"{type(self).__name__} computes on the host only and device is {device!r}; leave it out")
        return self

    def sharing_cores(self, factors: Factors) -> AbstractContextManager[object]:
        """Keep BLAS and the kernel from competing for the processor's cores.

        Parameters
        ----------
        factors : Factors
            Of the width to be computed with.

        Returns
        -------
        context manager
            Open while the problem is evaluated; by default it does nothing.
        """
        return nullcontext()


class Step:
    """Base class of a step rule: frozen settings, `init` for the first state, and a call that makes one step.

    To write your own, derive from it and define ``__call__(factors, value, grad, state)``, which returns the next
    factors and the next state, and `init` if there is a state. What a rule needs to know about the problem it keeps in
    its state: most rules take only its scales, `curvature` and `target_norm`.

    Examples
    --------
    >>> import dmc
    >>> class Descent(dmc.Step):
    ...     def init(self, problem, factors):
    ...         return 0.2 / (problem.curvature * problem.target_norm)
    ...
    ...     def __call__(self, factors, value, grad, state):
    ...         return factors.map(lambda a, g: a - state * g, grad), state
    >>> observed = dmc.datasets.planted((20, 15), 1, 1.0).observations
    >>> start = dmc.initial.spectral(observed, 1).scaled(0.5)
    >>> dmc.solve(dmc.MaskedLeastSquares(observed), start, Descent()).status.name
    'CONVERGED'
    """

    def init(self, problem: Problem, factors: Factors) -> Any:
        """Make the state before the first step.

        Parameters
        ----------
        problem : Problem
            What is minimised.
        factors : Factors
            The start.

        Returns
        -------
        object
            The state, of any type; by default None.
        """
        return None

    def __call__(self, factors: Factors, value: float, grad: Factors, state: Any) -> tuple[Factors, Any]:
        """Return the next factors and the next state, from the value and the gradient at these factors."""
        raise NotImplementedError

    def accepted_point(
        self, factors: Factors, value: float, grad: Factors, state: Any
    ) -> tuple[Factors, float, Factors]:
        """Return the last point that counts.

        That is the present one, unless the rule is going to undo the step that led to it, as `Backtracking` does.

        Parameters
        ----------
        factors : Factors
            The present point.
        value : float
            The value there.
        grad : Factors
            The gradient there.
        state : object
            The state of this rule.

        Returns
        -------
        factors : Factors
            The point.
        value : float
            The value there.
        grad : Factors
            The gradient there.
        """
        return factors, value, grad


def group_of(problem: Problem) -> Group:
    """The processes among which the rows of a problem are dealt: its ``group``, where it has one.

    They deal the rows of the data, of U and of the row bias; V, the cores and the column bias are the same in all of
    them, and so are the value, its scales, and the gradient by these.
    """
    found: Group = getattr(problem, "group", ALONE)
    return found


def scale_of(problem: Problem, name: str, step: str) -> float:
    """`curvature` or `target_norm` of a problem, for a step rule that is scaled by it."""
    found = getattr(problem, name)
    if found is None:  # what `Problem` itself returns
        raise TypeError(
            f"{step} needs the {name} of the problem, and {type(problem).__name__} does not have it; define {name}, or "
            "use a step of a given rate, DiscrepantDescent(rate)"
        )
    return float(found)


def dot(a: Any, b: Any) -> Any:
    """Σ a b, in float64 but for what is lost within the sum of a float32 dot product."""
    xp = array_namespace(a)
    return xp.astype(xp.vecdot(a.reshape(-1), b.reshape(-1)), xp.float64)


def check_finite(values: Any) -> None:
    """No NaN and no infinity among observed values; those of `Observations.with_values` may come from anywhere."""
    xp = array_namespace(values)
    if not bool(xp.all(xp.isfinite(values))):
        _checks.finite(_arrays.place(values, None), "observations.values")


def check_fit(factors: Factors, shape: tuple[int, ...], data: Any) -> None:
    """Factors of the data's shape, dtype and device."""
    if factors.shape != tuple(shape):
        raise ValueError(
            f"the factors make a {factors.shape[0]}×{factors.shape[1]} matrix, the data are {shape[0]}×{shape[1]}"
        )
    if factors.device != _arrays.of(data):
        here, there = ("the host (NumPy)" if d is None else d for d in (factors.device, _arrays.of(data)))
        raise ValueError(
            f"the factors are on {here} and the data on {there}; move them with factors.to({_arrays.of(data)!r})"
        )
    dtypes = {array.dtype for array in factors.arrays}
    if dtypes != {data.dtype}:
        names = " and ".join(sorted(map(str, dtypes)))
        raise TypeError(
            f"the factors are {names} and the data {data.dtype}; make them one dtype, with "
            f"factors.map(lambda a: a.astype('{data.dtype}'))"
        )
