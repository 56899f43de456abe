"""A few hundred inputs of every fuzz target; `make fuzz` tries millions."""

import pytest

from fuzz import harness, targets

INPUTS = {"binding": 2000, "readers": 400, "loaders": 40}  # all targets of a group together


@pytest.mark.parametrize("group", [group for group in targets.GROUPS if targets.is_there(group)])
def test_foreign_input_is_answered_or_refused_in_words(group):
    findings = harness.run({group: INPUTS[group]})
    assert not findings.faults, str(findings)
    assert findings.answered
    assert findings.refused
