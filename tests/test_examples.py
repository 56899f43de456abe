"""Each example runs, small, and draws something."""

from pathlib import Path

import numpy as np
import pytest

from example_scripts import EXAMPLES, example

SMALL = {
    "plot_bures_wasserstein": {"conditions": (1, 10), "max_steps": 30},
    "plot_class_separation": {"n_steps": 20},
    "plot_collapse_by_layer": {"n_epochs": 2},
    "plot_comparison": {"max_steps": 20},
    "plot_compressed_follows_full": {"n_steps": 30},
    "plot_deep_lora": {"ranks": (2, 4), "seeds": 2, "n_steps": 20},
    "plot_depth_and_rank": {"widths": (4, 6), "scales": (0.1, 0.05), "seeds": 2, "max_steps": 30},
    "plot_law_of_parsimony": {"n_steps": 20},
    "plot_metro_passengers": {"stations": 12},
    "plot_outer_rate": {"n_steps": 40},
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
def test_example(name: str, tmp_path: Path) -> None:
    from PIL import Image

    drawn = example(name).main(str(tmp_path), **SMALL[name])
    assert np.asarray(Image.open(drawn).convert("L")).std() > 5
