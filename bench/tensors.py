"""Tensors of three ways: planted ones of low tubal rank, metro passengers, and a photograph.

The constants of the completion were chosen on seeds 200–399 and masks 100–105; what stands here has others.
"""

import time
import warnings
from collections.abc import Callable
from itertools import product

import numpy as np
from scipy.io import loadmat

import dmc
from _harness import data_folder, main, record
from _planted_tensors import Case, make, oracle

SEEDS = range(5)
CASES = [
    Case((50, 50, 20), 3, 1.5),
    Case((50, 50, 20), 3, 1.2),
    Case((100, 100, 30), 3, 2),
    Case((50, 50, 20), 3, 1.5, condition=100),
    Case((50, 50, 20), 3, 3, noise=0.1),
    Case((50, 50, 20), 3, 2, noise=0.1),
]
HIDDEN = [("random", 0.4), ("random", 0.7), ("days", 0.4)]  # how, and how much


def planted() -> None:
    """Planted tensors of tubal rank 3, nothing given: relative error, multi-rank, and the oracle's error with noise."""
    for case in CASES:
        for told in ("nothing told", "tube told"):
            rows = [_planted(case, seed, told == "tube told") for seed in SEEDS]
            errors, exact, seconds, cpu, ratios = (list(column) for column in zip(*rows, strict=True))
            record(
                "tensors",
                f"planted | {case} | {told}",
                found=sum(error <= 1e-10 for error in errors),
                largest_error=max(errors),
                multi_rank_exact=sum(exact),
                largest_ratio_to_oracle=max(ratios) if case.noise else None,
                seeds=len(errors),
                median_seconds=float(np.median(seconds)),
                most_seconds=max(seconds),
                most_processor_seconds=max(cpu),
            )


def _planted(case: Case, seed: int, told: bool) -> tuple[float, bool, float, float, float]:
    tensor = make(case, seed)
    began, cpu = time.perf_counter(), time.process_time()
    model = dmc.TensorCompletion(tube=2 if told else "auto").fit(tensor.seen, mask=tensor.mask)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    error = tensor.error(model.complete())
    ratio = error / tensor.error(oracle(tensor, case.rank)) if case.noise else 1.0
    exact = model.tube_ == 2 and bool((model.multi_rank_ == case.rank).all())
    return error, exact, seconds, cpu, ratio


def passengers() -> np.ndarray:
    """(stations, days, times) passengers."""
    return np.asarray(loadmat(data_folder() / "tensors" / "hangzhou_metro.mat")["tensor"], float)


def observed(shape: tuple[int, int, int], kind: str, missing: float, seed: int) -> np.ndarray:
    """What is seen: entries at random, or all of a station's day or nothing."""
    rng = np.random.default_rng(seed)
    if kind == "random":
        return rng.random(shape) >= missing
    return np.repeat(rng.random(shape[:2]) >= missing, shape[2]).reshape(shape)


def judged(found: np.ndarray, truth: np.ndarray, seen: np.ndarray) -> tuple[float, float, float]:
    """RMSE at the missing entries; there, where anybody passed (as the published figures have it), RMSE and MAPE."""
    missing = (found - truth)[~seen]
    counted = (~seen) & (truth > 0)
    off = np.abs(found - truth)[counted]
    return (
        float(np.sqrt(np.mean(missing**2))),
        float(np.sqrt(np.mean(off**2))),
        float(np.mean(off / truth[counted])),
    )


def _by_tensor(tube: int | str, roots: bool) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def complete(truth: np.ndarray, seen: np.ndarray) -> np.ndarray:
        model = dmc.TensorCompletion(tube=tube, min_value=0).fit(np.sqrt(truth) if roots else truth, mask=seen)
        found = model.complete()
        return found**2 if roots else found

    return complete


def _by_unfolding(axis: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def complete(truth: np.ndarray, seen: np.ndarray) -> np.ndarray:
        matrix, mask = (np.moveaxis(a, axis, 2).reshape(-1, a.shape[axis]) for a in (np.sqrt(truth), seen))
        others = [n for k, n in enumerate(truth.shape) if k != axis]
        found = dmc.MatrixCompletion(min_value=0).fit(matrix, mask=mask).complete()
        return np.moveaxis(found.reshape(*others, -1), 2, axis) ** 2

    return complete


def metro() -> None:
    """Metro passengers, tube = time: 40 % and 70 % missing at random, and whole days, five masks each."""
    truth = passengers()
    for kind, missing in HIDDEN:
        for roots in (False, True):
            rows = []
            for seed in SEEDS:
                seen, began, cpu = observed(truth.shape, kind, missing, seed), time.perf_counter(), time.process_time()
                found = _quietly(_by_tensor(2, roots), truth, seen)
                took = time.perf_counter() - began, time.process_time() - cpu
                rows.append((*judged(found, truth, seen), *took))
            rmse, counted, mape, seconds, cpu = np.array(rows).T
            record(
                "tensors",
                f"metro | {missing:.0%} {kind} | {'square roots' if roots else 'counts'}",
                rmse=float(np.median(rmse)),
                largest_rmse=float(rmse.max()),
                rmse_where_anybody=float(np.median(counted)),
                mape=float(np.median(mape)),
                largest_mape=float(mape.max()),
                masks=len(rows),
                most_seconds=float(seconds.max()),
                most_processor_seconds=float(cpu.max()),
            )


def days_by_unfoldings() -> None:
    """Whole days of the metro missing: the two unfoldings without missing rows or columns, five masks."""
    truth = passengers()
    for axis in (0, 1):
        errors = [_error(_by_unfolding(axis), truth, observed(truth.shape, "days", 0.4, seed)) for seed in SEEDS]
        record(
            "tensors",
            f"metro | 40% days | unfolding {axis}, square roots",
            rmse=float(np.median(errors)),
            largest_rmse=max(errors),
            masks=len(errors),
        )


def candidates() -> None:
    """Six masks of the metro: each tube and each unfolding alone, and which of them "auto" takes."""
    truth = passengers()
    for (kind, missing), seed in product(HIDDEN, (0, 1)):
        seen = observed(truth.shape, kind, missing, seed)
        errors = {f"tube {axis}": _error(_by_tensor(axis, True), truth, seen) for axis in range(3)}
        errors |= {f"unfolding {axis}": _error(_by_unfolding(axis), truth, seen) for axis in range(3)}
        began, cpu = time.perf_counter(), time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = dmc.TensorCompletion(min_value=0).fit(np.sqrt(truth), mask=seen)
        took = time.perf_counter() - began, time.process_time() - cpu
        taken = f"unfolding {model.unfolding_}" if model.tube_ is None else f"tube {model.tube_}"
        record(
            "tensors",
            f"candidates | {missing:.0%} {kind}, mask {seed}",
            **{name.replace(" ", "_"): error for name, error in errors.items()},
            best=min(errors, key=lambda name: errors[name]),
            taken=taken,
            rmse=judged(model.complete() ** 2, truth, seen)[0],
            seconds=took[0],
            processor_seconds=took[1],
        )


def _error(complete: Callable[[np.ndarray, np.ndarray], np.ndarray], truth: np.ndarray, seen: np.ndarray) -> float:
    return judged(_quietly(complete, truth, seen), truth, seen)[0]


def _quietly(
    complete: Callable[[np.ndarray, np.ndarray], np.ndarray], truth: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return complete(truth, seen)


def photograph() -> None:
    """A photograph (scikit-learn's china.jpg, 2×2 and 4×4 pixels averaged), 70 % missing: entries, and whole pixels."""
    from sklearn.datasets import load_sample_image

    whole = load_sample_image("china.jpg").astype(float)
    for block in (4, 2):
        m, n = (length // block for length in whole.shape[:2])
        image = whole[: m * block, : n * block].reshape(m, block, n, block, 3).mean((1, 3))
        for kind in ("entries", "pixels"):
            rng = np.random.default_rng(0)
            seen = rng.random(image.shape if kind == "entries" else (m, n, 1)) >= 0.7
            seen = np.broadcast_to(seen, image.shape)
            for tube in (2, "auto"):
                began, cpu = time.perf_counter(), time.process_time()
                model, found = _restored(image, seen, tube)
                took = time.perf_counter() - began, time.process_time() - cpu
                record(
                    "tensors",
                    f"photograph | {m}×{n} | {kind} | tube {tube}",
                    decibels=decibels(np.where(seen, image, found), image),
                    decibels_where_missing=decibels(found[~seen], image[~seen]),
                    taken=model.tube_ if model.tube_ is not None else f"unfolding {model.unfolding_}",
                    seconds=took[0],
                    processor_seconds=took[1],
                )
            channels = np.stack([_channel(image[:, :, c], seen[:, :, c]) for c in range(3)], axis=2)
            record(
                "tensors",
                f"photograph | {m}×{n} | {kind} | channels apart",
                decibels=decibels(np.where(seen, image, channels), image),
                decibels_where_missing=decibels(channels[~seen], image[~seen]),
            )


def _restored(image: np.ndarray, seen: np.ndarray, tube: int | str) -> tuple[dmc.TensorCompletion, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = dmc.TensorCompletion(tube=tube, min_value=0, max_value=255).fit(image, mask=seen)
    return model, model.complete()


def _channel(channel: np.ndarray, seen: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(dmc.MatrixCompletion(min_value=0, max_value=255).fit(channel, mask=seen).complete())


def decibels(found: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio of pixels from 0 to 255."""
    return float(10 * np.log10(255**2 / np.mean((found - truth) ** 2)))


RUNS = {
    "planted-tensors": planted,
    "metro": metro,
    "metro-unfoldings": days_by_unfoldings,
    "tensor-candidates": candidates,
    "tensor-photograph": photograph,
}

if __name__ == "__main__":
    main(RUNS)
