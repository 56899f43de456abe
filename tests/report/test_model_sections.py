"""Sections on the model itself: the search and the descent of preferences are those of its history."""

import numpy as np
import pytest

from dmc import Recommender
from dmc.report import model_sections
from dmc.report.digits import Measured


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    users, items = np.nonzero(
        rng.random((150, 80)) < np.where((np.arange(150)[:, None] + np.arange(80)) % 2, 0.5, 0.05)
    )
    return Recommender(8, feedback="implicit").fit({"user": users, "item": items})


def test_the_search(model):
    trials = [record for record in model.history_ if "ndcg" in record]
    section = model_sections.search(model, trials)
    assert [row[1:] for row in section.rows] == [
        (trial["rank"], trial["ridge"], Measured(trial["ndcg"], trial["noise"])) for trial in trials
    ]
    assert "has factors 8 wide; with rank 8 a ridge of" in section.text
    (line,) = section.panel.lines
    assert sorted(line.x) == line.x.tolist() == sorted(trial["ridge"] for trial in trials)
    assert model_sections.search(model, []) is None


def test_the_descent(model):
    section = model_sections.descent(model)
    values = [record["value"] for record in model.history_ if record["phase"] == "fit" and "value" in record]
    (line,) = section.panel.lines
    np.testing.assert_allclose(line.y, 100 * (np.array(values) / values[-1] - 1))
    assert line.x[0] == 1
    assert line.y[-1] == 0
    assert model_sections.training(Recommender().fit({"user": [1], "item": [1], "rating": [3]})) is not None


def test_the_spectrum_and_the_neighbours(model):
    section = model_sections.spectrum(model)
    sizes = np.linalg.svd(model.factors_.U.astype(float) @ model.factors_.V.T, compute_uv=False)
    assert section.rows[0][1] == pytest.approx(sizes[0] / np.sqrt(150 * 80), rel=1e-4)
    assert f"{model.rank_} directions" in section.text
    names = np.array([f"item {id}" for id in model.items_.ids])
    rows = model_sections.nearest(model, names).rows
    assert len(rows) == model_sections.MOST_RATED
    found = model.similar_items(int(rows[0][0].split()[1]), model_sections.NEIGHBOURS)
    assert rows[0][2].startswith(f"item {found['similar'][0]} {found['similarity'][0]:.2f}; ")
