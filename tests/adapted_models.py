"""Small models with dense layers, and a regression to train their adapters on."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dmc.nn import DeepLoRA


class Encoder(nn.Module):
    """Two blocks with an attention of their own names, and a head."""

    def __init__(self, width: int = 12, blocks: int = 2) -> None:
        super().__init__()
        self.embed = nn.Linear(6, width)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"query": nn.Linear(width, width), "value": nn.Linear(width, 2 * width)})
            for _ in range(blocks)
        )
        self.head = nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.embed(x))
        for block in self.blocks:
            gate, value = block["value"](x).chunk(2, -1)
            x = x + torch.tanh(block["query"](x)) * torch.sigmoid(gate) * value
        return self.head(x)


class Conv1D(nn.Module):
    """As transformers has it for GPT-2: a dense layer whose weight is (inputs, outputs)."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight = nn.Parameter(torch.randn(nx, nf) / nx**0.5)
        self.bias = nn.Parameter(torch.randn(nf))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight + self.bias


def batch(samples: int = 40, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(samples, 6, generator=rng), torch.randn(samples, 3, generator=rng)


def train(model: nn.Module, groups: list[dict], steps: int = 30, seed: int = 0) -> list[float]:
    """The losses on the way."""
    x, y = batch(seed=seed)
    optimizer, losses = torch.optim.AdamW(groups, weight_decay=0), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def dealt(group: Any, size: int) -> dict[str, Any]:
    """Each process trains on its share of one batch; what becomes of the factors."""
    torch.manual_seed(0)
    model, (x, y) = Encoder(), batch()
    adapter = DeepLoRA(["query", "value"], 3, scale=0.3).attach(model)
    spread = nn.parallel.DistributedDataParallel(model) if size > 1 else model
    if size > 1:
        x, y = x[group.rank :: size], y[group.rank :: size]
    optimizer = torch.optim.SGD(adapter.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.mse_loss(spread(x), y).backward()
        optimizer.step()
    return {key: value.numpy() for key, value in adapter.state_dict().items()}
