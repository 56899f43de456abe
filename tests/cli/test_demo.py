"""dmc demo: what it says is so, and the picture has it all."""

import importlib.util
import json

import numpy as np
import pytest
import typer
from matplotlib import image as images

from dmc import plots
from dmc.cli import demo_parts
from drawn_panels import drawn_figure
from figure_faults import faults


@pytest.fixture
def diagrams(monkeypatch):
    """What the demo has drawn."""
    drawn, panels = [], plots.panels
    monkeypatch.setattr(plots, "panels", lambda found, path: (drawn.extend(found), panels(found, path)))
    return drawn


def test_demo_keeps_its_promises(dmc_in, tmp_path, diagrams):
    code, out, text = dmc_in("demo", "-o", tmp_path / "figure.png", "--json")
    assert code == 0
    found = json.loads(out)
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
        assert number in text
    assert max(map(len, text.replace(str(tmp_path), "").splitlines())) <= 100
    assert images.imread(tmp_path / "figure.png").shape[1] == 1280
    assert len(diagrams) == 4
    assert faults(drawn_figure(diagrams)) == []


@pytest.fixture
def no_work(monkeypatch):
    monkeypatch.setattr(demo_parts, "PARTS", {"work": lambda: pytest.fail("the work began")})


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("nowhere/figure.png", 1, "there is no folder nowhere"),
        ("figure.docx", 2, "figure.docx ends in .docx; figures are written as .png, .pdf or .svg"),
        ("figure", 2, "figure ends in nothing"),
        (".", 1, "is a folder"),
    ],
)
def test_a_picture_that_cannot_be_written_is_refused_before_the_work(dmc_in, no_work, path, status, message):
    code, out, err = dmc_in("demo", "-o", path)
    assert (code, out) == (status, "")
    assert message in err


def test_matplotlib_is_looked_for_before_the_work(dmc_in, no_work, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *of: None if name == "matplotlib" else found(name, *of)
    )
    code, _, err = dmc_in("demo")
    assert code == 1
    assert "pip install 'dmc[plot]'" in err


def test_the_report_is_for_people_unless_json_is_asked_for(dmc_in, monkeypatch, tmp_path):
    def part():
        typer.echo("for people")
        return demo_parts.Part({"error": 1.0}, [plots.Panel("title", "x", "y", [plots.Line([0, 1], [0, 1])])])

    monkeypatch.setattr(demo_parts, "PARTS", {"part": part})
    code, out, err = dmc_in("demo", "-o", tmp_path / "figure.svg")
    assert (code, err) == (0, "")
    assert out.startswith("for people\n")
    code, out, err = dmc_in("demo", "-o", tmp_path / "figure.svg", "--json")
    assert code == 0
    assert json.loads(out)["part"] == {"error": 1.0}
    assert err.startswith("for people\n")
