"""The result as data: its messages carry the advice."""

import numpy as np
import pytest

from dmc.factors import Factors
from dmc.solver.solution import Solution, Status, StepInfo

FACTORS = Factors(np.ones((2, 1)), (), np.ones((3, 1)))


def test_the_endings_are_these():
    assert {status.name for status in Status} == {
        "CONVERGED",
        "UNDETERMINED",
        "MAX_STEPS",
        "COMPLETED",
        "STOPPED",
        "NONFINITE",
        "FAILED",
    }
    assert len({str(status) for status in Status}) == 7


@pytest.mark.parametrize(
    ("status", "advice"), [(Status.MAX_STEPS, "raise max_steps"), (Status.NONFINITE, "use a smaller step")]
)
def test_an_ending_that_asks_for_something_says_what(status, advice):
    assert advice in str(status)


@pytest.mark.parametrize("status", Status)
def test_the_message_names_who_stopped_the_run(status):
    assert Solution(FACTORS, 1.0, status, 3, 0.1).message == str(status)
    assert Solution(FACTORS, 1.0, status, 3, 0.1, "time limit").message == f"{status} (time limit)"


def test_what_callbacks_see_cannot_be_changed_by_them():
    info = StepInfo(0, 10, 1.0, 1.0, 0.0, FACTORS)
    assert info.status is None
    with pytest.raises(AttributeError):
        info.value = 0.0


def test_a_solution_is_printed_in_a_line():
    found = Solution(FACTORS, 0.125, Status.STOPPED, 1200, 0.25, "time limit")
    assert repr(found) == f"Solution({FACTORS!r}, value 0.125, STOPPED (time limit) after 1,200 steps and 0.25 s)"
