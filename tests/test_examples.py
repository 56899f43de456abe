"""Each example runs, small, draws a figure for light pages and its twin, and says on its page what is seen."""

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dmc import plots
from drawn_panels import drawn_figure
from example_scripts import EXAMPLES, example
from figure_faults import faults

SMALL = {
    "plot_bures_wasserstein": {"conditions": (1, 10), "max_steps": 30},
    "plot_class_separation": {"n_steps": 20},
    "plot_collapse_by_layer": {"n_epochs": 2},
    "plot_comparison": {"max_steps": 20},
    "plot_compressed_follows_full": {"n_steps": 1600},
    "plot_deep_lora": {"ranks": (2, 4), "seeds": 2, "n_steps": 20},
    "plot_depth_and_rank": {"widths": (4, 6), "scales": (0.1, 0.05), "seeds": 2, "max_steps": 30},
    "plot_law_of_parsimony": {"n_steps": 20},
    "plot_metro_passengers": {"stations": 12},
    "plot_outer_rate": {"n_steps": 1600},
    "plot_photograph": {"block": 16},
    "plot_rank_path": {"d": 60, "rank": 2, "max_steps": 8},
}
INTEGRATED = {  # by tests/integrations
    "index_faiss",
    "index_hnswlib",
    "log_to_mlflow",
    "log_to_tensorboard",
    "postgresql",
    "service",
}


def test_every_example_is_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SMALL) | INTEGRATED


@pytest.mark.parametrize("name", SMALL)
def test_example(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    described: list[Any] = []
    arranged = plots.layout.arranged

    def noted(diagrams: Any, columns: Any, theme: Any, *args: Any) -> Any:
        described.append((diagrams, columns))
        return arranged(diagrams, columns, theme, *args)

    monkeypatch.setattr(plots.layout, "arranged", noted)
    drawn = example(name).main(str(tmp_path), **SMALL[name])
    assert {path.name for path in tmp_path.iterdir()} == {drawn.name, f"{drawn.stem}-dark.png"}
    light, dark = (np.asarray(Image.open(path).convert("L")) for path in (drawn, drawn.with_stem(f"{drawn.stem}-dark")))
    assert light.std() > 5
    assert light.shape == dark.shape
    assert light[0, 0] > 250 > 50 > dark[0, 0]
    monkeypatch.undo()
    diagrams, columns = described[0]
    assert faults(drawn_figure(diagrams, columns)) == []
    lines = [line for diagram in diagrams if isinstance(diagram, plots.Panel) for line in diagram.lines]
    assert all(line.style["color"] in plots.LIGHT.roles for line in lines)  # which both grounds have


@pytest.mark.parametrize("name", sorted([*SMALL, *INTEGRATED]))
def test_the_page_of_an_example_has_a_title_and_says_what_is_shown(name: str) -> None:
    page = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text())) or ""
    title, rule, blank, *text = page.split("\n")
    assert title
    assert rule == "=" * len(title)
    assert not blank
    assert len("".join(text)) > 60
    from docutils.core import publish_doctree

    said = publish_doctree(page, settings_overrides={"report_level": 5, "raw_enabled": False})
    problems = [m.astext() for m in said.findall(lambda node: node.tagname == "system_message")]
    assert [problem for problem in problems if ":doc:" not in problem and '"doc"' not in problem] == []
