"""What several test files share."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cuda_stand_in as stand_in


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


@pytest.fixture(scope="session")
def cuda_stand_in(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """dmc._cuda as compiled for the processor."""
    if stand_in.COMPILER is None:
        pytest.skip("there is no g++ to compile the CUDA kernels for the processor")
    return stand_in.build(tmp_path_factory.mktemp("cuda"))


@cache
def no_gpu() -> str:
    """Why there is nothing to test on; empty where there is a GPU that the CUDA kernels serve."""
    import torch

    from dmc import torch_compiled

    obstacle = torch_compiled.cuda_obstacle()
    if obstacle is not None:
        return f"{obstacle.reason}; {obstacle.remedy}"
    return "" if torch.cuda.is_available() else "torch finds no GPU; see torch.cuda.init()"


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """By torch, on the processor, and on a GPU where there is one."""
    if request.param == "cuda" and no_gpu():
        pytest.skip(no_gpu())
    return str(request.param)
