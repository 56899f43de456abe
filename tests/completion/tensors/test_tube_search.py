"""The search along one axis: paths that held-out entries judge, exact models, finishes."""

import numpy as np
import pytest

from dmc.completion.tensors.phases import TensorPhases
from dmc.completion.tensors.tube_search import Trial, TubeSearch
from dmc.solver.loop import Run
from planted_tensors import planted, slices_of


def trial_of(seen: np.ndarray, mask: np.ndarray, bound: int = 14) -> Trial:
    rng = np.random.default_rng(0)
    held_out = np.moveaxis(mask & (rng.random(mask.shape) < 0.05), 2, 0)
    return Trial(slices_of(seen, mask), held_out, bound, 3, rng, 1e-11, "tube 2")


def walked(trial: Trial) -> Trial:
    while not (trial.over or trial.nearly_exact):
        trial.step()
    return trial


def test_clean_entries_lead_near_an_exact_model_and_a_finish_to_it() -> None:
    X, _, mask = planted()
    trial = walked(trial_of(X, mask))
    assert trial.nearly_exact
    assert not trial.few_entries
    with Run() as run:
        found = TubeSearch(trial, TensorPhases(run)).exact_from(trial.point.model)
    assert found is not None
    assert found.widths.tolist() == [2] * 4
    assert np.abs(np.moveaxis(trial.whole.tensor(found), 0, 2) - X).max() < 1e-11


def test_the_path_does_not_see_what_is_held_out() -> None:
    X, _, mask = planted()
    trial = trial_of(X, mask)
    assert not trial.train.mask[trial.held_out].any()
    assert not trial.train.values[trial.held_out].any()
    trial.step()
    off = trial.whole.tensor(trial.point.model)[trial.held_out] - np.moveaxis(X, 2, 0)[trial.held_out]
    assert trial.error == pytest.approx(np.sqrt(np.mean(off**2)))


def test_noise_ends_the_path_and_the_true_multi_rank_without_penalty_is_taken() -> None:
    X, seen, mask = planted((24, 22, 6), 2, 0.8, noise=0.1)
    trial = walked(trial_of(seen, mask, 20))
    assert trial.over
    assert not trial.nearly_exact
    with Run() as run:
        search = TubeSearch(trial, TensorPhases(run))
        chosen = search.judged()
        fitted = search.fitted(chosen)
    assert chosen.level == 0
    assert fitted.widths.tolist() == [2] * 4
    assert chosen.error == pytest.approx(0.1, rel=0.25)
    assert np.linalg.norm(np.moveaxis(trial.whole.tensor(fitted), 0, 2) - X) < 0.07 * np.linalg.norm(X)


def test_directions_that_only_fill_in_are_trimmed() -> None:
    X, _, mask = planted(share=0.9)
    trial = walked(trial_of(X, mask))
    model = trial.point.model
    rng = np.random.default_rng(0)
    wide = type(model)(
        *(
            np.concatenate([side, 1e-2 * trial.whole.transform.forward(rng.standard_normal((6, side.shape[1], 1)))], 2)
            for side in model
        )
    )
    with Run() as run:
        found = TubeSearch(trial, TensorPhases(run)).exact_from(wide)
    assert found is not None
    assert found.widths.tolist() == [2] * 4


def test_more_freedom_than_entries_matches_nothing() -> None:
    rng = np.random.default_rng(0)
    seen, mask = rng.standard_normal((8, 7, 5)), rng.random((8, 7, 5)) < 0.5
    trial = trial_of(seen, mask, 7)
    for _ in range(25):
        trial.step()
    with Run() as run:
        search = TubeSearch(trial, TensorPhases(run))
        assert search.exact_from(trial.point.model) is None
        assert search.explore(0.84) is None


def test_a_path_on_all_entries_finds_the_exact_model_of_few() -> None:
    X, _, _ = planted((24, 22, 6), 2)
    rng = np.random.default_rng(5)
    mask = np.zeros(X.size, bool)
    mask[rng.permutation(X.size)[: round(1.3 * 6 * 2 * 44)]] = True
    trial = trial_of(X, mask.reshape(X.shape), 20)
    with Run() as run:
        phases = TensorPhases(run)
        found = TubeSearch(trial, phases).explore(0.9)
    assert found is not None
    assert found.widths.tolist() == [2] * 4
    assert {line["phase"] for line in phases.history} == {"path", "exact"}
