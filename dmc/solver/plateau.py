"""The length of the plateau of a small start, estimated from a network of a few directions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from array_api_compat import array_namespace, device as where
from numpy.typing import NDArray

from dmc import _arrays, _checks
from dmc._warn import warn
from dmc.factors import Array, Factors
from dmc.solver.arguments import check_arguments
from dmc.solver.problem import MaskedLeastSquares
from dmc.solver.protocol import Problem, Step, dot, group_of, scale_of
from dmc.solver.solution import Solution, waiting
from dmc.solver.steps import Backtracking, DiscrepantDescent, Momentum

Matrix = NDArray[np.float64]

SHORT = 100  # steps: whoever takes fewer does not wait
LEARNT = 0.9  # of the first value: below it a small start has escaped
DIRECTIONS = 4  # of what is sought; where singular values are alike another than the first may escape first
PROBES, TURNS = 8, 5  # columns, and passes to and fro, of the subspace iteration that finds them
ESCAPED = 0.5  # of the largest singular value that is sought
JUMP = 0.03  # of a factor's norm: how far the small network moves at a time
MOST = 1e100  # steps at a time
MOVES = 3000  # at most: after so many it has long escaped, or shrinks
SAME = 1e-6  # of the largest: directions of a hidden space below it are those that are there already


def plateau_steps(problem: Problem, start: Factors, step: Step) -> float:
    """Estimate how many steps a small start stays on its plateau before it learns anything.

    Near zero the product of all factors is small, and so is the gradient of each. With N factors of size ε, curvature p
    and σ₁ the spectral norm of the matrix sought, the plateau lasts about 1/(η p σ₁ ε^(N−2)) steps of rate η; for two
    factors, log(σ₁/ε²)/(2 η p σ₁). The constant depends on how the factors are aligned, so the course is computed: for
    the small network that is left of this one along the four leading directions of the gradient with respect to X̂.
    That costs about as much as ten steps.

    Parameters
    ----------
    problem : Problem
        What is minimised.
    start : Factors
        The start, or a later point.
    step : Step
        `DiscrepantDescent`, alone or inside `Momentum` or `Backtracking`.

    Returns
    -------
    float
        Steps until the largest singular value of X̂ is half of that sought; 0 if it is already; inf if it never will
        be, as under a weight decay that is stronger than the gradient.

    Raises
    ------
    TypeError
        If a problem, start or step is not one, if the step is another one, or if the problem does not define its
        scales.
    ValueError
        If the value at the start is not finite.

    References
    ----------
    A. Saxe, J. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks", 2013 (arXiv 1312.6120).

    Examples
    --------
    >>> import dmc
    >>> observed = dmc.datasets.planted((60, 50), 2, 0.5).observations
    >>> problem, step = dmc.MaskedLeastSquares(observed), dmc.steps.DiscrepantDescent(1e-3)
    >>> start = dmc.initial.compressed(observed, 2, depth=3, scale=0.1)
    >>> expected = dmc.plateau_steps(problem, start, step)
    >>> sizes = dmc.callbacks.History(largest=lambda factors: factors.singular_values()[0])
    >>> _ = dmc.solve(problem, start, step, max_steps=round(1.2 * expected), callbacks=[sizes], tol=0)
    >>> bool(sizes.column("largest")[-1] > problem.target_norm / 2)
    True
    """
    check_arguments(problem, start, step, ())
    if not _told(step):
        raise TypeError(
            f"{type(step).__name__} scales every parameter separately, for which no estimate of a plateau is known; "
            "plateau_steps supports DiscrepantDescent, alone or inside Momentum or Backtracking"
        )
    start = start.to(problem.device)
    value = float(problem.value(start))
    if not math.isfinite(value):
        raise ValueError(f"the value at the start is {value}; start where it is finite, with finite data")
    for name in ("curvature", "target_norm"):
        scale_of(problem, name, "plateau_steps")
    return _estimate(problem, start, step)


def steps_left(problem: Problem, factors: Factors, step: Step) -> float | None:
    """Estimate `plateau_steps` for a run that waits there; None off the plateau, or where no end can be estimated."""
    if not _told(step) or group_of(problem).size > 1:
        return None
    try:
        expected = _estimate(problem, factors, step)
    except Exception:  # of a problem of one's own, such as one that knows no other widths: no reason to end its run
        return None
    return expected if 0 < expected < math.inf else None


def told_if_waiting(problem: Problem, start: Factors, found: Solution, step: Step) -> Solution:
    """Add the plateau to the solution of a run that should have gone further, with a warning, if it is still on it."""
    start, at = (factors.to(problem.device) for factors in (start, found.factors))
    if found.n_steps < SHORT or not _told(step) or not found.value > LEARNT * problem.value(start):
        return found
    wait = steps_left(problem, at, step)
    if wait is not None:
        remedy = "raise max_steps, the rate of the step or the scale of the start"
        warn(f"after {_checks.count(found.n_steps, 'step')} the solution is still {waiting(wait)}; {remedy}")
    return replace(found, plateau_steps=wait)


def tell_of_start(problem: Problem, found: Solution) -> None:
    """Warn where a run ends at its start although that is no solution."""
    if found.value > 0:
        warn(
            "the gradient at the start is zero: no step moves it, and the solution is the start; unless it is a "
            "minimum, use another start, such as dmc.initial.compressed(data, rank)"
        )
        return
    gradient = problem.value_and_grad(found.factors.to(problem.device))[1]
    if found.value == 0 and any(bool((array != 0).any()) for array in gradient.arrays):
        warn(
            "the value at the start is zero and its gradient is not: squares as small as these are rounded to zero, "
            "and no step was taken; scale the data up"
        )


def _told(step: Step) -> bool:
    while isinstance(step, (Momentum, Backtracking)):
        step = step.step
    return isinstance(step, DiscrepantDescent)


def _estimate(problem: Problem, factors: Factors, step: Step) -> float:
    P, s, Q = _leading_descent(problem, factors)
    if not s[0] > 0 or not problem.curvature > 0:
        return math.inf
    if _size(factors) >= ESCAPED * float(s[0]) / problem.curvature:
        return 0.0
    small = _Leading(problem, factors, P, _arrays.place(s, None).astype(np.float64), Q)
    rule, memory = _in_effect(step)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if rule.rate is None:
            return small.steps(lambda jump: step, 1.0)
        rate = rule.rate
        return small.steps(lambda jump: replace(rule, rate=rate * jump), None) + memory


def _in_effect(step: Step) -> tuple[DiscrepantDescent, float]:
    """The equivalent plain rule of a rule with momentum, and the number of steps in which its velocity builds up."""
    betas = []
    while isinstance(step, (Momentum, Backtracking)):
        betas += [step.beta] if isinstance(step, Momentum) else []
        step = step.step
    assert isinstance(step, DiscrepantDescent)
    share = math.prod(1 - beta for beta in betas)
    # The decay does not pass through the velocity.
    rate = None if step.rate is None else step.rate / share
    return replace(step, rate=rate, weight_decay=step.weight_decay * share), sum(beta / (1 - beta) for beta in betas)


class _Leading(Problem):
    """A problem near a point, restricted to a few directions P and Q: ½ p ‖Pᵀ·X̂·Q − T‖² and the penalty.

    Attributes
    ----------
    start : Factors
        The point, every hidden space cut to what the directions reach from either side; NumPy arrays.
    target : (k, k) array
        T.
    """

    curvature: float = 0.0
    target_norm: float = 0.0

    def __init__(self, problem: Problem, factors: Factors, P: Array, s: Matrix, Q: Array) -> None:
        self.curvature, self.target_norm = float(problem.curvature), float(problem.target_norm)
        self.start = _cut(factors, P, Q)
        self.target = np.diag(s) / self.curvature + self.start.dense()
        l2 = problem.l2 if isinstance(problem, MaskedLeastSquares) else (0.0, 0.0)
        self._penalties = [
            np.asarray(_arrays.place((side.T * penalty) @ side, None), np.float64)
            for side, penalty in zip((P, Q), l2, strict=True)
        ]

    def value_and_grad(self, factors: Factors) -> tuple[float, Factors]:
        left, right = factors.left, factors.right
        residual = self.curvature * (left @ right.T - self.target)
        d_left, d_right = self._penalties[0] @ left, self._penalties[1] @ right
        value = float(dot(residual, residual)) / self.curvature + float(dot(d_left, left) + dot(d_right, right))
        return 0.5 * value, factors.pull_back(residual @ right + d_left, residual.T @ left + d_right)

    def steps(self, rule: Callable[[float], Step], jump: float | None) -> float:
        """Count the steps of a rule until the product reaches ESCAPED, several at a time (None: as many as are
        safe).
        """
        at, taken, state = self.start, 0.0, rule(1.0).init(self, self.start)
        enough = ESCAPED * float(np.linalg.norm(self.target, 2))
        for _ in range(MOVES):
            product = at.dense()
            if not np.isfinite(product).all():  # steps too long for any estimate
                break
            if np.linalg.norm(product, 2) >= enough:
                return taken
            value, gradient = self.value_and_grad(at)
            at_once = jump or _jump(at, rule(1.0)(at, value, gradient, state)[0])
            if not at_once < math.inf:
                break
            at, state = rule(at_once)(at, value, gradient, state)
            taken += at_once
        return math.inf


def _jump(at: Factors, moved: Factors) -> float:
    """The number of similar steps that may be taken at once."""
    changes = [(np.linalg.norm(a), np.linalg.norm(b - a)) for a, b in zip(at.arrays, moved.arrays, strict=True)]
    shares = [float(size / change) for size, change in changes if change > 0]
    return min(max(1.0, float(np.floor(JUMP * min(shares)))), MOST) if shares else math.inf


def _leading_descent(problem: Problem, factors: Factors) -> tuple[Array, Array, Array]:
    """(rows, k), (k,), (columns, k) leading singular vectors and values of minus the gradient by X̂, for any problem.

    Beside the model stand columns that are zero on one side: they do not change it, and the gradient by these is the
    gradient by X̂ times the other side.
    """
    xp, kind = array_namespace(factors.U), {"dtype": factors.U.dtype, "device": where(factors.U)}
    (m, n), L, R = factors.shape, factors.U @ factors.core, factors.V
    k = min(PROBES, m, n)
    draw = np.random.default_rng(0).standard_normal((n, k)).astype(_arrays.numpy_dtype(R.dtype))
    Q = xp.linalg.qr(_arrays.place(draw, _arrays.of(R)))[0]

    def gradient(P: Array, Q: Array) -> Factors:
        beside = (xp.concat([side, more], axis=1) for side, more in ((L, P), (R, Q)))
        U, V = beside
        return problem.value_and_grad(Factors(U, (), V, factors.row_bias, factors.column_bias))[1]

    for _ in range(TURNS):
        P = xp.linalg.qr(-gradient(xp.zeros((m, k), **kind), Q).U[:, -k:])[0]
        Q, s, turn = xp.linalg.svd(-gradient(P, xp.zeros((n, k), **kind)).V[:, -k:], full_matrices=False)
    kept = slice(min(DIRECTIONS, k))
    return (P @ turn.T)[:, kept], s[kept], Q[:, kept]


def _size(factors: Factors) -> float:
    """Estimate the largest singular value of X̂ without biases, by power iteration."""
    xp, L, R = array_namespace(factors.U), factors.U @ factors.core, factors.V
    draw = np.random.default_rng(1).standard_normal(R.shape[0]).astype(_arrays.numpy_dtype(R.dtype))
    v, size = _arrays.place(draw, _arrays.of(R)), 0.0
    for _ in range(2 * TURNS):
        norm = float(xp.linalg.vector_norm(v))
        if norm == 0:
            break
        v = R @ (L.T @ (L @ (R.T @ (v / norm))))
        size = float(xp.linalg.vector_norm(v)) ** 0.5
    return size


def _cut(factors: Factors, P: Array, Q: Array) -> Factors:
    """Restrict the network to directions: of every hidden space, what Q reaches through the factors below it, and P
    through those above.
    """
    below, above = [factors.V.T @ Q], [factors.U.T @ P]
    for W in reversed(factors.cores):
        below.append(W @ below[-1])
    for W in factors.cores:
        above.append(W.T @ above[-1])
    spaces = [_span(a, b) for a, b in zip(below, reversed(above), strict=True)][::-1]  # in the order of the factors
    cores = [up.T @ W @ down for up, W, down in zip(spaces, factors.cores, spaces[1:], strict=False)]
    small = Factors(P.T @ factors.U @ spaces[0], cores, Q.T @ factors.V @ spaces[-1])
    return small.map(lambda a: np.asarray(_arrays.place(a, None), np.float64))


def _span(first: Array, second: Array) -> Array:
    """Orthonormal columns that span those of two matrices, whatever their sizes."""
    xp = array_namespace(first)
    columns = xp.concat([first, second], axis=1)
    norms = xp.linalg.vector_norm(columns, axis=0)
    basis, s, _ = xp.linalg.svd(columns / xp.where(norms > 0, norms, norms * 0 + 1), full_matrices=False)
    return basis[:, : max(int((s > SAME * s[0]).sum()), 1)]
