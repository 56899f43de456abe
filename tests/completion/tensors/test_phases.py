"""Phases of a tensor's fit in the one loop."""

from types import SimpleNamespace

import numpy as np
import pytest

import dmc
from dmc.completion.tensors.phases import TensorPhases
from dmc.solver.kept_phases import Attributes
from dmc.solver.loop import Run

STILL = Attributes(SimpleNamespace())  # nothing that would have to be kept


def shown() -> dmc.Factors:
    return dmc.Factors(np.ones((2, 1)), (), np.ones((2, 1)))


def test_steps_are_numbered_through_and_told() -> None:
    told, count = [], [0]

    def advance() -> None:
        count[0] += 1

    with Run([lambda info: told.append((info.n_steps, info.value))]) as run:
        phases = TensorPhases(run)
        assert phases.go(advance, lambda: (1 / (1 + count[0]), 1.0, count[0] == 3), shown, 100, course=STILL) == 3
        assert phases.go(advance, lambda: (0.1, 1.0, False), shown, 2, planned=True, course=STILL) == 2
        phases.add("path", "tube 0", 4, 3, 0.25, None)
    assert [n for n, _ in told] == [0, 1, 2, 3, 3, 4, 5, 5]
    assert run.status is dmc.Status.COMPLETED
    assert phases.history[0]["candidate"] == "tube 0"
    assert phases.history[0]["seconds"] >= 0


def test_overflow_ends_it() -> None:
    with Run() as run:
        phases = TensorPhases(run)
        phases.go(lambda: None, lambda: (float("inf"), 1.0, False), shown, 5, course=STILL)
        assert phases.ended
    assert run.status is dmc.Status.NONFINITE


@pytest.mark.parametrize("asked", [2, 0])
def test_a_callback_ends_all_phases(asked: int) -> None:
    with Run([lambda info: info.n_steps >= asked]) as run:
        phases = TensorPhases(run)
        assert phases.go(lambda: None, lambda: (1.0, 1.0, False), shown, 9, course=STILL) == asked
        assert phases.ended
        assert phases.go(lambda: None, lambda: (1.0, 1.0, False), shown, 9, course=STILL) == 0
