"""A few hundred inputs of every fuzz target; `make fuzz` tries millions."""

import pytest

from fuzz import harness, targets

EACH = 100  # inputs of a target


@pytest.mark.parametrize("group", [group for group in targets.GROUPS if targets.is_there(group)])
def test_foreign_input_is_answered_or_refused_in_words(group):
    findings = harness.run({group: EACH * len(targets.targets(group))})
    assert not findings.faults, str(findings)
    assert findings.answered
    assert findings.refused
