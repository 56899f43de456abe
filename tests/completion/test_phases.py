"""The phases of a fit add up, and one that was stopped is the last."""

import numpy as np
import pytest

from dmc import Factors, Status
from dmc.completion.phases import Phase, Phases
from dmc.solver.loop import Run
from dmc.solver.solution import Look


def phase(name="path", width=3, status=Status.CONVERGED, n_steps=7, value=0.5, error=None) -> Phase:
    factors = Factors(np.ones((4, width)), (), np.ones((5, width)))
    return Phase(name, factors, status, n_steps, value, error)


def test_phases_add_up():
    phases = Phases(Run())
    phases.add(phase())
    phases.add(phase("final", 2, n_steps=4, value=0.1, error=0.2))
    assert [entry["n_steps"] for entry in phases.history] == [7, 4]
    assert [entry["phase"] for entry in phases.history] == ["path", "final"]
    assert [entry["width"] for entry in phases.history] == [3, 2]
    assert phases.history[1]["held_out_error"] == 0.2
    seconds = [entry["seconds"] for entry in phases.history]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("status", list(Status))
def test_only_what_was_stopped_or_failed_ends_the_phases_to_come(status):
    run = Run()
    phases, run.status = Phases(run), status
    assert phases.ended == phase(status=status).ended == (status in (Status.STOPPED, Status.NONFINITE))


def test_that_somebody_asked_for_the_end_stays_whatever_comes_after():
    run = Run([lambda info: True])
    phases, look = Phases(run), Look(1.0, 1.0, lambda: phase().factors)
    for _ in range(2):
        assert run.phase(lambda: None, lambda: look, 5) is Status.STOPPED
        assert phases.ended
    assert (run.n_steps, run.stopped_by) == (0, "<lambda>")


def test_what_a_phase_ended_with_is_not_written_over():
    with pytest.raises(AttributeError):
        phase().status = Status.MAX_STEPS
