"""dmc.compare: all contenders on one matrix, what is told of them, and what is refused."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import dmc
from dmc.comparison import side_by_side, training
from dmc.comparison.costs import NetworkSize


@pytest.fixture(scope="module")
def planted():
    return dmc.datasets.planted((60, 50), 2, 0.45, seed=3)


@pytest.fixture(scope="module")
def found(planted):
    with pytest.warns(ConvergenceWarning, match=r"1 of 5 contenders did not converge: two-factor \(not converged at"):
        return dmc.compare(planted, rank=4, max_steps=3000)


def test_depth_finds_the_matrix_and_two_factors_over_fit(found):
    """The rank bound is twice the rank: three layers do not mind, two do (Arora et al., 2019)."""
    errors = {row["contender"]: row["held_out_error"] for row in found.table}
    assert list(errors) == list(side_by_side.CONTENDERS)
    for name in ("compressed", "full width", "narrow"):
        assert errors[name] < 1e-3, name
    assert errors["two-factor"] > 1e-2
    assert errors["MatrixCompletion"] < 1e-9
    assert found.baseline == pytest.approx(1, abs=0.2)


def test_parameters_and_sizes(found):
    counts = {row["contender"]: row["n_parameters"] for row in found.table}
    assert counts["full width"] == 60 * 60 + 60 * 60 + 60 * 50
    assert counts["compressed"] == 8 * 110 + 3 * 64
    assert (counts["narrow"], counts["two-factor"]) == (8 * 110 + 64, 4 * 110)
    assert (found.shape, found.n_train) == ((60, 50), 1350)
    assert "rank at most 4, width 8, depth 3" in str(found)


def test_the_same_seed_gives_the_same_errors(planted, found):
    again = dmc.compare(planted, rank=4, contenders="compressed", max_steps=3000)
    np.testing.assert_array_equal(again["compressed"].course[:, [0, 2]], found["compressed"].course[:, [0, 2]])


def test_defaults_say_so(rng):
    few = np.where(rng.random((50, 40)) < 0.1, rng.standard_normal((50, 40)), np.nan)
    few[:, 0] = few[0] = 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = dmc.compare(few, contenders=["two-factor"], max_steps=5)
    bound = found.n_train // 90
    assert 1 <= bound < 10
    assert f"rank at most {bound} (by default)" in found.settings


def test_an_offset_is_told():
    X = 50 + np.outer(np.arange(12.0), [1, -1, 2, 0, 1, 1, 3])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = dmc.compare(X, contenders=["compressed"], max_steps=5)
    assert "they fit the entries less their mean" in str(found)


def test_what_predicts_no_better_than_the_mean_is_told(rng):
    noise = rng.standard_normal((30, 30))
    with (
        pytest.warns(UserWarning, match=r"1 of 1 contender predicts no better than the mean \(.*\): two-factor \("),
        pytest.warns(ConvergenceWarning),
    ):
        dmc.compare(noise, rank=20, contenders=["two-factor"], max_steps=50)


def test_a_network_on_the_plateau_is_not_said_to_need_another_rank(planted):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = dmc.compare(planted.observations, rank=4, contenders=["compressed"], max_steps=100)
    assert found["compressed"].plateau_steps is not None
    assert found["compressed"].held_out_error > found.baseline
    assert [str(warning.message).partition(":")[0] for warning in told] == ["1 of 1 contender did not converge"]


def test_nothing_is_told_where_all_is_well(planted):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dmc.compare(planted, rank=4, contenders=["compressed", "MatrixCompletion"])


def test_a_full_network_of_20_000_is_refused_and_the_others_go_on(planted, monkeypatch):
    """The sizes are those of a large matrix, the data are not: nothing of that size is made."""
    real = training.networks

    def huge(data, settings):
        of_kind = real(data, settings)
        full = of_kind["full width"]
        size = NetworkSize(20_000, 20_000, 20_000, 1, 10**6)
        return of_kind | {"full width": training.Network(full.name, size, full.start)}

    monkeypatch.setattr(side_by_side, "networks", huge)
    with pytest.warns(UserWarning, match=r"full width was not run: 5,000 steps would take about .* days"):
        found = dmc.compare(planted, contenders=("full width", "compressed"))
    assert found["full width"].ending == "not run"
    assert found["compressed"].converged
    assert "estimated from 0 steps" in str(found)


def test_ctrl_c_keeps_what_was_measured(planted, monkeypatch):

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(training.initial, "narrow", interrupted)
    with pytest.warns(UserWarning, match="interrupted in narrow: the comparison holds what was measured") as told:
        found = dmc.compare(planted, contenders=("compressed", "narrow", "MatrixCompletion"))
    assert len(told) == 1  # what was not begun is no news
    assert found["compressed"].converged
    assert [c.ending for c in found.contenders] == ["converged", "interrupted", "not run"]
    assert "interrupted before" in found["MatrixCompletion"].refusal


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rank is 0"),
        ({"rank": 99}, "rank is 99; it has to be from 1 to 5"),
        ({"depth": 1}, "depth is 1; it has to be at least 2"),
        ({"scale": 0}, "scale is 0"),
        ({"contenders": []}, "contenders is empty; name at least one of 'compressed'"),
        ({"contenders": ["deep"]}, "each of contenders is 'deep'; choose one of"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"time_limit": 0}, "time_limit is 0"),
        ({"test_fraction": 1.5}, "test_fraction is 1.5"),
        ({"tol": -1}, "tol is -1"),
    ],
)
def test_bad_settings_are_refused(rng, settings, message):
    with pytest.raises(ValueError, match=message):
        dmc.compare(rng.standard_normal((6, 5)), **settings)


def test_a_seed_is_a_whole_number(rng):
    with pytest.raises(TypeError, match="random_state is None"):
        dmc.compare(rng.standard_normal((6, 5)), random_state=None)
    with pytest.raises(TypeError, match="contenders is 3; give a list of names"):
        dmc.compare(rng.standard_normal((6, 5)), contenders=3)


@pytest.mark.parametrize("shape", [(2, 2), (3, 40), (40, 3)])
@pytest.mark.filterwarnings("ignore")
def test_small_shapes(rng, shape):
    found = dmc.compare(rng.standard_normal(shape), max_steps=20)
    assert all(np.isfinite(row["held_out_error"]) for row in found.table)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_a_line_cannot_spare_an_entry(rng, shape):
    with pytest.raises(ValueError, match="can be held out without emptying a row or a column; give more entries, or"):
        dmc.compare(rng.standard_normal(shape))
