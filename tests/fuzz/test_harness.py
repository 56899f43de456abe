"""The harness itself: it sees what it is there for, goes on behind it, and what it names can be repeated."""

import numpy as np
import pytest

from fuzz import harness, targets


@pytest.fixture(scope="module")
def findings():
    before = harness.HANG, harness.WAIT
    harness.HANG, harness.WAIT = 1.5, 4
    yield harness.run({"broken": 70}, seed=1)
    harness.HANG, harness.WAIT = before


def failing(number: int = 10) -> list[int]:
    return [a for a in range(number) if np.random.default_rng((1, a)).integers(10) == 0]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("crash", "crash: signal SIGSEGV"),
        ("hang", "hang: no end after 1.5 s"),
        ("wait", "hang: no end after 1.5 s"),
        ("memory", "memory"),
        ("silent", "Fault: 17 instead of 16"),
        ("exception", "KeyError: 'users'"),
    ],
)
def test_each_fault_is_seen_where_it_happens(findings, name, kind):
    seen = [fault for fault in findings.faults if fault.target == f"broken.{name}"]
    assert [fault.attempt for fault in seen] == failing()
    assert failing()
    assert {fault.kind for fault in seen} == {kind}


def test_the_run_goes_on_behind_a_fault(findings):
    assert findings.attempts == 70
    assert not [fault for fault in findings.faults if fault.target == "broken.sound"]
    assert findings.answered + findings.refused == 70 - 5 * len(failing())
    assert findings.refused > 0


def test_what_is_told_repeats_the_fault(findings):
    assert f"python -m fuzz broken.silent --seed 1 --only {failing()[0]}" in str(findings)
    again = harness.run({"broken.silent": 1}, seed=1, only=failing()[0])
    assert [fault.kind for fault in again.faults] == ["Fault: 17 instead of 16"]


def test_unknown_targets_are_named():
    with pytest.raises(ValueError, match=r"broken\.crash"):
        targets.targets("broken.nothing")
