"""A description is plain data, and needs no matplotlib."""

import subprocess
import sys

from dmc import plots


def test_describing_does_not_import_matplotlib() -> None:
    code = (
        "import sys; from dmc import plots; plots.Panel('t', 'x', 'y', [plots.Line([0], [1])],"
        "thresholds=[plots.Threshold(1, 'one')]); plots.Picture('t', [[[0, 0, 0]]]); print('matplotlib' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_what_is_left_out_is_not_drawn() -> None:
    panel = plots.Panel("t", "x", "y", [])
    assert (panel.note, panel.thresholds, panel.wide, panel.ylim) == ("", (), False, (None, None))
