"""What three layers learn has a rank of about one, whatever the rank they are given: Deep LoRA beside LoRA.

A network of one hidden layer is to follow another one that differs from it in the hidden layer's weights, by a matrix
of rank one, from 160 noisy samples. Adapters of rank 2 to 32, by full-batch AdamW, each method at a rate of its own.
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
    "LoRA, A standard normal": ({"layers": 2, "start": "normal"}, 3e-3),
    "LoRA, A uniform (peft)": ({"layers": 2, "start": "kaiming"}, 3e-4),
    "three layers, ε = 1e-3": ({}, 1e-3),
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


def main(folder: str = ".", ranks: tuple[int, ...] = (2, 4, 8, 16, 32), seeds: int = 5, n_steps: int = 400) -> Path:
    errors, spectra = [], []
    for k, (name, (settings, rate)) in enumerate(METHODS.items()):
        found = [[learnt(settings, rate, rank, seed, n_steps) for seed in range(seeds)] for rank in ranks]
        each = np.asarray([[error for error, _ in runs] for runs in found])
        style = {"color": plots.COLORS[k], "marker": "o"}
        errors.append(plots.Line(ranks, np.median(each, axis=1), name, style, (each.min(axis=1), each.max(axis=1))))
        s = np.median([s / s[0] for _, s in found[-1]], axis=0)
        spectra.append(plots.Line(np.arange(1, len(s) + 1), np.maximum(s, 1e-4), name, style))
    path = Path(folder) / "deep_lora.png"
    plots.panels(
        [
            plots.Panel(
                f"Three layers err least, and no more as the rank grows\n(median and range of {seeds} seeds)",
                "rank given to the adapter",
                "error on unseen inputs, of that before",
                errors,
                xscale="log",
            ),
            plots.Panel(
                f"Their update has a rank of about one\n(rank given: {ranks[-1]})",
                "singular value's number",
                "singular value, of the largest",
                spectra,
                yscale="log",
            ),
        ],
        path,
    )
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
