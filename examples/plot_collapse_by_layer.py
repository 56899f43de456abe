"""Neural collapse, layer by layer
===============================

What the layers of a small network on handwritten digits do with the classes. Training makes the variance within the
classes over that between them, D, fall from layer to layer, on images that were not trained on a little less. NC1,
which weighs every direction between class means, falls only where the last layer pulls all ten classes apart.

The network has five hidden layers with ReLU and is trained on half of scikit-learn's digits. D is that of Wang et
al., arXiv 2311.02960, NC1 that of Papyan, Han & Donoho, arXiv 2008.08186. `dmc.nn.collapse_by_layer` measures any
torch model in this way, by hooks, in one pass over a loader.
"""

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import dmc.nn
from dmc import plots

WIDTH, HIDDEN = 64, 5


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Identity()]  # whose output are the images
    for _ in range(HIDDEN):
        layers.append(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU()))
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, n_epochs: int) -> None:
    pairs = torch.utils.data.TensorDataset(images, labels)
    loader = torch.utils.data.DataLoader(pairs, 64, shuffle=True, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
    for _ in range(n_epochs):
        for x, y in loader:
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimiser.step()


def main(folder: str = ".", n_epochs: int = 60) -> Path:
    images, labels = digits()
    half = len(labels) // 2
    seen, unseen = (images[:half], labels[:half]), (images[half:], labels[half:])
    layers = [str(i) for i in range(HIDDEN + 1)]
    model = network()
    measured = {"at the start": dmc.nn.collapse_by_layer(model, [seen], layers)}
    train(model, *seen, n_epochs)
    measured["trained"] = dmc.nn.collapse_by_layer(model, [seen], layers)
    measured["trained, unseen images"] = dmc.nn.collapse_by_layer(model, [unseen], layers)
    styles = [
        {"color": plots.SOFT, "linestyle": ":", "marker": "D"},
        {"color": plots.FIRST, "marker": "o"},
        {"color": plots.SECOND, "linestyle": "--", "marker": "s"},
    ]
    panels = [
        plots.Panel(
            title,
            "layer (0: the images)",
            label,
            [
                plots.Line(range(HIDDEN + 1), [getattr(by_layer[i], name) for i in layers], who, style)
                for (who, by_layer), style in zip(measured.items(), styles, strict=True)
            ],
            yscale="log",
            note="five hidden layers of width 64, 10 classes",
        )
        for name, title, label in (
            ("within_to_between", "D falls from layer to layer", "D: variance within ÷ between"),
            ("nc1", "NC1 falls at the last layer", "NC1: tr(Σ_W Σ_B⁺)/10"),
        )
    ]
    path = Path(folder) / "collapse_by_layer.png"
    plots.panels(panels, path, theme="both")
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
