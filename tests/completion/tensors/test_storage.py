"""A completed tensor in a file."""

from pathlib import Path

import numpy as np
import pytest

import dmc
from planted_tensors import planted


def same(a: dmc.TensorCompletion, b: dmc.TensorCompletion) -> None:
    np.testing.assert_array_equal(a.complete(unknown=-1.0), b.complete(unknown=-1.0))
    for name in ("tube_", "unfolding_", "rank_", "status_", "n_iter_", "history_", "held_out_rmse_", "residual_rms_"):
        assert getattr(a, name) == getattr(b, name)
    assert a.candidate_errors_ == b.candidate_errors_
    assert a.exact_ == b.exact_


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_model_comes_back_as_it_was(tmp_path: Path, dtype: type) -> None:
    _, seen, mask = planted((10, 9, 5), 1, noise=0.1)
    model = dmc.TensorCompletion(tube=2, min_value=-9, random_state=4).fit(seen.astype(dtype), mask=mask)
    model.save(tmp_path / "tensor.dmc")
    found = dmc.TensorCompletion.load(tmp_path / "tensor.dmc")
    same(model, found)
    assert found.complete().dtype == dtype
    assert found.multi_rank_.tolist() == model.multi_rank_.tolist()
    assert found.get_params() == model.get_params() | {"missing_values": found.missing_values}
    np.testing.assert_array_equal(found.predict([1], [2], [3]), model.predict([1], [2], [3]))


def test_an_unfolding_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((8, 7, 1)) @ rng.standard_normal((1, 12))
    model = dmc.TensorCompletion().fit(X + 0.05 * rng.standard_normal(X.shape), mask=rng.random(X.shape) < 0.8)
    assert model.unfolding_ == 2
    model.save(tmp_path / "tensor.dmc")
    same(model, dmc.TensorCompletion.load(tmp_path / "tensor.dmc"))


def test_other_files_are_refused(tmp_path: Path) -> None:
    matrix = dmc.MatrixCompletion().fit(np.outer(np.arange(1.0, 7), np.arange(1.0, 6)))
    matrix.save(tmp_path / "matrix.dmc")
    with pytest.raises(ValueError, match="holds a MatrixCompletion, not a TensorCompletion"):
        dmc.TensorCompletion.load(tmp_path / "matrix.dmc")
    with pytest.raises(FileNotFoundError, match="there is no model file"):
        dmc.TensorCompletion.load(tmp_path / "nothing.dmc")


@pytest.mark.filterwarnings("ignore:the model predicts held-out")
@pytest.mark.parametrize("made", ["array", "with a name", "of a length"])
def test_a_transform_of_ones_own_comes_back_whatever_was_chosen(tmp_path: Path, made: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((8, 7, 1)) @ rng.standard_normal((1, 12))
    turn = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    transform = {
        "array": turn,
        "with a name": dmc.tubal.OrthogonalTube(turn, "dct"),
        "of a length": dmc.tubal.FourierTube(12),
    }[made]
    for tube in ("auto", 2):
        model = dmc.TensorCompletion(1, tube, transform=transform).fit(X, mask=rng.random(X.shape) < 0.8)
        model.save(tmp_path / "tensor.dmc")
        found = dmc.TensorCompletion.load(tmp_path / "tensor.dmc")
        np.testing.assert_array_equal(found.complete(), model.complete())
        if made == "of a length":
            assert found.transform == "dft"
        else:
            np.testing.assert_array_equal(found.transform, turn)
