"""Evaluation mode, of a whole model for a while or of one module for good; each module gets its own mode back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

__all__ = ["evaluating", "run_in_evaluation_mode"]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, without gradients, within a ``with`` block."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def run_in_evaluation_mode(module: nn.Module) -> list[RemovableHandle]:
    """Let a module run in evaluation mode, whatever its own mode, as for batch normalisation with frozen statistics.

    Returns
    -------
    list of RemovableHandle
        Handles of the hooks that do it.
    """
    mode = _Mode()
    return [
        module.register_forward_pre_hook(mode.before),
        module.register_forward_hook(mode.after, always_call=True),
    ]


class _Mode:
    """A module's own mode while it runs; an object and not a closure, so that a copy of the module has its own."""

    def __init__(self) -> None:
        self.training = False

    def before(self, module: nn.Module, given: Any) -> None:
        self.training, module.training = module.training, False

    def after(self, module: nn.Module, given: Any, output: Any) -> None:
        module.training = self.training
