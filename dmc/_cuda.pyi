"""The CUDA kernels (csrc/bind_cuda.cpp). Arrays are anything with __cuda_array_interface__, as torch's tensors."""

from typing import Any

WIDTHS: tuple[int, ...]
LOSS_SUMS: int

class Lines:
    def __init__(
        self,
        indices: Any,
        light: Any,
        heavy: Any,
        long_lines: Any,
        lines: int,
        other_lines: int,
        partials: int,
    ) -> None: ...
    @property
    def segments(self) -> int: ...
    @property
    def partials(self) -> int: ...

def obstacle(device: int = 0) -> tuple[str, str] | None: ...
def masked_product(lines: Lines, own: Any, other: Any, form: str, out: Any, stream: int) -> None: ...
def residual_gradient(
    lines: Lines,
    own: Any,
    other: Any,
    form: str,
    target: Any,
    weights: Any,
    d_own: Any,
    loss: Any,
    losses: Any,
    partials: Any,
    stream: int,
) -> None: ...
