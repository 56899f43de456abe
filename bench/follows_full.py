"""Does the compressed network follow the full-width one, where do they part, and why? Published settings.

As `compressed_vs_full`: a Gaussian matrix cut to rank 5, η = 5e-3, γ = .01, ε = 1e-3, L = 3 (Yaras et al., arXiv
2406.04112). "closed" is the start in closed form (`initial.compressed`), "published" the construction from the
full-width network's own first gradient (`initial.compressed_from`).

Where they part: at the escape of each direction. The full network goes on at once with what its singular vectors lack;
in the compressed one the outer factors have to turn, and have not yet when the next direction escapes. Why:

1. The end is a matter of γ. Near the solution what is outside of the subspace is learnt by the outermost layer alone:
   in the full network at the rate η σ^(2−2/L) p, in the compressed one at γη σ² p. They are the same at γ = σ^(−2/L),
   .15 at d = 100 and .06 at d = 1000; the published .01 is a fifteenth and a sixth of that.
2. The time of the escapes is a matter of the cut at r̂. Once a direction of Ω⊙X has escaped, the singular vectors of
   the others turn, by about the noise over the signal, out of the subspace; with a larger r̂ the published start's
   escapes come closer to the full network's. The closed form draws a random complement of its own.

To follow is not always good: with 20 % observed (one seed of three) the full network does not come to half of its first
error in 120,000 steps, nor do compressed ones at its rate; at γ = .01 their errors fall to 1e-4 … 6e-2 of it.
"""

import time
from collections.abc import Callable

import numpy as np

import dmc
from _harness import main, record
from compressed_vs_full import DEPTH, OUTER, RANK, RATE, SCALE, Task, steps_to
from dmc import diagnostics
from dmc.solver import initial, steps

GOALS = {"steps_to_half": 0.5, "steps_to_1e_2": 1e-2, "steps_to_1e_6": 1e-6}  # of the first recovery error
PARTED = 0.1  # of the matrix' norm: the distance at which two trajectories have parted


def starts(task: Task, bound: int = RANK, seed: int = 0) -> dict[str, Callable[[], dmc.Factors]]:
    """The three starts; the published one with the set-up that it needs."""

    def published() -> dmc.Factors:
        full = initial.orthogonal(task.shape, DEPTH, SCALE, seed)
        _, gradient = dmc.MaskedLeastSquares(task.observations).value_and_grad(full)
        return initial.compressed_from(full, gradient, bound)

    return {
        "full width": lambda: initial.orthogonal(task.shape, DEPTH, SCALE, seed),
        "closed": lambda: initial.compressed(task.observations, bound, DEPTH, SCALE, seed),
        "published": published,
    }


class Course:
    """Recovery errors at the looks of a run, and the matrix at each if it is to be kept."""

    def __init__(self, task: Task, goal: float, keep: bool = False) -> None:
        self.task, self.goal, self.keep = task, goal, keep
        self.errors: list[tuple[int, float]] = []
        self.matrices: list[np.ndarray] = []
        self.looking = 0.0

    def __call__(self, info: dmc.StepInfo) -> bool:
        since = time.perf_counter()
        if info.status is None:
            self.errors.append((info.n_steps, self.task.error(info.factors)))
            if self.keep:
                self.matrices.append(info.factors.dense().astype(np.float32))
        self.looking += time.perf_counter() - since
        return self.errors[-1][1] <= self.goal * self.errors[0][1]

    def figures(self) -> dict[str, int | float | None]:
        reached = {name: steps_to(self.errors, goal * self.errors[0][1]) for name, goal in GOALS.items()}
        return {**reached, "steps": self.errors[-1][0], "error": self.errors[-1][1]}


def train(
    task: Task, start, gamma: float, most: int, look: int = 250, keep: bool = False
) -> tuple[Course, float, float]:
    """The course; seconds, set-up inside and looks outside; seconds a step."""
    began, course = time.perf_counter(), Course(task, 1e-8, keep)
    problem = dmc.MaskedLeastSquares(task.observations)
    rule = steps.DiscrepantDescent(RATE, gamma)
    solution = dmc.solve(problem, start(), rule, max_steps=most, tol=0, callbacks=[course], check_every=look)
    seconds = time.perf_counter() - began - course.looking
    return course, seconds, (solution.seconds - course.looking) / max(solution.n_steps, 1)


def distances(full: Course, other: Course, size: float) -> list[list[float]]:
    """‖X̂ − X̂'‖ over the matrix' norm at every look; a run that ended stays where it was."""
    found = []
    for i in range(max(len(full.matrices), len(other.matrices))):
        a, b = (course.matrices[min(i, len(course.matrices) - 1)] for course in (full, other))
        n = max(full.errors, other.errors, key=len)[i][0]
        found.append([n, float(f"{np.linalg.norm(a - b) / size:.3e}")])
    return found


def follow(d: int, observed: float, most: int, full_steps: int | None = None, look: int = 250, seed: int = 0) -> None:
    """Full, closed and published; `full_steps` where the full network is not trained to its end."""
    task, courses = Task(d, observed, seed), {}
    size, keep = float(np.linalg.norm(task.X)), full_steps is None
    matched = float(np.linalg.norm(task.X, 2)) ** (-2 / DEPTH)
    of_kind = starts(task)
    runs = [("full width", "full width", 1.0)]
    runs += [(f"{kind}, γ = {OUTER:g}", kind, OUTER) for kind in ("closed", "published")]
    runs += [(f"{kind}, γ = {matched:.2g}", kind, matched) for kind in ("closed", "published")]
    for name, kind, gamma in runs:
        steps_at_most = full_steps if full_steps is not None and kind == "full width" else most
        every = min(look, steps_at_most)
        course, seconds, each = train(task, of_kind[kind], gamma, steps_at_most, every, keep)
        courses[name] = course
        figures = course.figures()
        if full_steps is not None and kind == "full width":
            figures = {"steps": full_steps, "estimated_from_steps": full_steps}
        elif keep and kind != "full width":
            apart = distances(courses["full width"], course, size)
            figures["largest_distance"] = max(part for _, part in apart)
            figures["parted_at"] = next((n for n, part in apart if part > PARTED), None)
            figures["distances"] = apart
        errors = [[n, float(f"{e:.3e}")] for n, e in course.errors]
        record("follows_full", f"d={d} | {name}", **figures, seconds=seconds, seconds_a_step=each, course=errors)


def follow_100() -> None:
    """d = 100, 30 % observed: full, closed and published to the end, at γ = .01 and at the full network's own rate."""
    follow(100, 0.3, 100_000)


def follow_300() -> None:
    """d = 300, 30 % observed: the compressed ones to the end, the full one for the cost of a step."""
    follow(300, 0.3, 40_000, full_steps=100)


def follow_1000() -> None:
    """d = 1000, 20 % observed: the compressed ones to the end, the full one for the cost of a step."""
    follow(1000, 0.2, 30_000, full_steps=20, look=500)


def why() -> None:
    """d = 100, one thing changed at a time: γ, the cut at r̂, the share observed, the subspace of the start."""
    for observed, seed in ((0.3, 10), (0.3, 11), (0.2, 10)):
        task = Task(100, observed, seed)
        matched = float(np.linalg.norm(task.X, 2)) ** (-2 / DEPTH)
        found = {"full": train(task, starts(task)["full width"], 1.0, 120_000)[0].figures()}
        trials = {}
        for kind in ("closed", "published"):
            trials |= {f"{kind}, γ = {gamma:.2g}": (starts(task)[kind], gamma) for gamma in (OUTER, matched)}
        for wider in (10, 20):
            trials[f"published, r̂ = {wider}, γ = {matched:.2g}"] = (starts(task, wider)["published"], matched)
        trials["on the subspace of X, γ = 0.01"] = (lambda X=task.X: initial.compressed(X, RANK, DEPTH, SCALE), OUTER)
        for name, (start, gamma) in trials.items():
            found[name] = train(task, start, gamma, 120_000)[0].figures()
        of_entries = np.linalg.svd(task.observations.to_scipy().toarray(), compute_uv=False)
        gap = float(of_entries[RANK - 1] / of_entries[RANK])
        record("follows_full", f"why | {observed:.0%} | seed {seed}", signal_to_noise=gap, runs=found)


def bound() -> None:
    """Everything observed, outer factors frozen: the distance of the trajectories at each look, and its two bounds."""
    for d, most in ((100, 16_000), (300, 8_000), (1000, 10)):
        rng = np.random.default_rng(d)
        P, s, Qt = np.linalg.svd(rng.standard_normal((d, d)))
        problem = dmc.LeastSquares((P[:, :RANK] * s[:RANK]) @ Qt[:RANK])
        full = initial.orthogonal((d, d), DEPTH, SCALE)
        _, gradient = problem.value_and_grad(full)
        small, every = initial.compressed_from(full, gradient, RANK), min(max(most // 40, 1), 200)
        rho = diagnostics.predicted_rho(DEPTH, SCALE, RATE, most)
        began, matrices, course = time.perf_counter(), [], []

        def keep(info: dmc.StepInfo, matrices=matrices) -> None:
            if info.status is None:
                matrices.append(info.factors.dense())

        def compare(info: dmc.StepInfo, matrices=matrices, course=course, d=d, rho=rho) -> None:
            if info.status is None:
                apart = float(np.linalg.norm(matrices[len(course)] - info.factors.dense()))
                now = diagnostics.compression_bound(d, RANK, [rho[info.n_steps]] * DEPTH)
                course.append([info.n_steps, apart, now])

        for start, gamma, watch in ((full, 1.0, keep), (small, 0.0, compare)):
            rule = steps.DiscrepantDescent(RATE, gamma)
            dmc.solve(problem, start, rule, max_steps=most, tol=0, callbacks=[watch], check_every=every)
        record(
            "follows_full",
            f"bound | d={d}",
            steps=most,
            largest_distance=max(apart for _, apart, _ in course),
            bound_at_start=diagnostics.compression_bound(d, RANK, [SCALE] * DEPTH),
            largest_ratio=max(apart / now for _, apart, now in course),
            smallest_ratio=min(apart / now for _, apart, now in course),
            relative_error=float(np.linalg.norm(matrices[-1] - problem.matrix) / np.linalg.norm(problem.matrix)),
            course=course,
            seconds=time.perf_counter() - began,
        )


RUNS = {
    "follow-100": follow_100,
    "follow-300": follow_300,
    "follow-1000": follow_1000,
    "follow-why": why,
    "follow-bound": bound,
}

if __name__ == "__main__":
    main(RUNS)
