"""What the tests of the torch operators share: arguments as tensors, and when two answers agree."""

from __future__ import annotations

from typing import Any

import torch

from dmc import _arrays
from dmc.kernels import torch_operators
from kernel_suite import Case


def tensors(case: Case, device: str = "cpu") -> list[torch.Tensor]:
    """The arguments of the fused operator: left, right, the pattern's five, targets, and weights if there are any."""
    sides, orders = (case.left, case.right), (*case.target, *(case.weights or ()))
    given = (
        *map(torch.from_numpy, sides),
        *torch_operators.pattern_tensors(case.pattern),
        *(_arrays.place(values, "cpu") for values in orders),  # which may be read-only
    )
    return [tensor.to(device) for tensor in given]


def agree(got: Any, wanted: Any) -> None:
    """Equal up to the rounding of their dtype, against the largest number of each answer; wherever they are."""
    if isinstance(got, torch.Tensor):
        got, wanted = (got,), (wanted,)
    for a, b in zip(got, wanted, strict=True):
        assert (a.dtype, a.shape, a.is_contiguous()) == (b.dtype, b.shape, True)
        tolerance = 200 * torch.finfo(b.dtype).eps * max(1.0, float(b.detach().abs().max()) if b.numel() else 0.0)
        torch.testing.assert_close(a.detach().cpu(), b.detach().cpu(), rtol=0, atol=tolerance)
