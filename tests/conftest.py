"""What several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real ratings: the folder that DMC_DATA names, or shared/data beside the project."""
    folder = Path(os.environ.get("DMC_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"there is no folder {folder}: put the rating data there, or name their folder in DMC_DATA")
    return folder
