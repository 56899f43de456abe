"""Whether there is a GPU to test on."""

from functools import cache


@cache
def missing() -> str:
    """Why there is nothing to test on; empty where there is a GPU that the CUDA kernels serve."""
    import torch

    from dmc.kernels import torch_compiled

    obstacle = torch_compiled.cuda_obstacle()
    if obstacle is not None:
        return f"{obstacle.reason}; {obstacle.remedy}"
    return "" if torch.cuda.is_available() else "torch finds no GPU; see torch.cuda.init()"
