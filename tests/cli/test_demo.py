"""dmc demo: what it says is so, and the picture has it all."""

import numpy as np
import pytest
from matplotlib import image as images

from command_line import last_json
from dmc import plots
from drawn_panels import drawn_figure
from figure_faults import faults


@pytest.fixture
def diagrams(monkeypatch):
    """What the demo has drawn."""
    drawn, panels = [], plots.panels
    monkeypatch.setattr(plots, "panels", lambda found, path: (drawn.extend(found), panels(found, path)))
    return drawn


def test_demo_keeps_its_promises(dmc_in, tmp_path, diagrams):
    code, out, _ = dmc_in("demo", "-o", tmp_path / "figure.png", "--json")
    assert code == 0
    found = last_json(out)
    table, photograph, ratings = (found[name] for name in ("table", "photograph", "ratings"))
    assert table["error"] < 0.75 * table["error_of_column_means"]
    assert table["errors_in_units"]["LDL cholesterol"]["error"] < 15  # mg/dl; the column's mean is 31 off
    assert 0.87 < table["inside_90"] < 0.93
    assert photograph["psnr"] >= photograph["psnr_mean_fill"] + 8
    assert ratings["rmse_of_noise"] < ratings["rmse"] < ratings["rmse_of_biases"] < ratings["rmse_of_mean"]
    # The truth about five films beats that of films chosen by chance by far.
    assert np.mean([film["true_mean"] for film in ratings["recommended"]]) > 4
    assert found["figure"] == str(tmp_path / "figure.png")
    for number in (f"{photograph['psnr']:.1f} dB", f"{ratings['rmse']:.2f} stars", ratings["recommended"][0]["item"]):
        assert number in out
    said = [line for line in out.replace(str(tmp_path), "").splitlines() if not line.startswith("{")]
    assert max(map(len, said)) <= 100
    assert images.imread(tmp_path / "figure.png").shape[1] == 1280
    assert len(diagrams) == 4
    assert faults(drawn_figure(diagrams)) == []


def test_the_picture_cannot_go_nowhere(dmc_in):
    code, out, err = dmc_in("demo", "-o", "nowhere/figure.png")
    assert (code, out) == (1, "")
    assert "there is no folder nowhere" in err
