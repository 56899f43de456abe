"""Problems whose rows are dealt among processes, as several test files solve them: in all of them, or in one."""

from __future__ import annotations

from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from dmc._group import ALONE, Group, Share
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.solver import callbacks, descent, initial, steps
from dmc.solver.dealt import DealtLeastSquares
from dmc.solver.loop import solve
from dmc.solver.protocol import Step

SHAPE = (14, 60)


class Case(NamedTuple):
    """What is solved, how, and where."""

    step: Step
    depth: int = 0
    biases: str = ""  # of "rows" and "columns"
    weights: bool = False
    l2: bool = False
    unobserved_weight: float = 0.0
    kernel: str | None = "reference"
    device: str | None = None
    n_steps: int = 12
    width: int = 4


DESCENT, NEWTON = steps.DiscrepantDescent(), steps.Backtracking(steps.GaussNewton())
CASES = {
    "descent, no core": Case(DESCENT, 0, weights=True, l2=True, kernel=None),
    "descent, one core": Case(DESCENT, 1, "rows columns", weights=True, kernel=None),
    "descent, three cores": Case(DESCENT, 3, "rows columns", l2=True, kernel=None),
    "descent, three cores, reference": Case(DESCENT, 3, "rows", weights=True, l2=True),
    "descent, zeros": Case(DESCENT, 1, "columns", weights=True, l2=True, unobserved_weight=0.1),
    "momentum": Case(steps.Momentum(DESCENT), 1, l2=True),
    "backtracking": Case(steps.Backtracking(steps.DiscrepantDescent(stability=0.9)), 1, n_steps=20),
    "adam": Case(steps.Adam(), 3, "rows columns", l2=True, kernel=None),
    "scaled": Case(steps.ScaledDescent(0.05), 0, "rows columns"),
    "clicks": Case(steps.AlternatingLeastSquares(), 0, "", True, True, 0.2, kernel=None, n_steps=6),
    "newton": Case(NEWTON, 0, "columns", True, True, n_steps=6),
    "newton, zeros": Case(NEWTON, 0, "", True, True, 0.2, n_steps=6),
    "newton, wide": Case(NEWTON, 0, "", False, True, n_steps=4, width=18),  # one block for all rows
    "tensors, descent": Case(DESCENT, 3, "rows columns", True, True, kernel=None, device="cpu"),
    "tensors, newton": Case(NEWTON, 0, "columns", True, True, kernel=None, device="cpu", n_steps=6),
    "tensors, clicks": Case(steps.AlternatingLeastSquares(), 0, "", True, True, 0.2, None, "cpu", n_steps=6),
}
DEALS = {  # the first row of each process, behind them all rows: uneven, and one without any
    2: (0, 5, 14),
    3: (0, 1, 1, 14),
}


def whole(dtype: Any) -> tuple[Observations, np.ndarray]:
    """Entries, half of them in the first row, and their weights."""
    rng = np.random.default_rng(7)
    seen = rng.random(SHAPE) < 60 / (13 * 60)
    seen[0] = True
    X = rng.standard_normal((SHAPE[0], 2)) @ rng.standard_normal((2, SHAPE[1])) + 0.3 * rng.standard_normal(SHAPE)
    rows, cols = np.nonzero(seen)
    found = Observations.from_entries(rows, cols, X[seen].astype(dtype), SHAPE)
    return found, rng.random(found.n_observed).astype(dtype) + 0.5


def dealt(observed: Observations, of_entries: np.ndarray, group: Group) -> tuple[slice, Observations, np.ndarray]:
    """The rows of a process, their entries, and of something that each entry has what is theirs."""
    ends = DEALS.get(group.size, (0, observed.shape[0]))
    rows = slice(ends[group.rank], ends[group.rank + 1])
    index, entries = observed.pattern.by_row.take(np.arange(rows.start, rows.stop))
    shape = (rows.stop - rows.start, observed.shape[1])
    return rows, Observations.from_lines(index, observed.values[entries], shape), of_entries[entries]


def start(case: Case, dtype: Any, rows: slice) -> Factors:
    m, n = SHAPE
    f, rng = initial.dealt_gaussian(Share.whole(m), n, case.width, case.depth, 0.5, 3, dtype), np.random.default_rng(4)
    of_rows, of_columns = (rng.standard_normal(n).astype(dtype) / 4 for n in SHAPE)
    return Factors(
        f.U[rows],
        f.cores,
        f.V,
        of_rows[rows] if "rows" in case.biases else None,
        of_columns if "columns" in case.biases else None,
    )


def problem(case: Case, dtype: Any, group: Group) -> tuple[DealtLeastSquares, slice]:
    observed, weights = whole(dtype)
    rows, own, own_weights = dealt(observed, weights, group)
    l2 = (np.linspace(0.1, 0.5, SHAPE[0])[rows], np.linspace(0.5, 0.2, SHAPE[1])) if case.l2 else 0.0
    given = own_weights if case.weights else None
    return (
        DealtLeastSquares(
            own,
            group,
            given,
            l2,
            kernel=case.kernel,
            device=case.device,
            unobserved_weight=case.unobserved_weight,
        ),
        rows,
    )


def solved(group: Group, name: str, dtype: Any) -> dict[str, Any]:
    """What a process has after some steps: own rows of the predictions, and what all of them should agree on."""
    case, history = CASES[name], callbacks.History()
    to_solve, rows = problem(case, dtype, group)
    found = solve(
        to_solve,
        start(case, dtype, rows),
        case.step,
        max_steps=case.n_steps,
        tol=0,
        check_every=1,
        callbacks=[history],
    )
    return {
        "own": found.factors.dense(),
        "V": found.factors.V,
        "value": found.value,
        "values": history.column("value"),
        "ratios": history.column("gradient_ratio"),
        "scales": np.array([to_solve.curvature, to_solve.target_norm, to_solve.rounding]),
    }


def all_solved(group: Group, names: list[str]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(n, dtype): solved(group, n, np.dtype(dtype)) for n in names for dtype in ("float32", "float64")}


def in_one_process(name: str, dtype: str) -> dict[str, Any]:
    return solved(ALONE, name, np.dtype(dtype))


def products(group: Group) -> dict[str, np.ndarray]:
    """What steps ask of a problem besides its gradient; what has a row for each row comes under a name with "own"."""
    case = CASES["descent, zeros"]._replace(depth=0)
    to_ask, rows = problem(case, np.float64, group)
    at, rng = start(case, np.float64, rows), np.random.default_rng(1)
    by_row, by_column = rng.standard_normal((SHAPE[0], 5))[rows], rng.standard_normal((SHAPE[1], 5))
    gradient = to_ask.gradient_products(at)
    found = {"value": np.array([to_ask.value(at), float(to_ask.value_and_grad(at)[0])])}
    for side, other, own, direction in ((0, at.right, "own ", by_row), (1, at.left, "", by_column)):
        found |= {
            f"{own}counts {side}": to_ask.counts(side),
            f"{own}grams {side}": to_ask.grams(side, other),
            f"{own}side gradient {side}": to_ask.side_gradient(at, side),
            f"{own}gram products {side}": to_ask.gram_products(at, side)(direction),
            f"{own}gradient products {side}": gradient(side, by_row if side else by_column),
            f"average gram {side}": to_ask.average_gram(side, other),
        }
    return found


def with_a_local_number(group: Group, name: str) -> dict[str, Any]:
    """`solved`, where one number is this process' own in place of that of all rows."""
    whole_norm, whole_size = descent._norm, steps._spectral_norm
    local = {
        "norm of the gradient": (descent, "_norm", lambda gradient, _: whole_norm(gradient, ALONE)),
        "norm of U": (steps, "_spectral_norm", lambda matrix, _=ALONE: whole_size(matrix)),
        "curvature": (DealtLeastSquares, "curvature", property(lambda self: self.observations.n_observed / 840 + 0.1)),
        "norm of the target": (Observations, "spectral_norm", lambda self, _: largest_of_own(self)),
    }
    with patch.object(*local[name]):
        return solved(group, "descent, one core", np.float64)


def largest_of_own(observed: Observations) -> float:
    return float(np.linalg.norm(observed.to_scipy().toarray(), 2)) if observed.n_observed else 1.0


def bytes_of_steps(group: Any, shape: tuple[int, int], width: int, depth: int) -> tuple[int, int]:
    """Sent in so many steps of Adam, and how many numbers the columns' factors have."""
    rng, n_steps = np.random.default_rng(0), 10
    rows = shape[0] // group.size
    cells = rng.choice(rows * shape[1], 40 * rows, replace=False)
    own = Observations.from_entries(*np.divmod(cells, shape[1]), rng.standard_normal(len(cells)), (rows, shape[1]))
    f = initial.dealt_gaussian(Share.whole(rows), shape[1], width, depth, 0.5, 3)
    f = Factors(f.U, f.cores, f.V, np.zeros(rows), np.zeros(shape[1]))
    to_solve, step = DealtLeastSquares(own, group), steps.Adam()
    state, before = step.init(to_solve, f), group.sent
    for _ in range(n_steps):
        f, state = step(f, *to_solve.value_and_grad(f), state)
    return group.sent - before, n_steps * (shape[1] * (width + 1) + depth * width**2)
