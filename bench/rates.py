"""How much do the outer factors' rates matter? The γ sweep of Yaras et al. and the α sweep of Kwon et al."""

from _harness import main, record
from compressed_vs_full import DEPTH, SCALE, Task, steps_to, train
from dmc.solver import initial


def outer_rate() -> None:
    """d = 300, 30 % observed: γ = 0, .001, .01, .1, 1 with the published start; error after 40,000 steps."""
    task = Task(300, 0.3)
    for gamma in (0.0, 0.001, 0.01, 0.1, 1.0):
        start = lambda: initial.compressed(task.observations, 5, DEPTH, SCALE)  # noqa: E731
        course, seconds, _ = train(task, start, gamma, 40_000)
        record(
            "rates",
            f"γ = {gamma:g}",
            error=course[-1][1],
            steps_to_1e_6=steps_to(course, 1e-6 * course[0][1]),
            seconds=seconds,
            course=[[n, float(f"{e:.3e}")] for n, e in course],
        )


def kwon() -> None:
    """d = 100, 30 % observed: Kwon et al.'s start, outer rate α times the cores'; steps to 1e-6 of the first error."""
    task = Task(100, 0.3)
    for alpha in (0.5, 1.0, 2.0, 5.0, 9.75):
        start = lambda: initial.singular(task.observations, 5, DEPTH, SCALE)  # noqa: E731
        goal = 1e-6 * task.error(start())
        course, seconds, _ = train(task, start, alpha, 100_000, goal, look=50)
        record("rates", f"α = {alpha:g}", error=course[-1][1], steps_to_1e_6=steps_to(course, goal), seconds=seconds)


RUNS = {"outer-rate": outer_rate, "kwon": kwon}

if __name__ == "__main__":
    main(RUNS)
