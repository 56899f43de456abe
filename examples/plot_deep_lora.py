"""Deep LoRA beside LoRA
=====================

The error of an adapter on unseen inputs by its rank, and the singular values of what it learned. The update of three
layers has a rank of about one, whatever rank they are given, and errs least; the two layers of LoRA use every
direction that they have.

A network with one hidden layer is to follow another that differs from it in the hidden layer's weights by a matrix of
rank one, from 160 noisy samples. The adapters are trained by full-batch AdamW, each method at a rate of its own.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dmc import plots
from dmc.nn import DeepLoRA

INPUTS, HIDDEN, SAMPLES, NOISE = 32, 48, 160, 0.2
METHODS = {  # at rates chosen on seeds 100 and 101, ranks 4 and 32, of 3e-4, 1e-3, 3e-3 and 1e-2
    "LoRA, A normal": ({"layers": 2, "start": "normal"}, 3e-3),
    "LoRA, as peft": ({"layers": 2, "start": "kaiming"}, 3e-4),
    "deep": ({}, 1e-3),
}


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 4))
    nn.init.normal_(model[0].weight, std=INPUTS**-0.5)
    nn.init.normal_(model[2].weight, std=HIDDEN**-0.5)
    return model


def learnt(settings: dict, rate: float, rank: int, seed: int, n_steps: int) -> tuple[float, np.ndarray]:
    """The error on unseen inputs over that of the network as it was, and the update's singular values."""
    model, target = network(seed), network(seed)
    with torch.no_grad():
        change = torch.outer(torch.randn(HIDDEN), torch.randn(INPUTS)) / (HIDDEN * INPUTS) ** 0.5
        target[0].weight += 6 * change
        seen, unseen = torch.randn(SAMPLES, INPUTS), torch.randn(4000, INPUTS)
        y, wanted = target(seen) + NOISE * torch.randn(SAMPLES, 4), target(unseen)
        before = nn.functional.mse_loss(model(unseen), wanted)
    adapter = DeepLoRA(["0"], rank, **settings, seed=seed).attach(model)
    optimizer = torch.optim.AdamW(adapter.parameter_groups(rate), weight_decay=0)
    for _ in range(n_steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(seen), y).backward()
        optimizer.step()
    with torch.no_grad():
        error = nn.functional.mse_loss(model(unseen), wanted) / before
    return float(error) ** 0.5, adapter.singular_values()["0"].numpy()


def main(folder: str = ".", ranks: tuple[int, ...] = (2, 4, 8, 16, 32), seeds: int = 3, n_steps: int = 400) -> Path:
    errors, spectra = [], []
    for name, (settings, rate) in METHODS.items():
        found = [[learnt(settings, rate, rank, seed, n_steps) for seed in range(seeds)] for rank in ranks]
        each = np.asarray([[error for error, _ in runs] for runs in found])
        style = plots.style(name)
        errors.append(
            plots.Line(range(len(ranks)), np.median(each, axis=1), name, style, (each.min(axis=1), each.max(axis=1)))
        )
        s = np.median([s / s[0] for _, s in found[-1]], axis=0)
        style |= {"markersize": 3}
        spectra.append(plots.Line(np.arange(1, len(s) + 1), np.maximum(s, 1e-4), name, style))
    path = Path(folder) / "deep_lora.png"
    plots.panels(
        [
            plots.Panel(
                "Three layers err least",
                "rank given to the adapter",
                "error, unseen inputs ÷ before",
                errors,
                xticks=[str(rank) for rank in ranks],
                note=f"median and range of {seeds} seeds",
            ),
            plots.Panel(
                "Their update has a rank of about one",
                "singular value's number",
                "singular value ÷ largest",
                spectra,
                yscale="log",
                note=f"rank given: {ranks[-1]}; drawn no lower than 1e-4",
            ),
        ],
        path,
        theme="both",
    )
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
