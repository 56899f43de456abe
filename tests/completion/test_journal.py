"""The bookkeeping over the phases of a fit."""

import pytest

from dmc import Status
from dmc.completion.journal import Journal


def test_phases_add_up():
    journal = Journal([])
    journal.note("path", 3, 7, 0.5, None)
    journal.note("final", 2, 4, 0.1, 0.2)
    assert journal.n_steps == 11
    assert [entry["phase"] for entry in journal.history] == ["path", "final"]
    assert journal.history[1]["held_out_error"] == 0.2
    seconds = [entry["seconds"] for entry in journal.history]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("status", list(Status))
def test_only_what_was_stopped_or_failed_ends_the_phases_to_come(status):
    journal = Journal([])
    journal.status = status
    assert journal.ended == (status in (Status.STOPPED, Status.NONFINITE))
