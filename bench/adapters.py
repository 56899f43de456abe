"""Deep LoRA beside LoRA on a real transformer with few samples, each at its own rate: `make bench-adapters`.

STS-B as regression: a cross-encoder, whose [CLS] state of the last layer goes through the pooler and a linear head. The
last layer's six matrices and the pooler's are adapted, the head is trained at 1e-3, everything below is computed once.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import _sentences
from _harness import cases, main, record

SIZES, SEEDS, RATE_SEEDS = (256, 64), range(5), (100, 101, 102)
STEPS, BATCH, HEAD_RATE, HELD_OUT = 400, 16, 1e-3, 500
RANKS = (16, 32, 64)
TARGETS = [*(f"layer.{name}.dense" for name in ("attention.output", "intermediate", "output")), "pooler.dense"]
TARGETS += [f"layer.attention.self.{name}" for name in ("query", "key", "value")]


@dataclass(frozen=True)
class Method:
    """What DeepLoRA is given, and the rates to choose from; without settings the head alone is trained."""

    settings: dict[str, Any] | None
    rates: tuple[tuple[float, float], ...]  # lr, outer ratio
    beta2: float = 0.999  # AdamW's


def ladder(*rates: float) -> tuple[tuple[float, float], ...]:
    return tuple((rate, 1.0) for rate in rates)


DISCREPANT = ((1e-2, 0.1), (1e-2, 0.3), (3e-2, 0.1), (1e-2, 1.0))
METHODS = {
    "head only": Method(None, ladder(1e-3, 1e-2, 1e-1)),
    "LoRA, A normal": Method({"rank": 8, "layers": 2, "start": "normal"}, ladder(1e-5, 3e-5, 1e-4, 3e-4, 1e-3)),
    "LoRA, as peft": Method({"rank": 8, "layers": 2, "start": "kaiming"}, ladder(1e-3, 3e-3, 1e-2, 3e-2)),
    "deep": Method({"rank": 8}, ladder(3e-3, 1e-2, 3e-2)),
    "compressed, rank 8": Method({"rank": 8, "start": "compressed"}, DISCREPANT),
    "compressed, rank 4": Method({"rank": 4, "start": "compressed"}, ()),  # at rank 8's
}


@functools.cache
def prepared(split: str) -> tuple[Any, Any]:
    """Of all pairs what enters the last layer, and the similarity, 0 to 5."""
    import torch

    data = _sentences.labelled("stsb", split)
    hidden = _sentences.hidden_states(_encoder(), data, after=5)
    return hidden, torch.tensor(data.label, dtype=torch.float32)


@functools.cache
def _encoder() -> Any:
    return _sentences.encoder()


def cross_encoder(seed: int) -> Any:
    """The last layer, the pooler and a new head, as a module."""
    import torch

    class CrossEncoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = copy.deepcopy(_encoder().encoder.layer[5])
            self.pooler = copy.deepcopy(_encoder().pooler)
            self.head = torch.nn.Linear(384, 1)

        def forward(self, packed: _sentences.Packed) -> Any:
            states = _sentences.cls_of_layer(self.layer, packed)
            return self.head(self.pooler(states[:, None]))[:, 0]

    torch.manual_seed(seed)
    return CrossEncoder().eval()


class Training:
    """One run: a model with an adapter, and the steps of its training.

    Parameters
    ----------
    method : Method
    rate : (float, float)
        lr, outer ratio.
    n : int
        Training pairs.
    seed : int
        Of the pairs, the head, the adapter and the batches.
    """

    def __init__(self, method: Method, rate: tuple[float, float], n: int, seed: int) -> None:
        import torch

        import dmc.nn

        self.pairs, self.target = prepared("train")
        order = np.random.default_rng(seed).permutation(len(self.target))
        self.chosen, self.held_out = order[:n], order[-HELD_OUT:]
        self.rng, self.model = np.random.default_rng([seed, 1]), cross_encoder(seed)
        groups, self.adapter = (
            [{"params": list(self.model.head.parameters()), "lr": HEAD_RATE if method.settings else rate[0]}],
            None,
        )
        if method.settings is not None:
            first = functools.partial(self.loss_about_the_mean, self.chosen)
            self.adapter = dmc.nn.DeepLoRA(TARGETS, **method.settings, modules_to_save=["head"], seed=seed)
            self.adapter.attach(self.model, first if self.adapter.start == "compressed" else None)
            groups += self.adapter.parameter_groups(*rate)
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, method.beta2), weight_decay=0)

    def batch(self) -> np.ndarray:
        return self.rng.choice(self.chosen, BATCH, replace=False)

    def loss(self, batch: np.ndarray) -> Any:
        return (self.model(self.pairs.take(batch)) - self.target[batch]).square().mean()

    def loss_about_the_mean(self, batch: np.ndarray) -> Any:
        """For the compressed start: else the directions are those that lift all predictions to the mean score."""
        error = self.model(self.pairs.take(batch)) - self.target[batch]
        return (error - error.mean()).square().mean()

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.loss(self.batch()).backward()
        self.optimizer.step()


def train(method: Method, rate: tuple[float, float], n: int, seed: int, judge: str) -> dict[str, Any]:
    """Pearson on the test pairs ("test"), or on training pairs left out ("held out"), and the updates' spectra."""
    import torch

    torch.set_num_threads(1)
    run = Training(method, rate, n, seed)
    for _ in range(STEPS):
        run.step()
    if judge == "test":
        pairs, target = prepared("test")
        found = pearson(run.model, pairs, target, np.arange(len(target)))
    else:
        found = pearson(run.model, run.pairs, run.target, run.held_out)
    return {"pearson": found, **({} if run.adapter is None else learnt(run.adapter))}


def pearson(model: Any, pairs: Any, target: Any, rows: np.ndarray) -> float:
    import torch

    with torch.no_grad():
        found = torch.cat([model(pairs.take(rows[k : k + 256])) for k in range(0, len(rows), 256)])
    value = np.corrcoef(found, target[rows])[0, 1]
    return float(value) if np.isfinite(value) else 0.0


def learnt(adapter: Any) -> dict[str, Any]:
    """Medians over the layers."""
    spectra = [s.numpy() for s in adapter.singular_values().values()]
    weights = [layer.layer.weight for name, layer in adapter.model.named_modules() if name in adapter.updates]
    return {
        "parameters": adapter.n_parameters,
        "second_over_first": float(np.median([s[1] / s[0] for s in spectra])),
        "stable_rank": float(np.median([(s**2).sum() / s[0] ** 2 for s in spectra])),
        "above_a_tenth": float(np.median([(s > 0.1 * s[0]).sum() for s in spectra])),
        "size": float(np.median([s[0] / float(w.norm(p=2)) for s, w in zip(spectra, weights, strict=True)])),
    }


def rates() -> None:
    """Each method's learning rate, by held-out training pairs, with 256 samples, on seeds that no result uses."""
    for name, method in METHODS.items():
        for rate in method.rates:
            found = [train(method, rate, SIZES[0], seed, "held out")["pearson"] for seed in RATE_SEEDS]
            record(
                "adapters",
                f"rate | {name} | {rate[0]:g} | {rate[1]:g}",
                pearson=float(np.mean(found)),
                spread=float(np.std(found)),
            )


def best_rate(name: str) -> tuple[float, float]:
    """What `rates` found best."""
    name = name.replace("rank 4", "rank 8")
    found = cases("adapters", f"rate | {name} | ")
    if not found:
        raise SystemExit("no rates were chosen yet; run this bench's run adapter-rates first")
    rate, ratio = max(found, key=lambda case: found[case]["pearson"]).split(" | ")
    return float(rate), float(ratio)


def few_samples() -> None:
    """Pearson on test pairs with 64 and 256 samples, five seeds, and the spectra of the updates."""
    for n in SIZES:
        for name, method in METHODS.items():
            _record_seeds(f"samples | {n} | {name}", method, best_rate(name), n)


def short_memory() -> None:
    """The deep adapter of ranks 8 and 64 with β2 = .99.

    On the plateau gradients are tiny, and right after it AdamW with .999 still divides by what they were there.
    """
    for width in (64, 8):
        method = replace(METHODS["deep"], settings={"rank": width}, beta2=0.99)
        rate = round(best_rate("deep")[0] * (8 / width) ** 0.5, 6)
        _record_seeds(f"β2 = .99 | {width} | deep", method, (rate, 1.0), 256)


def rank() -> None:
    """Ranks 16 to 64 with 256 pairs, at the rate that was best at rank 8 times √(8/rank).

    A step of Adam changes a factor by rate·√(rows·rank) in spectral norm: so it is the same at every rank. At rank 8's
    own rate the deep adapter of rank 64 diverges (Pearson 0).
    """
    for name in ("LoRA, A normal", "LoRA, as peft", "deep"):
        for width in RANKS:
            method = replace(METHODS[name], settings={**METHODS[name].settings, "rank": width})
            rate, ratio = best_rate(name)
            _record_seeds(f"rank | {width} | {name}", method, (round(rate * (8 / width) ** 0.5, 6), ratio), 256)


def step_cost() -> None:
    """CPU seconds of a step with each adapter, in turns of five steps: medians over 40 turns, beside peft's."""
    turns = {name: _stepper(method) for name, method in METHODS.items() if method.settings is not None}
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(41):
        for name, turn in turns.items():
            began = time.process_time()
            turn()
            seconds[name].append((time.process_time() - began) / 5)
    medians = {name: float(np.median(found[1:])) for name, found in seconds.items()}
    for name, median in medians.items():
        record("adapters", f"step | {name}", cpu_seconds=median, of_lora=median / medians["LoRA, as peft"])


def _stepper(method: Method) -> Callable[[], None]:
    """Five steps of training, whenever it is called."""
    import torch

    torch.set_num_threads(1)
    run = Training(method, (1e-3, 1.0), 256, seed=0)

    def steps() -> None:
        for _ in range(5):
            run.step()

    return steps


def _record_seeds(case: str, method: Method, rate: tuple[float, float], n: int) -> None:
    found = [train(method, rate, n, seed, "test") for seed in SEEDS]
    every = [run.pop("pearson") for run in found]
    medians = {key: float(np.median([run[key] for run in found])) for key in found[0]}
    record(
        "adapters",
        case,
        pearson=float(np.mean(every)),
        spread=float(np.std(every)),
        of_each=[round(value, 4) for value in every],
        rate=rate[0],
        outer_ratio=rate[1],
        **medians,
    )


def where_possible(run: Callable[[], None]) -> Callable[[], None]:
    """The run, or a line that says what it lacks here."""

    @functools.wraps(run)
    def tried() -> None:
        try:
            _sentences.weights_folder()
        except SystemExit as lacking:
            print(f"adapters: left out: {lacking}")
        else:
            run()

    return tried


RUNS = {
    "adapter-rates": where_possible(rates),
    "adapters": where_possible(few_samples),
    "adapter-rank": where_possible(rank),
    "adapter-memory": where_possible(short_memory),
    "adapter-steps": where_possible(step_cost),
}

if __name__ == "__main__":
    main(RUNS)
