"""Does the compressed network train like the full-width one, and at what fraction of the cost? Published settings.

Yaras et al. (arXiv 2406.04112): a Gaussian matrix cut to rank 5, η = 5e-3, γ = .01, ε = 1e-3, L = 3. The recovery error
is theirs: half the mean, over all entries of the matrix, of the squared error where nothing was observed.
"""

import time

import numpy as np

import dmc
from _harness import main, record
from dmc.solver import initial, steps

RANK, DEPTH, SCALE, RATE, OUTER = 5, 3, 1e-3, 5e-3, 0.01


class Task:
    """A rank-5 matrix, cut from a Gaussian one, and the entries that were observed."""

    def __init__(self, d: int, observed: float, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        P, s, Qt = np.linalg.svd(rng.standard_normal((d, d)))
        self.X = (P[:, :RANK] * s[:RANK]) @ Qt[:RANK]
        mask = rng.random((d, d)) < observed
        self.observations = dmc.observe(self.X, mask)
        self.unseen = ~mask
        self.shape, self.seed = (d, d), seed

    def error(self, factors: dmc.Factors) -> float:
        return 0.5 * float(np.mean(np.square((factors.dense() - self.X) * self.unseen)))


def train(task: Task, start, outer_ratio: float, max_steps: int, goal: float = 0.0, look: int = 250):
    """Errors along the run; its seconds, set-up included and looking at unseen entries left out; seconds a step."""
    began = time.perf_counter()
    looking = 0.0
    course: list[tuple[int, float]] = []

    def watch(info: dmc.StepInfo) -> bool:
        nonlocal looking
        since = time.perf_counter()
        if info.status is None:
            course.append((info.n_steps, task.error(info.factors)))
        looking += time.perf_counter() - since
        return course[-1][1] <= goal

    problem = dmc.MaskedLeastSquares(task.observations)
    step = steps.DiscrepantDescent(RATE, outer_ratio)
    solution = dmc.solve(problem, start(), step, max_steps=max_steps, tol=0, callbacks=[watch], check_every=look)
    return course, time.perf_counter() - began - looking, (solution.seconds - looking) / max(solution.n_steps, 1)


def steps_to(course: list[tuple[int, float]], goal: float) -> int | None:
    return next((n for n, error in course if error <= goal), None)


def trajectory_300() -> None:
    """d = 300, 30 % observed: full, compressed (γ = .01 and 0) and narrow networks, to the same number of steps."""
    task = Task(300, 0.3)
    n = 32_000
    competitors = {
        "full width": (lambda: initial.orthogonal(task.shape, DEPTH, SCALE), 1.0, n),
        "compressed": (lambda: initial.compressed(task.observations, RANK, DEPTH, SCALE), OUTER, n),
        "compressed, outer factors frozen": (lambda: initial.compressed(task.observations, RANK, DEPTH, SCALE), 0.0, n),
        "narrow": (lambda: initial.narrow(task.shape, 2 * RANK, DEPTH, SCALE), 1.0, 3 * n),
    }
    for name, (start, outer, most) in competitors.items():
        course, seconds, each = train(task, start, outer, most)
        goal = 1e-6 * course[0][1]
        record(
            "compressed_vs_full",
            f"d=300 | {name}",
            error=course[-1][1],
            steps=course[-1][0],
            steps_to_1e_6=steps_to(course, goal),
            seconds=seconds,
            seconds_a_step=each,
            course=[[k, float(f"{e:.3e}")] for k, e in course],
        )


def trajectory_1000() -> None:
    """d = 1000, 20 % observed: the compressed network to its end, the full one for the cost of a step."""
    task = Task(1000, 0.2)
    course, seconds, each = train(
        task, lambda: initial.compressed(task.observations, RANK, DEPTH, SCALE), OUTER, 24_000, look=500
    )
    figures = {"error": course[-1][1], "steps": course[-1][0], "steps_to_1e_6": steps_to(course, 1e-6 * course[0][1])}
    record("compressed_vs_full", "d=1000 | compressed", **figures, seconds=seconds, seconds_a_step=each)
    few = 200
    _, seconds, each = train(task, lambda: initial.orthogonal(task.shape, DEPTH, SCALE), 1.0, few, look=few)
    record("compressed_vs_full", "d=1000 | full width", steps=few, seconds=seconds, seconds_a_step=each)


def narrow() -> None:
    """d = 300: narrow against compressed networks over r̂ = 5, 10, 20, steps and seconds to 1e-6 of the first error."""
    task = Task(300, 0.3)
    for bound in (5, 10, 20):
        competitors = {
            "compressed": (lambda r=bound: initial.compressed(task.observations, r, DEPTH, SCALE), OUTER),
            "narrow": (lambda r=bound: initial.narrow(task.shape, 2 * r, DEPTH, SCALE), 1.0),
        }
        for name, (start, outer) in competitors.items():
            course, seconds, _ = train(task, start, outer, 100_000, goal=1e-6 * task.error(start()))
            record("narrow", f"{name} | {bound}", steps=course[-1][0], error=course[-1][1], seconds=seconds)


RUNS = {"trajectory-300": trajectory_300, "trajectory-1000": trajectory_1000, "narrow": narrow}

if __name__ == "__main__":
    main(RUNS)
