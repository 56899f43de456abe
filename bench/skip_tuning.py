"""A small transformer fine-tuned to classify sentences in four ways, with few samples: `make bench-adapters`.

SST-2 on all-MiniLM-L6-v2: the [CLS] state of the last layer and a new linear head. Trained are the head alone, the
head and the fifth of six layers, the same with that layer's [CLS] state added to the features, or everything. The head
learns at 1e-3, the rest at a rate chosen for each way on training sentences that were left out. What is below the
lowest layer that is trained is computed once.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np

import _sentences
from _harness import cases, main, record

SIZES, SEEDS, RATE_SEEDS = (64, 1024), range(5), (100,)
STEPS, BATCH, HEAD_RATE = 100, 16, 1e-3
POOL, HELD_OUT = 2400, 600  # training sentences to draw samples from, and to choose rates on
LAYER = 4  # of 0 to 5
RATES = {
    "linear probe": (1e-3, 3e-3, 1e-2, 3e-2),
    "one layer": (1e-4, 3e-4, 1e-3, 3e-3),
    "skip connection": (1e-4, 3e-4, 1e-3, 3e-3),
    "everything": (1e-4, 3e-4),
}


def below(way: str) -> int:
    """How many of the lower layers are frozen, and computed once; of everything not even the embeddings are."""
    return {"linear probe": 6, "everything": 0}.get(way, LAYER)


@functools.cache
def _encoder() -> Any:
    return _sentences.encoder()


@functools.cache
def sentences(split: str) -> tuple[Any, Any]:
    """Labelled sentences, and their classes as a tensor; of the training ones as many as are used."""
    import torch

    data = _sentences.labelled("sst2", split)
    if split == "train":
        data = data.take(np.random.default_rng(0).permutation(len(data))[: POOL + HELD_OUT])
    return data, torch.tensor(data.label, dtype=torch.int64)


@functools.cache
def inputs(split: str, frozen: int) -> Any:
    """What enters the lowest layer that may be trained: hidden states, or token ids where nothing is frozen."""
    import torch

    data, _ = sentences(split)
    if frozen == 6:  # only [CLS] goes on
        found = inputs(split, LAYER)
        model = classifier(LAYER, 0)
        model.head = torch.nn.Identity()
        rows = np.arange(len(found.lengths))
        with torch.no_grad():
            cls = torch.cat([model(found.take(rows[k : k + 64])) for k in range(0, len(rows), 64)])
        return _sentences.Packed(cls, torch.ones(len(rows), dtype=torch.int64))
    if frozen:
        return _sentences.hidden_states(_encoder(), data, after=frozen)
    tokens = [torch.tensor(ids) for ids, _ in _sentences.token_ids(data)]
    return _sentences.Packed(torch.cat(tokens), torch.tensor([len(ids) for ids in tokens]))


def classifier(frozen: int, seed: int) -> Any:
    """The encoder from a layer on, with a new head on [CLS], as a module of packed sequences."""
    import torch

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embeddings = None if frozen else copy.deepcopy(_encoder().embeddings)
            self.layers = torch.nn.ModuleList(copy.deepcopy(layer) for layer in _encoder().encoder.layer[frozen:])
            self.head = torch.nn.Linear(384, 2)

        def forward(self, packed: _sentences.Packed) -> Any:
            n, longest = len(packed.lengths), int(packed.lengths.max())
            inside = torch.arange(longest) < packed.lengths[:, None]
            hidden = packed.hidden.new_zeros(n, longest, *packed.hidden.shape[1:])
            hidden[inside] = packed.hidden
            if self.embeddings is not None:
                hidden = self.embeddings(hidden)
            mask = torch.zeros(n, 1, 1, longest).masked_fill(~inside[:, None, None], -1e9)
            for layer in self.layers[:-1]:
                hidden = layer(hidden, mask)
            if len(self.layers) == 0:
                return self.head(hidden[:, 0])
            # Of the last layer the [CLS] state alone is needed.
            return self.head(
                _sentences.cls_of_layer(self.layers[-1], _sentences.Packed(hidden[inside], packed.lengths))
            )

    torch.manual_seed(seed)
    return Classifier().requires_grad_(True).eval()


def attached(way: str, model: Any) -> Any:
    import dmc.nn

    layer = "layers.0"  # the lowest that is not frozen
    made = {
        "linear probe": lambda: dmc.nn.LinearProbe("head"),
        "one layer": lambda: dmc.nn.LayerTuning(layer, "head"),
        "skip connection": lambda: dmc.nn.SkipConnectionTuning(layer, "head", lambda output: output[:, 0]),
        "everything": dmc.nn.FullTuning,
    }
    return made[way]().attach(model)


def train(way: str, rate: float, n: int, seed: int, judge: str) -> dict[str, float]:
    """One run: accuracy on the development sentences ("dev"), or on training sentences left out, and NC1."""
    import torch
    from torch.nn.functional import cross_entropy

    torch.set_num_threads(1)
    data, target = inputs("train", below(way)), sentences("train")[1]
    chosen = np.random.default_rng(seed).permutation(POOL)[:n]
    rng, model = np.random.default_rng([seed, 1]), classifier(below(way), seed)
    tuning = attached(way, model)
    head = {id(p) for p in model.head.parameters()}
    groups = [{"params": list(model.head.parameters()), "lr": rate if way == "linear probe" else HEAD_RATE}]
    groups += [{"params": rest, "lr": rate} for rest in [[p for p in tuning.parameters() if id(p) not in head]] if rest]
    optimizer = torch.optim.AdamW(groups, weight_decay=0)
    for _ in range(STEPS):
        batch = rng.choice(chosen, BATCH, replace=False)
        optimizer.zero_grad()
        cross_entropy(model(data.take(batch)), target[batch]).backward()
        optimizer.step()
    if judge == "dev":
        found = {"accuracy": accuracy(model, inputs("dev", below(way)), sentences("dev")[1])}
        found["nc1"] = collapse(model, data, target, chosen)
    else:
        rows = np.arange(POOL, POOL + HELD_OUT)
        found = {"accuracy": accuracy(model, data.take(rows), target[rows])}
    return {**found, "parameters": tuning.n_parameters}


def batches(packed: Any, rows: np.ndarray, size: int = 64) -> list[np.ndarray]:
    """Of like lengths: padding costs."""
    order = rows[np.argsort(packed.lengths[rows].numpy(), kind="stable")]
    return [order[k : k + size] for k in range(0, len(order), size)]


def accuracy(model: Any, packed: Any, target: Any) -> float:
    import torch

    right = 0
    with torch.no_grad():
        for rows in batches(packed, np.arange(len(target))):
            right += int((model(packed.take(rows)).argmax(1) == target[rows]).sum())
    return right / len(target)


def collapse(model: Any, packed: Any, target: Any, chosen: np.ndarray) -> float:
    """NC1 of what enters the head, on the samples that were trained on."""
    import dmc.nn

    loader = [((packed.take(rows),), target[rows]) for rows in batches(packed, chosen)]
    return float(dmc.nn.collapse_by_layer(model, loader, ["head"], classifier="head")["head.input"].nc1)


def rates() -> None:
    """Each way's learning rate at each size, by held-out training sentences, on seeds that no result uses."""
    for n in SIZES:
        for way, candidates in RATES.items():
            for rate in candidates:
                found = [train(way, rate, n, seed, "held out")["accuracy"] for seed in RATE_SEEDS]
                record("skip_tuning", f"rate | {n} | {way} | {rate:g}", accuracy=float(np.mean(found)))


def best_rate(n: int, way: str) -> float:
    """What `rates` found best; of equal ones the smallest."""
    found = cases("skip_tuning", f"rate | {n} | {way} | ")
    if not found:
        raise SystemExit("no rates were chosen yet; run this bench's run skip-tuning-rates first")
    return float(max(sorted(found, key=float), key=lambda rate: found[rate]["accuracy"]))


def skip_tuning() -> None:
    """SST-2 with 64 and 1,024 samples, five seeds: accuracy, share of the parameters and NC1, four ways."""
    whole = sum(p.numel() for name, p in _encoder().named_parameters() if "pooler" not in name) + 2 * 385
    for n in SIZES:
        for way in RATES:
            rate = best_rate(n, way)
            runs = [train(way, rate, n, seed, "dev") for seed in SEEDS]
            each = {key: [run[key] for run in runs] for key in runs[0]}
            record(
                "skip_tuning",
                f"samples | {n} | {way}",
                accuracy=float(np.mean(each["accuracy"])),
                spread=float(np.std(each["accuracy"])),
                of_each=[round(value, 4) for value in each["accuracy"]],
                nc1=float(np.median(each["nc1"])),
                nc1_of_each=[round(value, 4) for value in each["nc1"]],
                rate=rate,
                share=each["parameters"][0] / whole,
            )


RUNS = {"skip-tuning-rates": rates, "skip-tuning": skip_tuning}

if __name__ == "__main__":
    main(RUNS)
