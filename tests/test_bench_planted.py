"""The planted matrices of bench/ are what they are called, and its solvers are judged on what can be known."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _bench(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.syspath_prepend(str(request.config.rootpath / "bench"))


def _fixed(mask: np.ndarray, rank: int, rng: np.random.Generator) -> np.ndarray:
    """Which entries of a random matrix of that rank are the same in all others near it with the same observed entries:
    where no direction that the Jacobian of the observed entries misses moves them."""
    m, n = mask.shape
    U, V = rng.standard_normal((m, rank)), rng.standard_normal((n, rank))

    def moved(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        J = np.zeros((len(i), m + n, rank))
        J[np.arange(len(i)), i], J[np.arange(len(i)), m + j] = V[j], U[i]
        return J.reshape(len(i), -1)

    _, s, Qt = np.linalg.svd(moved(*np.nonzero(mask)))
    free = Qt[np.count_nonzero(s > 1e-9) :]
    everywhere = moved(*np.indices(mask.shape).reshape(2, -1)) @ free.T
    return (np.linalg.norm(everywhere, axis=1) < 1e-8).reshape(mask.shape)


@pytest.mark.parametrize(("rank", "share"), [(1, 0.35), (2, 0.5), (3, 0.6)])
def test_what_a_pattern_determines_is_what_its_jacobian_fixes(rank: int, share: float) -> None:
    from _planted import determined

    rng, undetermined = np.random.default_rng(rank), 0
    for _ in range(60):
        mask = rng.random((12, 10)) < share
        rows, columns = determined(mask, rank)
        fixed = _fixed(mask, rank, rng)
        if not fixed[np.ix_(rows, columns)].all():
            undetermined += 1  # as it may be: the conditions are necessary only
            continue
        # Of all others something is free where they meet what is determined.
        assert not fixed[~rows][:, columns].all(axis=1).any() or not columns.any()
        assert not fixed[rows][:, ~columns].all(axis=0).any() or not rows.any()
    assert undetermined < 6


def test_a_line_that_hangs_on_the_undetermined_is_not_determined() -> None:
    from _planted import determined

    mask = np.ones((7, 8), bool)
    mask[5, 1:], mask[6, 2:] = False, False  # row 5 has one entry, row 6 two
    mask[:, 7] = False
    mask[[0, 5], 7] = True  # column 7 two, one of them in row 5
    rows, columns = determined(mask, 2)
    assert np.flatnonzero(~rows).tolist() == [5]
    assert np.flatnonzero(~columns).tolist() == [7]
    blocks = np.zeros((9, 9), bool)
    blocks[:4, :4] = blocks[4:, 4:] = True  # their scales are free against each other
    assert determined(blocks, 1)[0].tolist() == [False] * 4 + [True] * 5
    assert not determined(np.zeros((3, 4), bool), 1)[1].any()


@pytest.mark.parametrize("rho", [1.5, 3])
def test_patterns_are_what_they_are_called(rho: float) -> None:
    from _planted import AS_DRAWN, MENDED, PATTERNS, Case, make
    from dmc import datasets

    made = {name: make(Case((60, 50), 3, rho, pattern=name), seed=5) for name in (AS_DRAWN, *PATTERNS)}
    count = round(rho * 3 * 107)
    for name, t in made.items():
        assert t.observations.n_observed == t.mask.sum() == count
        np.testing.assert_array_equal(t.X, made[AS_DRAWN].X)
        np.testing.assert_allclose(t.observations.values, t.X[t.mask])
        least = min(t.mask.sum(axis=0).min(), t.mask.sum(axis=1).min())
        assert least >= {MENDED: 3, AS_DRAWN: 0, "a quarter missing": 0}.get(name, 4)
    drawn = datasets.planted((60, 50), 3, count / 3000, seed=5).observations
    np.testing.assert_array_equal(drawn.values, made[AS_DRAWN].observations.values)
    changed = (made[MENDED].mask ^ made[AS_DRAWN].mask).sum()
    assert changed == 0 if made[AS_DRAWN].mask.sum(axis=0).min() >= 3 <= made[AS_DRAWN].mask.sum(axis=1).min() else 2
    assert not made["a quarter missing"].mask[:30, :25].any()
    rows = {name: np.sort(t.mask.sum(axis=1)) for name, t in made.items()}
    assert np.ptp(rows["power law, exponent 1"]) > np.ptp(rows["power law, exponent 0.5"]) > np.ptp(rows[MENDED])
    i, j = np.nonzero(made["band"].mask)
    assert np.mean(abs(i / 60 - j / 50)) < 0.75 * np.mean(
        abs(np.subtract.outer(np.arange(60) / 60, np.arange(50) / 50))
    )


def test_outliers_and_noise_are_as_many_and_as_large_as_they_are_called() -> None:
    from _planted import Case, make

    wrong, noisy = (make(Case((200, 100), 2, 8, **more), seed=0) for more in ({"outliers": 0.05}, {"noise": 0.3}))
    off = wrong.observations.values - wrong.X[wrong.mask]
    assert np.count_nonzero(abs(off) > 1e-9) == round(0.05 * len(off))
    assert np.std(off[abs(off) > 1e-9]) == pytest.approx(10, rel=0.25)
    assert np.std(noisy.observations.values - noisy.X[noisy.mask]) == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize("name", ["Gauss–Newton as in GNMR", "R2RILS", "ScaledGD", "gradient descent"])
def test_rivals_that_are_told_the_rank_recover_an_easy_matrix(name: str) -> None:
    from _completion_rivals import TOLD_THE_RANK
    from _planted import Case, make

    t = make(Case((50, 40), 2, 4), seed=0)
    core, whole = t.errors(TOLD_THE_RANK[name](t, 2))
    assert core <= 1e-6
    assert whole <= 1e-6


def test_success_is_judged_on_what_can_be_known() -> None:
    from recovery import Outcome, summary

    outcomes = [
        Outcome(1e-9, 1e-2, 1e-4, 5, 1.0, 0.9, told=True),
        Outcome(1e-9, 1e-9, 1e-4, 6, 2.0, 1.0, told=False),
        Outcome(1e-2, 1e-2, 0.5, 5, 3.0, 1.0, told=False),
        Outcome(np.inf, np.inf, np.inf, 0, 9.0, 1.0, told=True, raised="LinAlgError()"),
        Outcome(np.nan, 1.0, np.nan, 5, 1.0, 0.0, told=True),  # of which nothing can be known
    ]
    found = summary(outcomes, 5)
    assert (found["seeds"], found["of_determined"], found["whole"], found["whole_determined"]) == (4, 0.5, 0.25, 0.75)
    assert (found["exact_rank"], found["smallest_to_1_percent"], found["median_seconds"]) == (0.5, 0.5, 2.5)
    assert (found["failed_untold"], found["raised"]) == (1, 1)
    assert summary(outcomes[2:3], 5)["exact_rank"] is None


def test_a_recovered_matrix_is_a_success_and_an_error_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    import dmc
    import recovery
    from _planted import Case

    case = Case((40, 30), 2, 3)
    found = recovery.outcome(case, {}, 0)
    assert found.core <= 1e-12
    assert (found.rank, found.share, found.raised) == (2, 1, "")
    assert found.off <= 1e-12

    def fit(*_: object) -> None:
        raise np.linalg.LinAlgError("singular")

    monkeypatch.setattr(dmc.MatrixCompletion, "fit", fit)
    assert "singular" in recovery.outcome(case, {}, 0).raised


def test_random_problems_are_many_kinds_and_their_faults_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import _random_problems
    import dmc

    problems = [_random_problems.problem(seed) for seed in range(300)]
    sizes = [np.nanmax(abs(X)) for X, _ in problems if np.isfinite(X).any()]
    assert {X.dtype for X, _ in problems} == {np.dtype(np.float32), np.dtype(np.float64)}
    assert min(sizes) < 1e-15 < 1e15 < max(sizes)
    assert {np.isfinite(X).sum() for X, _ in problems} > {0, 1}
    assert any(np.isfinite(X).all() for X, _ in problems)

    X = np.ones((3, 4))
    assert _random_problems.fault(np.full((3, 4), np.nan), {}) == ""  # refused with a sentence
    assert "rank is 9" in _random_problems.fault(X, {"rank": 9})  # a sentence that these data do not deserve
    monkeypatch.setattr(dmc.MatrixCompletion, "complete", lambda model: X * np.nan)
    monkeypatch.setattr(_random_problems, "problem", lambda seed: (X, {}))
    assert _random_problems.tried(3).fault == "complete has NaN or inf"


def test_a_hang_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    import _random_problems

    def endless(X: np.ndarray, settings: dict) -> str:
        raise _random_problems.Hang

    monkeypatch.setattr(_random_problems, "fault", endless)
    assert _random_problems.tried(0).fault == "longer than 20 s"
