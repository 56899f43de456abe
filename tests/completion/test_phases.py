"""The phases of a fit add up, and one that was stopped is the last."""

import numpy as np
import pytest

from dmc import Factors, Status
from dmc.completion.phases import Phase, Phases
from dmc.solver.loop import Run


def phase(name="path", width=3, status=Status.CONVERGED, n_steps=7, value=0.5, error=None, stopped_by=None) -> Phase:
    factors = Factors(np.ones((4, width)), (), np.ones((5, width)))
    return Phase(name, factors, status, n_steps, value, error, stopped_by)


def test_phases_add_up():
    phases = Phases(Run())
    phases.add(phase())
    phases.add(phase("final", 2, n_steps=4, value=0.1, error=0.2))
    assert phases.n_steps == 11
    assert [entry["phase"] for entry in phases.history] == ["path", "final"]
    assert [entry["width"] for entry in phases.history] == [3, 2]
    assert phases.history[1]["held_out_error"] == 0.2
    seconds = [entry["seconds"] for entry in phases.history]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("status", list(Status))
def test_only_what_was_stopped_or_failed_ends_the_phases_to_come(status):
    phases = Phases(Run())
    added = phases.add(phase(status=status))
    assert phases.ended == added.ended == (status in (Status.STOPPED, Status.NONFINITE))


def test_that_somebody_asked_for_the_end_stays_whatever_comes_after():
    phases = Phases(Run())
    first = phases.add(phase(status=Status.STOPPED, stopped_by="time limit"))
    phases.add(phase())
    phases.add(phase(status=Status.NONFINITE))
    assert phases.ending is first


def test_what_a_phase_ended_with_is_not_written_over():
    with pytest.raises(AttributeError):
        phase().status = Status.MAX_STEPS
