"""The same of the functions that work on blocks of coordinates and on moments: half a sweep, posteriors."""

from __future__ import annotations

from typing import Any

import numpy as np

from dmc.kernels import posterior as posteriors
from fuzz.binding_calls import BLOCK, CALLS, Call, Draw, close, dense

SYSTEM = BLOCK * (BLOCK + 3) // 2  # numbers of a line's system


def up(count: int) -> int:
    return -(-count // BLOCK) * BLOCK


def some_lines(draw: Draw) -> tuple[slice, int]:
    first, last = sorted(int(i) for i in draw.rng.integers(0, draw.m + 1, 2))
    return slice(first, last), last - first


def half_sweep(draw: Draw) -> Call:
    width = BLOCK * int(draw.rng.integers(1, 4))
    own, other = (draw.normal(lines, width, dtype=np.float32) for lines in (draw.m, draw.n))
    weights = draw.positive(draw.count, dtype=np.float32) + 1
    predicted = np.einsum("ek,ek->e", own[draw.rows], other[draw.cols]).astype(np.float32)
    given = {
        "entries": draw.entries(),
        "weights": weights,
        "pulls": weights * draw.normal(draw.count, dtype=np.float32),
        "unobserved": 0.5,
        "ridge": draw.positive(draw.m, dtype=np.float32),
        "other": other,
        "own": own,
        "predicted": predicted,
        "passes": int(draw.rng.integers(1, 4)),
        "tol": 0.01,
        "n_threads": draw.threads,
    }

    def check(fall: Any) -> None:
        wanted = np.einsum("ek,ek->e", own[draw.rows].astype(float), other[draw.cols])
        close(predicted / 100, wanted / 100, np.float32, "a prediction")
        assert fall >= -1e-3

    return Call(given, check, ("own", "predicted"))


def block_grams(draw: Draw) -> Call:
    blocks = int(draw.rng.integers(1, 4))
    other = draw.normal(draw.n, BLOCK * blocks, dtype=np.float32)

    def check(grams: Any) -> None:
        wanted = 0.5 * other.T.astype(float) @ other
        close(np.hstack(np.split(grams, blocks)), wanted, np.float32, "the products")

    return Call({"other": other, "unobserved": 0.5, "n_threads": draw.threads}, check)


def block_sums(draw: Draw) -> Call:
    weights, (lines, _) = draw.positive(draw.count, dtype=np.float32) + 1, some_lines(draw)
    given = {
        "entries": draw.entries(),
        "weights": weights,
        "pulls": weights * draw.normal(draw.count, dtype=np.float32),
        "unobserved": 0.5,
        "other": draw.normal(draw.n, BLOCK, dtype=np.float32),
        "predicted": draw.normal(draw.count, dtype=np.float32),
        "lines": lines,
        "n_threads": draw.threads,
    }
    return Call(given, None, ("predicted",))


def block_steps(draw: Draw) -> Call:
    blocks, parts = int(draw.rng.integers(1, 4)), int(draw.rng.integers(0, 3))
    given = {
        "sums": draw.positive(parts, draw.m, SYSTEM, dtype=np.float32),
        "grams": draw.normal(blocks * blocks * BLOCK, BLOCK, dtype=np.float32),
        "ridge": draw.positive(draw.m, dtype=np.float32),
        "own": draw.normal(draw.m, blocks * BLOCK, dtype=np.float32),
        "block": int(draw.rng.integers(0, blocks)),
        "n_threads": draw.threads,
    }
    return Call(given, None, ("own",))


def block_predict(draw: Draw) -> Call:
    lines, count = some_lines(draw)
    other, steps = draw.normal(draw.n, BLOCK, dtype=np.float32), draw.normal(count, BLOCK, dtype=np.float32)
    predicted = draw.normal(draw.count, dtype=np.float32)
    before, all_steps = predicted.astype(float), np.zeros((draw.m, BLOCK))
    all_steps[lines] = steps

    def check(_: Any) -> None:
        moved = np.einsum("ek,ek->e", all_steps[draw.rows], other[draw.cols].astype(float))
        close(predicted, before - moved, np.float32, "a prediction")

    given = {"entries": draw.entries(), "other": other, "steps": steps, "predicted": predicted, "lines": lines}
    return Call({**given, "n_threads": draw.threads}, check, ("predicted",))


def moments_size(unknowns: int) -> int:
    return up((unknowns + 1) * (unknowns + 2) // 2) + up(unknowns + 1)


def prior(draw: Draw, unknowns: int) -> dict[str, Any]:
    means = draw.normal(draw.m, unknowns, dtype=np.float32)
    return {"precision": np.eye(unknowns), "means": means, "noise": draw.positive(draw.m, dtype=float)}


def posterior(draw: Draw) -> Call:
    unknowns = int(draw.rng.integers(1, 6))
    others = posteriors.moments_of(draw.normal(draw.n, unknowns, dtype=np.float32))
    given = {
        "entries": draw.entries(),
        "values": draw.normal(draw.count, dtype=np.float32),
        "others": others,
        **prior(draw, unknowns),
        "moments": np.zeros((draw.m, moments_size(unknowns)), np.float32),
        "weights": draw.maybe(draw.positive(draw.count, dtype=np.float32)),
        "n_threads": draw.threads,
    }

    def check(answer: Any) -> None:
        shown = posteriors.means_in(given["moments"], unknowns)
        close(shown, answer[0], np.float32, "what is shown of the means")

    return Call(given, check, ("moments",))


def line_sums(draw: Draw) -> Call:
    vectors = draw.normal(draw.n, BLOCK * int(draw.rng.integers(1, 4)), dtype=np.float32)
    weights = draw.maybe(draw.normal(draw.count, dtype=np.float32))

    def check(sums: Any) -> None:
        close(sums, dense(draw, 1 if weights is None else weights) @ vectors, np.float32, "the sum")

    given = {"entries": draw.entries(), "vectors": vectors, "weights": weights, "n_threads": draw.threads}
    return Call(given, check)


def posterior_sums(draw: Draw) -> Call:
    unknowns, (lines, _) = int(draw.rng.integers(1, 6)), some_lines(draw)
    given = {
        "entries": draw.entries(),
        "values": draw.normal(draw.count, dtype=np.float32),
        "others": posteriors.moments_of(draw.normal(draw.n, unknowns, dtype=np.float32)),
        "weights": draw.maybe(draw.positive(draw.count, dtype=np.float32)),
        "lines": lines,
        "n_threads": draw.threads,
    }
    return Call(given)


def posterior_of_sums(draw: Draw) -> Call:
    unknowns = int(draw.rng.integers(1, 6))
    size = moments_size(unknowns)
    given = {
        "sums": draw.positive(draw.m, size, dtype=np.float32),
        **prior(draw, unknowns),
        "moments": np.zeros((draw.m, size), np.float32),
        "n_threads": draw.threads,
    }
    return Call(given, None, ("moments",))


def moments_of(draw: Draw) -> Call:
    means = draw.normal(draw.m, int(draw.rng.integers(1, 6)), dtype=np.float32)
    nothing = np.zeros((draw.m, means.shape[1], means.shape[1]))  # which makes NumPy do it

    def check(moments: Any) -> None:
        close(moments, posteriors.moments_of(means, nothing), np.float32, "a moment")

    return Call({"means": means, "n_threads": draw.threads}, check)


def solve_gaussians(draw: Draw) -> Call:
    k = int(draw.rng.integers(1, 6))
    roots, sides = draw.normal(draw.m, k, k, dtype=float), draw.normal(draw.m, k, dtype=float)
    grams, (first, second) = roots @ roots.transpose(0, 2, 1) + np.eye(k), np.triu_indices(k)
    wanted = np.linalg.solve(grams, sides[:, :, None])[:, :, 0]

    def check(_: Any) -> None:
        close(sides, wanted, np.float32, "the solution")

    given = {
        "grams": np.ascontiguousarray(grams[:, first, second]),
        "sides": sides,
        "invert": bool(draw.rng.random() < 0.5),
    }
    return Call({**given, "n_threads": draw.threads}, check, ("grams", "sides"))


CALLS |= {
    made.__name__: made
    for made in (
        block_grams, block_predict, block_steps, block_sums, half_sweep, line_sums, moments_of, posterior,
        posterior_of_sums, posterior_sums, solve_gaussians
    )
}  # fmt: skip
