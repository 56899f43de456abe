"""TensorCompletion: the manners of MatrixCompletion, and planted answers."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import dmc
from planted_tensors import planted


@pytest.fixture(scope="module")
def clean() -> tuple[np.ndarray, np.ndarray, dmc.TensorCompletion]:
    X, _, mask = planted()
    X = 40 * X
    return X, mask, dmc.TensorCompletion(tube=2).fit(np.where(mask, X, np.nan))


def test_an_exact_tensor_is_found_with_nothing_told() -> None:
    X, _, mask = planted((16, 14, 6), 1, 0.5)
    model = dmc.TensorCompletion().fit(X, mask=mask)
    assert (model.tube_, model.unfolding_, model.rank_, model.exact_) == (2, None, 1, True)
    assert model.multi_rank_.tolist() == [1] * 4
    assert model.status_ is dmc.Status.CONVERGED
    np.testing.assert_allclose(model.complete(), X, atol=1e-10)


def test_what_is_told_of_the_fit(clean: tuple) -> None:
    X, mask, model = clean
    assert model.held_out_rmse_ < 1e-10 * 40
    assert model.residual_rms_ < 1e-10 * 40
    assert model.candidate_errors_.keys() == {"tube 2"}
    assert model.n_iter_ == sum(line["n_steps"] for line in model.history_ if line["phase"] != "path") + max(
        line["n_steps"] for line in model.history_ if line["phase"] == "path"
    )
    problem = dmc.TubalLeastSquares(X, mask=mask)
    assert problem.value(model.factors_) < 1e-15


@pytest.mark.parametrize("transform", ["dct", "matrix"])
def test_other_transforms(transform: str, tmp_path: Path) -> None:
    given = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0] if transform == "matrix" else transform
    X, _, mask = planted(transform=given)
    model = dmc.TensorCompletion(tube=2, transform=given).fit(X, mask=mask)
    np.testing.assert_allclose(model.complete(), X, atol=1e-10)
    assert model.multi_rank_.tolist() == [2] * 6
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(dmc.TensorCompletion.load(tmp_path / "model").complete(), model.complete())


def test_a_matrix_transform_makes_axes_of_its_size_candidates() -> None:
    X, _, mask = planted((8, 9, 6), 1, 0.8, transform="dct")
    matrix = dmc.tubal.transform_of("dct", 6).matrix
    assert dmc.TensorCompletion(transform=matrix).fit(X, mask=mask).tube_ == 2


def test_noise_is_averaged_and_values_are_bounded() -> None:
    X, seen, mask = planted((24, 22, 6), 2, 0.8, noise=0.1)
    low, high = seen[mask].min(), seen[mask].max()
    model = dmc.TensorCompletion(tube=2, min_value=low, max_value=high).fit(seen, mask=mask)
    assert not model.exact_
    found = model.complete()
    assert np.linalg.norm(found - X) < 0.07 * np.linalg.norm(X)
    assert found.min() >= low
    assert found.max() <= high
    assert model.held_out_rmse_ == pytest.approx(0.1, rel=0.3)


def test_an_offset_of_a_million_spreads_is_no_matter() -> None:
    X, seen, mask = planted((24, 22, 6), 1, 0.8, noise=0.05)
    model = dmc.TensorCompletion(tube=2).fit(1e4 + seen, mask=mask)
    assert np.linalg.norm(model.complete() - 1e4 - X) < 0.06 * np.linalg.norm(X)


def test_the_same_seed_gives_the_same_result_and_the_size_is_no_matter() -> None:
    _, seen, mask = planted((10, 9, 5), 1, noise=0.2)
    completed = [
        dmc.TensorCompletion(tube=2, random_state=3).fit(scale * seen, mask=mask).complete() / scale
        for scale in (1.0, 1.0, 2.0**700, 2.0**-700)
    ]
    for other in completed[1:]:
        np.testing.assert_array_equal(other, completed[0])


@pytest.mark.parametrize("form", ["list", "masked", "placeholder", "reversed", "float32", "integers", "torch"])
def test_data_come_in_many_forms(form: str) -> None:
    rng = np.random.default_rng(0)
    X = np.einsum("i,j,t->ijt", *(rng.integers(1, 6, n).astype(float) for n in (8, 7, 6)))
    mask = rng.random(X.shape) < 0.7
    expected = dmc.TensorCompletion(tube=2).fit(np.where(mask, X, np.nan)).complete()
    settings, given = {}, {}
    if form == "list":
        seen = np.where(mask, X, np.nan).tolist()
    elif form == "masked":
        seen = np.ma.masked_array(X, ~mask)
    elif form == "placeholder":
        seen, settings = np.where(mask, X, -9), {"missing_values": -9}
    elif form == "reversed":
        seen = np.where(mask, X, np.nan)[::-1].copy()[::-1]
        seen.setflags(write=False)
    elif form == "float32":
        seen = np.where(mask, X, np.nan).astype(np.float32)
    elif form == "integers":
        seen, given = X.astype(int), {"mask": mask.tolist()}
    else:
        torch = pytest.importorskip("torch")
        seen, given = torch.tensor(X), {"mask": torch.tensor(mask)}
    found = dmc.TensorCompletion(tube=2, **settings).fit(seen, **given).complete()
    assert found.dtype == (np.float32 if form == "float32" else np.float64)
    np.testing.assert_allclose(found, expected, rtol=1e-5 if form == "float32" else 1e-10)


def test_what_was_fitted_can_be_cloned_and_asked_for(clean: tuple) -> None:
    model = clone(dmc.TensorCompletion(rank=3, tube=1, transform="dct"))
    assert model.get_params()["transform"] == "dct"
    with pytest.raises(NotFittedError):
        model.complete()
    _, _, fitted = clean
    assert repr(fitted) == "TensorCompletion(tube=2)"


def test_callbacks_look_on_and_may_end_the_fit() -> None:
    _, seen, mask = planted(noise=0.1)
    history = dmc.callbacks.History()
    model = dmc.TensorCompletion(tube=2, callbacks=[history, lambda info: info.n_steps >= 6]).fit(seen, mask=mask)
    assert model.status_ is dmc.Status.STOPPED
    assert model.n_iter_ == 6
    assert history.column("n_steps").tolist() == list(range(7))
    assert model.complete().shape == seen.shape


@pytest.mark.parametrize("after", [0, 3])
def test_ctrl_c_keeps_what_was_reached(after: int) -> None:
    def press(info: dmc.StepInfo) -> None:
        if info.status is None and info.n_steps == after:
            raise KeyboardInterrupt

    _, seen, mask = planted(noise=0.1)
    with pytest.warns(UserWarning, match=f"interrupted after {after} steps"):
        model = dmc.TensorCompletion(callbacks=[press]).fit(seen, mask=mask)
    assert model.status_ is dmc.Status.STOPPED
    assert np.isfinite(model.complete()).all()


def test_progress_is_shown(capsys: pytest.CaptureFixture) -> None:
    X, _, mask = planted((8, 7, 4), 1)
    dmc.TensorCompletion(tube=2, verbose=True).fit(X, mask=mask)
    assert "step" in capsys.readouterr().err


X = np.random.default_rng(0).standard_normal((5, 6, 4))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"rank": 0}, ValueError, "rank is 0; it has to be from 1 to 5"),
        ({"rank": 6, "tube": 2}, ValueError, "from 1 to 5"),
        ({"rank": -1}, ValueError, "rank is -1"),
        ({"rank": 2.5}, TypeError, "rank is 2.5"),
        ({"tube": 3}, ValueError, "tube is 3; it has to be from 0 to 2"),
        ({"tube": "time"}, ValueError, "tube is 'time'; give an axis, 0, 1 or 2, or 'auto'"),
        ({"tube": 2, "transform": np.ones((4, 4))}, ValueError, "not orthogonal"),
        ({"transform": None}, TypeError, "transform is None; give 'dft', 'dct' or"),
        ({"transform": np.eye(3)}, ValueError, r"tubes of 3 entries and X has shape \(5, 6, 4\)"),
        ({"min_value": 0}, ValueError, "observed entries lie outside min_value 0"),
        ({"min_value": 9, "max_value": -9}, ValueError, "give a range"),
        ({"validation_fraction": 0}, ValueError, "validation_fraction is 0"),
        ({"depth": -1}, ValueError, "depth is -1"),
        ({"random_state": -1}, ValueError, "random_state is -1"),
        ({"callbacks": [3]}, TypeError, "cannot be called"),
        ({"n_threads": 0}, ValueError, "n_threads is 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        dmc.TensorCompletion(**settings).fit(X)


def test_the_example_of_the_docstring_runs() -> None:
    import doctest

    from dmc.completion.tensors import estimator

    assert doctest.testmod(estimator).failed == 0


@pytest.mark.filterwarnings("ignore:the model predicts held-out")
def test_a_number_for_missing_entries_that_is_nowhere_is_told() -> None:
    with pytest.warns(UserWarning, match="missing_values is -200, which does not occur in X"):
        dmc.TensorCompletion(1, tube=2, missing_values=-200).fit(X)
