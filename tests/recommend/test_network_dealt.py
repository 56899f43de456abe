"""Networks on ratings whose users are dealt among processes, against one process with all users."""

from functools import cache
from typing import Any

import dealt_ratings
import numpy as np
import pytest
from dealt_ratings import SETTINGS

from dmc._group import ALONE
from dmc.recommend.network import NetworkSettings
from processes import run_processes

pytest.importorskip("torch")

SIZES = (2, 3)
KINDS = ["ratings", "weighted", "tensors"]


@cache
def in_processes(size: int) -> list[dict[str, Any]]:
    """All that is asked of a group of that size, as starting one takes seconds."""
    return run_processes(size, dealt_ratings.all_of_a_process)


@cache
def in_one() -> dict[str, Any]:
    return dealt_ratings.all_of_a_process(ALONE)


def difference(found: Any, wanted: Any) -> float:
    return float(np.max(np.abs(np.asarray(found) - wanted)) / np.max(np.abs(wanted)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("what", ["U", "train", "test"])
def test_the_same_is_drawn_for_any_number_of_processes(what: str, size: int) -> None:
    found = np.concatenate([of["drawn"][what] for of in in_processes(size)])
    np.testing.assert_array_equal(found, in_one()["drawn"][what])


@pytest.mark.parametrize("size", SIZES)
def test_what_items_start_from_is_the_same_in_all_processes(size: int) -> None:
    for of in in_processes(size):
        np.testing.assert_array_equal(of["drawn"]["V"], in_one()["drawn"]["V"])
        np.testing.assert_array_equal(of["drawn"]["cores"], in_one()["drawn"]["cores"])


@pytest.mark.parametrize("size", SIZES)
def test_no_user_and_no_item_is_left_without_a_rating(size: int) -> None:
    train, test = (np.concatenate([of["drawn"][what] for of in in_processes(size)]) for what in ("train", "test"))
    assert len(test) == round(0.2 * (len(train) + len(test)))
    for side in (0, 1):
        assert set(test[:, side]) <= set(train[:, side])


@pytest.mark.parametrize("size", SIZES)
def test_the_held_out_error_is_that_of_all_processes(size: int) -> None:
    wanted = in_one()["drawn"]["error"]
    for of in in_processes(size):
        assert of["drawn"]["error"] == pytest.approx(wanted, rel=1e-12)
        assert of["drawn"]["error"] == in_processes(size)[0]["drawn"]["error"]
        assert abs(of["drawn"]["own error"] / wanted - 1) > 1e-4  # by which each would stop at another step


@pytest.mark.parametrize("size", SIZES)
def test_mean_and_deviation_are_those_of_all_ratings(size: int) -> None:
    for of in in_processes(size):
        np.testing.assert_allclose(of["drawn"]["scales"], in_one()["drawn"]["scales"], rtol=1e-13)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_network_is_that_of_one_process(kind: str, size: int) -> None:
    """After about a hundred steps of Adam in single precision."""
    (one, one_model), parts = in_one()["trained"][kind], [of["trained"][kind] for of in in_processes(size)]
    for fit, model in parts:
        assert fit.solution.n_steps == one.solution.n_steps
        assert fit.errors == parts[0][0].errors
        np.testing.assert_array_equal(fit.factors.V, parts[0][0].factors.V)
        assert difference([e for _, e in fit.errors], [e for _, e in one.errors]) < 1e-6
        assert model.noise == pytest.approx(one_model.noise, rel=1e-6)
    assert difference(np.concatenate([fit.factors.dense() for fit, _ in parts]), one.factors.dense()) < 1e-6
    assert difference(np.concatenate([model.factors.dense() for _, model in parts]), one_model.factors.dense()) < 1e-6


@pytest.mark.parametrize("size", SIZES)
def test_what_is_served_of_one_network(size: int) -> None:
    """Truncated, and with priors, as by one process; but for the signs of directions, which are nobody's choice."""
    models, wanted = [of["served"] for of in in_processes(size)], in_one()["served"]
    assert difference(np.concatenate([model.factors.dense() for model in models]), wanted.factors.dense()) < 1e-6
    for model in models:
        assert (model.rank, model.factors.width) == (wanted.rank, SETTINGS.rank)
        assert model.precision == pytest.approx(wanted.precision, rel=1e-12)
        for side in ("rows", "columns"):
            found, prior = getattr(model, side), getattr(wanted, side)
            assert difference(np.abs(found.covariance), np.abs(prior.covariance)) < 1e-5
            assert difference(np.abs(found.mean), np.abs(prior.mean)) < 1e-5
    f = wanted.factors
    gram = sum(model.factors.U.T @ model.factors.U for model in models)
    assert difference(gram, np.diag(np.diag(f.V.T @ f.V))) < 1e-5  # balanced, over all processes


@pytest.mark.parametrize("size", SIZES)
def test_one_process_stops_all(size: int) -> None:
    *others, last = (of["stopped"] for of in in_processes(size))
    assert set(others) == {"another process"}
    assert last == in_one()["stopped"] == "asked"


@pytest.mark.parametrize("size", SIZES)
def test_with_too_few_ratings_to_hold_any_out(size: int) -> None:
    """Whether there are enough is a matter of those of all processes."""
    for of in in_processes(size):
        assert not np.isfinite(of["few"].validation_rmse)
        assert of["few"].noise == pytest.approx(in_one()["few"].noise, rel=1e-5)


def test_settings_of_one_process_need_no_share() -> None:
    own = dealt_ratings.ratings(dealt_ratings.shared(ALONE)[1])
    settings = NetworkSettings(rank=2, depth=0, l2=1.3, validation_fraction=0.1, device=None)
    found = settings.fit(own, np.random.default_rng(0), [])
    assert found.held_out_error < own.values.std()
