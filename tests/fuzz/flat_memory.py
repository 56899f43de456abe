"""Every public method called thousands of times: memory stays flat, and nothing large waits for the collector."""

from __future__ import annotations

import gc
import io
import os
import pickle
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

import dmc

CALLS, WARM_UP = 5000, 200
SLOW_CALLS = 100  # of what takes longer than `SLOW` each, such as fits
SLOW = 0.01  # seconds
GROWTH = 2 << 20  # bytes of resident memory that arenas may take after the warm-up
LEFT = 100_000  # bytes that only the collector frees, after one call

Method = Callable[[], Any]
SHAPE = (30, 20)


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def matrix() -> np.ndarray:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((SHAPE[0], 2)) @ rng.standard_normal((2, SHAPE[1]))
    X[rng.random(SHAPE) < 0.4] = np.nan
    return X


def of_observations() -> tuple[Any, dict[str, Method]]:
    o = dmc.observe(matrix())
    return o, {
        "to": lambda: o.to("cpu"),
        "with_values": lambda: o.with_values(np.ones(o.n_observed)),
        "to_scipy": o.to_scipy,
        "linear_operator": o.linear_operator,
        "spectral_norm": o.spectral_norm,
        "take": lambda: o.take(np.ones(o.n_observed, bool)),
        "among": lambda: o.among(np.arange(5), np.arange(6)),
        "repeat_rows": lambda: o.repeat_rows(np.full(SHAPE[0], 2)),
        "locate": lambda: o.locate(o.rows, o.cols),
        "split": lambda: o.split(0.2),
        "from_lines": lambda: dmc.Observations.from_lines(o.pattern.by_row, o.values, SHAPE).pattern.by_column,
        "from_entries": lambda: dmc.Observations.from_entries(o.rows, o.cols, o.values, SHAPE),
        "pickle": lambda: pickle.loads(pickle.dumps(o)),
        "observe": lambda: dmc.observe(matrix()),
    }


def of_factors() -> tuple[Any, dict[str, Method]]:
    o = dmc.observe(matrix())
    f = dmc.initial.compressed(o, 3)
    return f, {
        "to": lambda: f.to("cpu"),
        "pull_back": lambda: f.pull_back(f.left, f.right),
        "at": lambda: f.at([0, 1], [2, 3]),
        "top_n": lambda: f.top_n(np.arange(SHAPE[0]), 5, exclude=o.pattern.by_row),
        "dense": f.dense,
        "svd": f.svd,
        "singular_values": f.singular_values,
        "rank": f.rank,
        "truncate": lambda: f.truncate(2),
        "scaled": lambda: f.scaled(2.0),
        "map": lambda: f.map(np.negative),
    }


def of_problems() -> tuple[Any, dict[str, Method]]:
    o = dmc.observe(matrix())
    f = dmc.initial.compressed(o, 3)
    p = dmc.MaskedLeastSquares(o, weights=np.ones(o.n_observed))

    def made() -> Any:
        problem = dmc.MaskedLeastSquares(dmc.observe(matrix()))
        problem.value_and_grad(f)
        return problem.curvature, problem.target_norm, problem.rounding

    return p, {
        "made": made,
        "to": lambda: p.to("cpu").value_and_grad(f.to("cpu")),
        "counts": lambda: p.counts(0),
        "residual": lambda: p.residual(f),
        "value": lambda: p.value(f),
        "value_and_grad": lambda: p.value_and_grad(f),
        "solve": lambda: dmc.solve(p, f, dmc.steps.Adam(), max_steps=3),
        "check_problem": lambda: dmc.check_problem(p, f),
    }


def recommender(feedback: str) -> tuple[Any, dict[str, Method]]:
    at = np.arange(60)
    table = {"user": at % 9, "item": at // 9, "rating": at % 5 + 1.0}
    r = dmc.Recommender(rank=2, feedback=feedback, n_threads=1).fit(table)
    pairs, folder = {"user": [1, 2, 77], "item": [3, 4, 5]}, Path(tempfile.mkdtemp())
    r.save(folder / "m")
    more = iter(range(10**9))

    def changed() -> Any:
        other = dmc.Recommender.load(folder / "m")
        other.partial_fit({"user": [f"u{next(more)}"], "item": [1], "rating": [3.0]})
        return other.forget(users=[1]).recommend(n=2)

    return r, {
        "fit": lambda: dmc.Recommender(rank=2, feedback=feedback, n_threads=1).fit(table).recommend(n=1),
        "partial_fit": changed,
        "forget": lambda: dmc.Recommender.load(folder / "m").forget(items=[1]),
        "fold_in": lambda: r.fold_in({"user": ["new"], "item": [1], "rating": [3.0]}).predict(pairs),
        "predict": lambda: r.predict(pairs),
        "recommend": lambda: r.recommend(n=3),
        "similar_items": lambda: r.similar_items(1),
        "similar_users": lambda: r.similar_users(1, output="records"),
        "explain": lambda: r.explain(1, 1),
        "user_vector": lambda: r.user_vector([1], [3.0]),
        "export": lambda: r.export(folder / "vectors"),
        "save": lambda: r.save(folder / "again"),
        "load": lambda: dmc.Recommender.load(folder / "m").recommend(n=2),
        "load mapped": lambda: dmc.Recommender.load(folder / "m", mmap=True).recommend(n=2),
        "pickle": lambda: pickle.loads(pickle.dumps(r)).predict(pairs),
        "evaluate": lambda: dmc.evaluation.evaluate(r, {"user": [1], "item": [6], "rating": [3.0]}, n_resamples=10),
    }


def of_completions() -> tuple[Any, dict[str, Method]]:
    X, folder = matrix(), Path(tempfile.mkdtemp())
    m = dmc.MatrixCompletion(rank=2).fit(X)
    m.save(folder / "c")
    return m, {
        "fit": lambda: dmc.MatrixCompletion(rank=2).fit(X),
        "fit_transform": lambda: dmc.MatrixCompletion(rank=2).fit_transform(X),
        "predict": lambda: m.predict([0, 1], [2, 3], return_std=True),
        "sample": lambda: m.sample(2),
        "complete": m.complete,
        "transform": lambda: m.transform(X),
        "score": lambda: m.score(X),
        "save": lambda: m.save(folder / "again"),
        "load": lambda: dmc.MatrixCompletion.load(folder / "c").complete(),
        "get_params": m.get_params,
        "set_params": lambda: m.set_params(rank=2),
        "get_feature_names_out": m.get_feature_names_out,
        "get_metadata_routing": m.get_metadata_routing,
        "set_output": lambda: m.set_output(transform="default"),
        "set_fit_request": lambda: None,  # what scikit-learn makes of metadata it is not asked to route
        "set_score_request": lambda: None,
        "set_predict_request": lambda: None,
        "set_transform_request": lambda: None,
    }


def of_tensors() -> tuple[Any, dict[str, Method]]:
    rng = np.random.default_rng(0)
    T = np.einsum("i,j,k->ijk", *(rng.standard_normal(size) for size in (6, 7, 5)))
    T[rng.random(T.shape) < 0.3] = np.nan
    folder = Path(tempfile.mkdtemp())
    m = dmc.TensorCompletion(rank=1).fit(T)
    m.save(folder / "t")
    return m, {
        "fit": lambda: dmc.TensorCompletion(rank=1).fit(T),
        "fit_transform": lambda: dmc.TensorCompletion(rank=1).fit_transform(T),
        "predict": lambda: m.predict([0], [1], [2]),
        "complete": m.complete,
        "score": lambda: m.score(T),
        "save": lambda: m.save(folder / "again"),
        "load": lambda: dmc.TensorCompletion.load(folder / "t").complete(),
        "get_params": m.get_params,
        "set_params": lambda: m.set_params(rank=1),
        "get_metadata_routing": m.get_metadata_routing,
        "set_fit_request": lambda: None,
        "set_score_request": lambda: None,
        "set_predict_request": lambda: None,
    }


CLASSES: dict[str, Callable[[], tuple[Any, dict[str, Method]]]] = {
    "Observations": of_observations,
    "Factors": of_factors,
    "MaskedLeastSquares": of_problems,
    "Recommender": lambda: recommender("explicit"),
    "Recommender of clicks": lambda: recommender("implicit"),
    "MatrixCompletion": of_completions,
    "TensorCompletion": of_tensors,
}
# Called by others of these: of a problem, what the steps and solvers ask it for.
BY_THE_WAY = {"serving", "average_gram", "gradient_products", "gram_products", "grams", "kernel_for", "packed_grams"}
BY_THE_WAY |= {"sharing_cores", "side_gradient"}


def missing(made: Any, methods: dict[str, Method]) -> list[str]:
    """Public methods that have no call here."""
    public = {name for name in dir(type(made)) if not name.startswith("_") and callable(getattr(type(made), name))}
    return sorted(public - methods.keys() - BY_THE_WAY)


def growth(call: Method, calls: int = CALLS, warm_up: int = WARM_UP) -> tuple[int, int]:
    """(bytes, calls) how much resident memory grew over so many calls after the warm-up, fewer if they are slow."""
    begun = time.monotonic()
    for done in range(1, warm_up + 1):
        call()
        if time.monotonic() - begun > warm_up * SLOW and done >= warm_up // 10:
            calls = min(calls, SLOW_CALLS)
            break
    gc.collect()
    before = resident()
    for _ in range(calls):
        call()
    gc.collect()
    return resident() - before, calls


def only_collected(call: Method) -> int:
    """Bytes that a call leaves behind in reference cycles."""
    call()
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        call()
        before = tracemalloc.get_traced_memory()[0]
        gc.collect()
        return before - tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        gc.enable()


def where(call: Method, calls: int) -> list[str]:
    """The lines of code whose memory grew most."""
    tracemalloc.start(8)
    call()
    before = tracemalloc.take_snapshot()
    for _ in range(calls):
        call()
    gc.collect()
    after = tracemalloc.take_snapshot()
    tracemalloc.stop()
    return [str(line) for line in after.compare_to(before, "lineno")[:4]]


def judged(call: Method, calls: int = CALLS, warm_up: int = WARM_UP) -> list[str]:
    """What is wrong with the memory of a method."""
    grown, made = growth(call, calls, warm_up)
    if grown > GROWTH:  # a second time: fragments settle, a leak goes on
        grown, made = growth(call, calls, warm_up)
    wrong = [f"{grown / made:,.0f} bytes a call over {made:,}", *where(call, min(made, 50))] if grown > GROWTH else []
    left = only_collected(call)
    return [*wrong, f"{left:,} bytes of a call wait for the collector"] if left > LEFT else wrong


def main() -> int:
    """0 if no method leaks."""
    warnings.simplefilter("ignore")
    begun, found, count = time.monotonic(), 0, 0
    for name, make in CLASSES.items():
        made, methods = make()
        for what in missing(made, methods):
            found += 1
            print(f"{name}.{what} is not tried", flush=True)
        for what, call in methods.items():
            with redirect_stdout(io.StringIO()):
                wrong = judged(call)
            count, found = count + 1, found + bool(wrong)
            if wrong:
                print(f"{name}.{what}: ", *wrong, sep="\n  ", flush=True)
    print(f"{count} methods, {found} findings, {time.monotonic() - begun:.0f} s")
    return found > 0


if __name__ == "__main__":
    sys.exit(main())
