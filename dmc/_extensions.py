"""The door to the compiled code, dmc._core and dmc._cuda. Where one is missing, the reason and the remedy are kept."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

core: Any
cuda: Any
missing: str | None  # why there is no core
cuda_missing: str | None

# The core's index of one side's entries: checked, cut into pieces of work, and without types as the core is.
Entries: TypeAlias = Any

REMEDY = "install a C++17 compiler (g++ or clang++), then install dmc again (pip install --force-reinstall --no-deps .)"
CUDA_REMEDY = (
    "where there is an NVIDIA GPU: install a CUDA toolkit (nvcc), then dmc again "
    "(DMC_CUDA=1 pip install --force-reinstall --no-deps .)"
)


def _reason(module: str, error: ImportError) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name == module:
        return f"its module {module} was not built"
    return f"{module} does not load ({error})"


try:
    import dmc._core as core  # type: ignore[import-not-found, no-redef, unused-ignore]
except ImportError as error:
    core, missing = None, _reason("dmc._core", error)
else:
    missing = None

try:
    import dmc._cuda as cuda  # type: ignore[import-not-found, no-redef, unused-ignore]
except ImportError as error:
    cuda, cuda_missing = None, _reason("dmc._cuda", error)
else:
    cuda_missing = None


class Obstacle(NamedTuple):
    """Why something cannot be used here, and what to do."""

    reason: str
    remedy: str


def cuda_obstacle(device: int = 0) -> Obstacle | None:
    """Why the CUDA kernels cannot run on a GPU of this machine; None where they can. Asks the driver."""
    if cuda_missing is not None:
        return Obstacle(cuda_missing, CUDA_REMEDY)
    found = cuda.obstacle(device)
    return None if found is None else Obstacle(*found)
