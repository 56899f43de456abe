"""The plateau's length: against training, against the closed form, and who is told of it."""

import io
import math
import re

import numpy as np
import pytest

import dmc
from dmc.solver import initial, steps
from dmc.solver.plateau import plateau_steps, steps_left
from dmc.solver.solution import Status, waiting

Descent = steps.DiscrepantDescent


def planted(shape, rank, observed, seed):
    return dmc.MaskedLeastSquares(dmc.datasets.planted(shape, rank, observed, seed=seed).observations)


def rate_of(problem, layers, share=0.1):
    return share / (problem.curvature * problem.target_norm ** (2 - 2 / layers))


def escape(problem, start, step, expected):
    """The step at which the largest singular value first is half of that sought."""
    sizes, every = dmc.callbacks.History(size=lambda f: f.singular_values()[0]), max(1, int(expected / 40))

    def done(info):
        return info.factors.singular_values()[0] >= problem.target_norm / 2

    limit = int(3 * expected) + 10
    found = dmc.solve(problem, start, step, max_steps=limit, tol=0, callbacks=[sizes, done], check_every=every)
    assert found.status is Status.STOPPED, "it has not escaped"
    return found.n_steps


# (d, share observed, layers, ε, start); the constants were chosen on others
SETTINGS = [
    ((33, 33), 1.0, 3, 0.04, lambda p, N, e: initial.orthogonal((33, 33), N, e)),
    ((45, 25), 0.6, 4, 0.3, lambda p, N, e: initial.normal((45, 25), N, e)),
    ((25, 45), 0.5, 2, 1e-3, lambda p, N, e: initial.uniform((25, 45), N, e)),
    ((60, 60), 0.3, 3, 0.07, lambda p, N, e: initial.narrow((60, 60), 5, N, e)),
    ((60, 40), 0.4, 3, 0.07, lambda p, N, e: initial.gaussian((60, 40), 7, N - 2, e)),
    ((50, 70), 0.4, 4, 0.2, lambda p, N, e: initial.singular(p.observations, 3, N, e)),
    ((50, 70), 0.4, 3, 0.05, lambda p, N, e: initial.compressed(p.observations, 3, N, e)),
]


@pytest.mark.parametrize(("shape", "observed", "layers", "scale", "start"), SETTINGS, ids=range(len(SETTINGS)))
def test_it_is_right_within_a_factor_of_two(shape, observed, layers, scale, start):
    problem = planted(shape, 3, observed, seed=7)
    begin, rule = start(problem, layers, scale), Descent(rate_of(problem, layers))
    expected = plateau_steps(problem, begin, rule)
    assert expected > 20  # it is one
    assert expected / 2 < escape(problem, begin, rule, expected) < 2 * expected


RULES = {
    "momentum": lambda rate: steps.Momentum(Descent(rate / 5), 0.8),
    "backtracking": lambda rate: steps.Backtracking(Descent(rate)),
    "weight decay": lambda rate: Descent(rate, weight_decay=0.1),
    "outer factors slower": lambda rate: Descent(rate, outer_ratio=0.1),
    "normalised": lambda rate: Descent(),
    "normalised, with momentum": lambda rate: steps.Momentum(Descent(stability=0.05), 0.8),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["compressed", "narrow"])
def test_it_knows_the_rules(rule, kind):
    problem = planted((40, 40), 2, 0.5, seed=8)
    begin = (
        initial.compressed(problem.observations, 2, 3, 0.05)
        if kind == "compressed"
        else initial.narrow((40, 40), 4, 3, 0.1)
    )
    step = RULES[rule](rate_of(problem, 3))
    expected = plateau_steps(problem, begin, step)
    assert expected / 2 < escape(problem, begin, step, expected) < 2 * expected


@pytest.mark.parametrize("layers", [3, 4, 5])
def test_aligned_layers_follow_the_closed_form(layers):
    """w' = η p σ w^(N−1) from ε: (ε^(2−N) − w^(2−N)) / ((N−2) η p σ), if the residual is that at zero throughout."""
    problem, scale, rate = planted((30, 30), 1, 1.0, seed=9), 0.05, 1e-3
    begin = initial.singular(problem.observations, 1, layers, scale)
    pull = rate * problem.curvature * problem.target_norm
    closed = scale ** (2 - layers) / ((layers - 2) * pull)
    assert plateau_steps(problem, begin, Descent(rate)) == pytest.approx(closed, rel=0.15)


def test_two_factors_take_a_logarithm():
    problem, rate = planted((30, 30), 1, 1.0, seed=9), 1e-4
    for scale in (1e-2, 1e-4, 1e-8):
        begin = initial.singular(problem.observations, 1, 2, scale)
        size = problem.target_norm
        closed = math.log(size / scale**2) / (2 * rate * size)  # logistic growth to one half
        assert plateau_steps(problem, begin, Descent(rate)) == pytest.approx(closed, rel=0.05)


def test_it_scales_as_the_theory_says():
    problem = planted((40, 30), 2, 0.5, seed=10)
    begin = {e: initial.normal((40, 30), 4, e) for e in (0.05, 0.1)}
    of = {e: plateau_steps(problem, begin[e], Descent(1e-3)) for e in begin}
    assert of[0.05] / of[0.1] == pytest.approx(4, rel=0.1)
    assert plateau_steps(problem, begin[0.1], Descent(1e-4)) / of[0.1] == pytest.approx(10, rel=0.1)
    assert plateau_steps(problem, initial.normal((40, 30), 4, 1e-30), Descent(1e-3)) > 1e55


def test_on_the_way_it_is_what_is_left():
    problem = planted((40, 40), 2, 0.5, seed=11)
    begin, rule = initial.narrow((40, 40), 4, 3, 0.05), Descent(rate_of(problem, 3))
    whole = plateau_steps(problem, begin, rule)
    there = dmc.solve(problem, begin, rule, max_steps=int(whole / 2), tol=0).factors
    assert plateau_steps(problem, there, rule) == pytest.approx(whole / 2, rel=0.3)


def test_other_problems_have_plateaus_too():
    S = np.random.default_rng(0).standard_normal((30, 3))
    rng = np.random.default_rng(1)
    A = np.outer(rng.standard_normal(20), rng.standard_normal(25))
    X = rng.standard_normal((25, 60))
    for problem, shape in (
        (dmc.BuresWasserstein(factor=S), (30, 30)),
        (dmc.LinearRegression(X, A @ X, whiten=True), (20, 25)),
        (dmc.LeastSquares(A), (20, 25)),
    ):
        begin, rule = initial.normal(shape, 3, 0.05), Descent(rate_of(problem, 3, 0.05))
        expected = plateau_steps(problem, begin, rule)
        assert expected / 2 < escape(problem, begin, rule, expected) < 2 * expected


def test_tensors_are_told_the_same():
    pytest.importorskip("torch")
    problem = planted((30, 20), 2, 0.6, seed=12)
    begin = initial.normal((30, 20), 3, 0.1)
    on_torch = plateau_steps(problem.to("cpu"), begin, Descent(1e-3))
    assert on_torch == pytest.approx(plateau_steps(problem, begin, Descent(1e-3)), rel=0.05)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_biases_are_no_part_of_it(dtype):
    observed = dmc.datasets.planted((30, 20), 2, 0.6, seed=12).observations
    problem = dmc.MaskedLeastSquares(observed.with_values(observed.values.astype(dtype)))
    f = initial.normal((30, 20), 3, 0.1, dtype=dtype)
    biased = dmc.Factors(f.U, f.cores, f.V, np.zeros(30, dtype), np.zeros(20, dtype))
    of_biased, of_plain = (plateau_steps(problem, at, Descent(1e-3)) for at in (biased, f))
    assert of_biased == pytest.approx(of_plain, rel=0.05)


def test_what_never_moves_is_told_so():
    problem = planted((30, 20), 2, 0.6, seed=13)
    zero = initial.normal((30, 20), 4, 0.1).map(lambda a: 0 * a)
    assert plateau_steps(problem, zero, Descent(1e-3)) == math.inf
    held = initial.normal((30, 20), 3, 1e-3)
    assert plateau_steps(problem, held, Descent(1e-3, weight_decay=10.0)) == math.inf
    ridge = dmc.MaskedLeastSquares(problem.observations, l2=1e3)
    assert plateau_steps(ridge, held, Descent(1e-4)) == math.inf
    empty = dmc.LeastSquares(np.zeros((3, 3)))
    assert plateau_steps(empty, initial.normal((3, 3)), Descent(0.1)) == 0  # as large as what is sought


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 3)])
def test_the_smallest_matrices(shape):
    problem = dmc.LeastSquares(np.full(shape, 2.0))
    begin = initial.normal(shape, 3, 0.05).map(np.abs)
    assert 1 < plateau_steps(problem, begin, Descent(0.01)) < 1e6


def test_a_product_of_the_wrong_sign_shrinks_to_zero():
    f = initial.normal((1, 1), 3, 0.05).map(np.abs)
    wrong = dmc.Factors(-f.U, f.cores, f.V)
    assert plateau_steps(dmc.LeastSquares([[2.0]]), wrong, Descent(0.01)) == math.inf


def test_a_plateau_of_other_rules_is_not_told():
    problem = planted((30, 20), 2, 0.6, seed=13)
    begin = initial.spectral(problem.observations, 2)
    for step in (steps.Adam(), steps.ScaledDescent(), steps.GaussNewton()):
        assert steps_left(problem, begin, step) is None
        with pytest.raises(TypeError, match=f"{type(step).__name__} scales every parameter .*; plateau_steps supports"):
            plateau_steps(problem, begin, step)
    with pytest.raises(TypeError, match="problem is None"):
        plateau_steps(None, begin, Descent())
    with pytest.raises(ValueError, match="the value at the start is nan; start where it is finite"):
        plateau_steps(problem, begin.map(lambda a: np.nan * a), Descent())


def test_a_problem_of_ones_own_may_not_know_enough_and_runs_all_the_same():
    class Bare(dmc.Problem):
        def value_and_grad(self, factors):
            if factors.width != 3:
                raise ValueError("it knows one width")
            return 1.0, factors.map(lambda a: 0.01 + 0 * a)

    class Scaled(Bare):
        curvature = target_norm = 1.0

    begin = initial.gaussian((4, 3), 3, 1, 0.01)
    for problem in (Bare(), Scaled()):
        assert dmc.solve(problem, begin, Descent(1e-3), max_steps=100).plateau_steps is None
    with pytest.raises(TypeError, match="plateau_steps needs the curvature of the problem, and Bare does not have it"):
        plateau_steps(Bare(), begin, Descent(1e-3))


# --- what the loop makes of it


def deep(seed=14):
    problem = planted((30, 30), 2, 0.6, seed)
    return problem, initial.compressed(problem.observations, 2, 3, 0.03), Descent(rate_of(problem, 3, 0.02))


def test_a_run_that_ends_there_warns_with_what_is_left():
    problem, begin, rule = deep()
    expected = plateau_steps(problem, begin, rule)
    with pytest.warns(UserWarning, match=r"after 100 steps the solution is still on the plateau .*; raise max_steps"):
        found = dmc.solve(problem, begin, rule, max_steps=100)
    assert found.status is Status.MAX_STEPS
    assert found.plateau_steps == pytest.approx(expected - 100, rel=0.1)
    assert found.message.endswith(f"; {waiting(found.plateau_steps)}")


@pytest.mark.parametrize(
    "given",
    [
        {"max_steps": 100, "tol": 0},  # so many steps were wanted
        {"max_steps": 0},  # the start was to be evaluated
        {"max_steps": 100_000, "tol": 1e-3},
    ],
)
def test_a_run_that_ends_as_it_should_does_not(given):
    assert dmc.solve(*deep(), **given).plateau_steps is None


def test_what_has_left_the_plateau_is_not_called_so():
    """Ended early, but not at the start: by a small rank, noise, or a long tail of small singular values."""
    rng = np.random.default_rng(15)
    noise = dmc.LeastSquares(rng.standard_normal((40, 40)))
    tail = dmc.LeastSquares(np.geomspace(1, 1e-3, 30) * np.linalg.qr(rng.standard_normal((30, 30)))[0])
    for problem, begin in (
        (noise, initial.narrow((40, 40), 1, 3, 0.3)),
        (tail, initial.orthogonal((30, 30), 3, 0.1)),
        (noise, initial.spectral(noise.matrix, 2)),
        (planted((30, 20), 2, 0.6, 16), initial.spectral(planted((30, 20), 2, 0.6, 16).observations, 2)),
    ):
        found = dmc.solve(problem, begin, Descent(rate_of(problem, 3)), max_steps=1000, tol=1e-14)
        assert (found.status, found.plateau_steps) == (Status.MAX_STEPS, None)


def test_the_progress_bar_tells_while_one_waits():
    problem, begin, rule = deep()
    expected, drawn = plateau_steps(problem, begin, rule), io.StringIO()
    bar = dmc.callbacks.Progress(file=drawn)
    shown = []

    def look(info):
        shown.append((info.n_steps, bar._bar.postfix if bar._bar is not None else ""))
        return info.value < 0.1 * problem.value(begin)

    dmc.solve(problem, begin, rule, max_steps=int(2 * expected), tol=0, callbacks=[bar, look])
    told = {n: int(p.split("about ")[1].split(" ")[0].replace(",", "")) for n, p in shown if "plateau" in p}
    assert "on the plateau of a small start; about" in next(p for n, p in shown if n == 100)
    assert told[100] == pytest.approx(expected - 100, rel=0.2)
    ahead = [n for n in told if n < 0.8 * expected]
    assert all(n + told[n] == pytest.approx(expected, rel=0.3) for n in ahead)
    assert "plateau" not in shown[-2][1]  # it has escaped


@pytest.mark.parametrize(
    ("n_steps", "said"),
    [
        (1, "about 1 more step"),
        (7123.4, "about 7,100 more steps"),
        (3.4e9, "about 3e\\+09 more steps"),
    ],
)
def test_the_wait_in_words(n_steps, said):
    assert re.search(f"on the plateau of a small start.*{said}$", waiting(n_steps))
