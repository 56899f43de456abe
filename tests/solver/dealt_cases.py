"""Problems whose rows are dealt among processes, as several test files solve them: in all of them, or in one."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dmc import callbacks, steps
from dmc._group import ALONE, Group
from dmc.factors import Factors
from dmc.observations import Observations
from dmc.solver import initial
from dmc.solver.dealt import DealtLeastSquares
from dmc.solver.loop import solve
from dmc.solver.protocol import Step

SHAPE = (14, 60)
WIDTH = 4


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
    "newton, wide": Case(NEWTON, 0, "", False, True, n_steps=6),
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
    f, rng = initial.gaussian(SHAPE, WIDTH, case.depth, 0.5, 3, dtype), np.random.default_rng(4)
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
