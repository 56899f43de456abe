"""dmc._cuda compiled for the processor: the same binding and kernels, with a stand-in for CUDA (csrc/lab)."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pybind11

CSRC = Path(__file__).parent.parent / "csrc"
COMPILER = shutil.which("g++")
NVCC = shutil.which("nvcc", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/cuda/bin"]))
INCLUDES = ("-isystem", pybind11.get_include(), "-isystem", sysconfig.get_path("include"))


def compiled(*command: object) -> str:
    """What a compiler says, which has to succeed."""
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stderr


def build(folder: Path) -> Any:
    """The module, compiled into a folder without a warning."""
    target = folder / "_cuda.so"
    options = ("-std=c++20", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-DDMC_STAND_IN")
    warnings = ("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas")  # the kernels' loops say how to be unrolled
    sources = (CSRC / "bind_cuda.cpp", "-x", "c++", CSRC / "masked_product_cuda.cu")
    compiled(COMPILER, *options, *warnings, *INCLUDES, *sources, "-o", target)
    spec = importlib.util.spec_from_file_location("_cuda", target)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Seen:
    """An array of the processor as if it were a GPU's."""

    def __init__(self, array: Any, **changes: Any) -> None:
        self.array = array  # its memory
        self.__cuda_array_interface__ = {**array.__array_interface__, **changes}
