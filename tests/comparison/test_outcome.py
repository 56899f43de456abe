"""What a comparison shows is what was measured, and says from how many steps the rest is estimated."""

import json
import math

import numpy as np
import pytest

from dmc.comparison.outcome import Comparison, Contender
from dmc.solver.solution import Status

COURSE = np.array([[0, 0.5, 2.0], [10, 1.5, 0.5], [20, 2.5, 0.8]])
CONVERGED = Contender("compressed", 100, 20, 2.6, COURSE, Status.CONVERGED, 50)
LIMITED = Contender("full width", 900, 20, 2.6, COURSE, Status.STOPPED, 1020, "time limit")
REFUSED = Contender("narrow", 10**9, refusal="narrow was not run: it would take 3 days")
POINT = Contender("MatrixCompletion", 30, 7, 0.7, np.array([[7, 0.7, 1e-3]]), Status.UNDETERMINED)


@pytest.fixture
def found():
    contenders = (CONVERGED, LIMITED, REFUSED, POINT)
    return Comparison(contenders, (20, 10), 120, 30, "30 of 150 are held out (seed 3)", "Networks: few", 1.25, False)


def test_errors_at_the_end_and_at_their_lowest():
    assert (CONVERGED.held_out_error, CONVERGED.lowest_error, CONVERGED.lowest_step) == (0.8, 0.5, 10)
    assert CONVERGED.seconds_per_step == pytest.approx(0.1)  # without the set-up of half a second
    assert POINT.seconds_per_step == pytest.approx(0.1)
    assert math.isnan(REFUSED.held_out_error)
    assert math.isnan(REFUSED.seconds_per_step)


def test_endings():
    assert [c.ending for c in (CONVERGED, REFUSED, POINT)] == ["converged", "not run", "converged"]
    assert LIMITED.ending == "time limit; all 1,020 steps would take 103 s (estimated from 20 steps)"
    assert Contender("x", 1, 5, 1.0, COURSE, Status.NONFINITE, 9).ending == "diverged"
    assert Contender("x", 1, 9, 1.0, COURSE, Status.MAX_STEPS, 9).ending == "not converged"
    waits = Contender("x", 1, 9, 1.0, COURSE, Status.MAX_STEPS, 9, plateau_steps=583.2)
    assert waits.ending == "not converged: on the plateau of a small start; about 580 more steps"
    assert Contender("x", 1, status=Status.STOPPED, stopped_by="interrupt").ending == "interrupted"
    diverged = Contender("x", 1, 20, 2.6, COURSE * [1, 1, np.nan], Status.NONFINITE, 50)
    assert math.isnan(diverged.lowest_error)


def test_the_table_as_text(found):
    text = str(found)
    assert repr(found) == text
    assert "20 × 10, 120 training entries (0.6 of the matrix); 30 of 150 are held out (seed 3)." in text
    lines = [line.split() for line in text.splitlines()]
    assert ["compressed", "20", "2.6", "0.1", "100", "0.8", "0.5", "(10)", "converged"] in lines
    assert ["narrow", "1,000,000,000", "not", "run"] in lines
    assert ["mean", "1", "1.25"] in lines
    assert text.endswith("narrow was not run: it would take 3 days.")
    starts = {line.index("held-out error") + len("held-out error") for line in text.splitlines() if "s/step" in line}
    ends = {line.index("0.8") + 3 for line in text.splitlines() if line.startswith(("compressed", "full"))}
    assert starts == ends  # numbers stand below one another


def test_the_table_as_data(found):
    assert [row["contender"] for row in found.table] == ["compressed", "full width", "narrow", "MatrixCompletion"]
    assert found.table[0] | {"held_out_error": 0.8, "status": "CONVERGED"} == found.table[0]
    json.dumps(found.table)  # plain types
    assert found["full width"] is LIMITED
    with pytest.raises(KeyError, match="there is no contender 'deep', only 'compressed', "):
        found["deep"]


def test_the_figure(found, tmp_path):
    pytest.importorskip("matplotlib")
    by_step, by_time = found._panels()
    drawn = {line.label: line for line in by_time.lines}
    assert list(drawn) == ["compressed", "full width", "MatrixCompletion", "mean"]
    np.testing.assert_array_equal(drawn["compressed"].x, COURSE[:, 1])
    np.testing.assert_array_equal(by_step.lines[0].x, COURSE[:, 0])
    assert drawn["MatrixCompletion"].style["marker"] == "D"
    found.figure(tmp_path / "found.png")
    assert (tmp_path / "found.png").stat().st_size > 10_000


def test_nothing_to_draw(tmp_path):
    empty = Comparison((REFUSED,), (2, 2), 3, 1, "", "", 1.0, True)
    with pytest.raises(ValueError, match="no contender was run"):
        empty.figure(tmp_path / "none.png")
    assert "in standard deviations of the column" in str(empty)
