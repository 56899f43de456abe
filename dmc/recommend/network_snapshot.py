"""A network's training that goes on where it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from numpy.typing import NDArray

from dmc._keeper import Keeper, Snapshot
from dmc.factors import Factors
from dmc.solver.callbacks import EarlyStopping, Lowest
from dmc.solver.descent import Standing
from dmc.solver.loop import Run
from dmc.solver.steps import Accepted

NAME = "step"
Phase = Literal["length", "all"]  # of training: to find the number of steps, and on all ratings


class Course:
    """What the training has come to.

    Parameters
    ----------
    keeper : Keeper
    run : Run
    """

    def __init__(self, keeper: Keeper, run: Run) -> None:
        self._keeper, self._run = keeper, run
        self._found = keeper.found(NAME)
        self._watch: EarlyStopping | None = None

    def begun(self, phase: Phase) -> Standing | None:
        """Where this phase stood; None: it had not begun."""
        found = self._found
        with self._keeper.believing():
            if found is None or found.numbers["phase"] != phase:
                return None
            numbers = found.numbers
            self._run.go_on(numbers["n_steps"], numbers["seconds"])
            factors = _factors(found, "factors")
            if factors is None:
                raise ValueError("it has no factors")
            state = None if numbers["count"] is None else _state(found, factors)
            self._found = None  # it is as large as all that is trained
            return Standing(numbers["taken"], factors, state, numbers["scales"])

    def watched(self, watch: EarlyStopping) -> bool:
        """What has been seen of the held-out ratings before; whether that is over."""
        self._watch = watch
        if self._found is None:
            return False
        with self._keeper.believing():
            numbers = self._found.numbers
            watch.errors = [(n, error) for n, error in numbers["errors"]]
            watch.best_step, watch.best_error = numbers["best"]
            step, error = numbers["mark"]
            watch.mark, watch.best = (step, error), _factors(self._found, "best")
            return bool(numbers["phase"] == "all")

    def lowest(self) -> Lowest:
        """What has been seen of the last training."""
        seen = Lowest()
        with self._keeper.believing():
            if self._found is not None and self._found.numbers["phase"] == "all":
                seen.best, seen.best_value = _factors(self._found, "lowest"), self._found.numbers["lowest"]
        return seen

    def keep(self, phase: Phase, lowest: Lowest | None, at: Standing) -> None:
        """Keep where a phase stands."""
        if not self._keeper.keeps or not self._keeper.due:
            return
        state: Accepted | None = at.state
        mean, square, count = (None, None, None) if state is None else state.inner
        known = {"factors": at.factors, "mean": mean, "square": square}
        if state is not None:
            there = state.proposed is at.factors  # mostly, and then it is kept once
            known |= {"accepted": state.factors, "gradient": state.grad, "proposed": None if there else state.proposed}
        known |= {"lowest": lowest and lowest.best, "best": self._watch and self._watch.best}
        arrays: dict[str, NDArray[Any]] = {}
        of_rows: dict[str, NDArray[Any]] = {}
        for name, factors in known.items():
            if factors is not None:
                _add(name, factors.to(None), arrays, of_rows)
        numbers: dict[str, Any] = {
            "phase": phase,
            "n_steps": self._run.n_steps,
            "taken": at.n_steps,
            "scales": at.scales,
            "seconds": self._run.elapsed,
        }
        numbers |= {"count": count, "lowest": lowest and lowest.best_value}
        if state is not None:
            numbers |= {"accepted": state.value, "share": state.share}
        if self._watch is not None:
            watch = self._watch
            numbers |= {"errors": watch.errors, "best": [watch.best_step, watch.best_error], "mark": watch.mark}
        self._keeper.keep(NAME, Snapshot(numbers, arrays, of_rows))


def moved(at: Standing, device: str) -> Standing:
    """The same on a device."""
    state = at.state
    factors = at.factors.to(device)
    if state is not None:
        mean, square, count = state.inner
        accepted, gradient, proposed = (f and f.to(device) for f in (state.factors, state.grad, state.proposed))
        inner = mean.to(device), square.to(device), count
        state = replace(state, factors=accepted, grad=gradient, proposed=proposed, inner=inner)
    return at._replace(factors=factors, state=state)


def _state(found: Snapshot, factors: Factors) -> Accepted:
    """Of the step rule, at these factors."""
    numbers = found.numbers
    inner = _factors(found, "mean"), _factors(found, "square"), numbers["count"]
    accepted, gradient = _factors(found, "accepted"), _factors(found, "gradient")
    proposed = _factors(found, "proposed") or factors
    return Accepted(accepted, numbers["accepted"], gradient, proposed, inner, numbers["share"])


def _add(name: str, factors: Factors, arrays: dict[str, Any], of_rows: dict[str, Any]) -> None:
    of_rows[f"{name}.U"], arrays[f"{name}.V"] = factors.U, factors.V
    arrays |= {f"{name}.cores.{i}": core for i, core in enumerate(factors.cores)}
    if factors.row_bias is not None:
        of_rows[f"{name}.row_bias"] = factors.row_bias
    if factors.column_bias is not None:
        arrays[f"{name}.column_bias"] = factors.column_bias


def _factors(found: Snapshot, name: str) -> Factors | None:
    arrays, of_rows = found.arrays, found.of_rows
    if f"{name}.V" not in arrays:
        return None
    depth = sum(key.startswith(f"{name}.cores.") for key in arrays)
    cores = tuple(arrays[f"{name}.cores.{i}"] for i in range(depth))
    biases = of_rows.get(f"{name}.row_bias"), arrays.get(f"{name}.column_bias")
    return Factors(of_rows[f"{name}.U"], cores, arrays[f"{name}.V"], *biases)
