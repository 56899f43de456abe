"""A fitted completion that was saved comes back as it was; files that hold none are refused with a sentence each."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from safetensors.numpy import save_file

from dmc import MatrixCompletion, Recommender, __version__, datasets, model_file
from dmc.completion import storage

ATTRIBUTES = (
    "rank_",
    "scale_",
    "status_",
    "n_iter_",
    "history_",
    "held_out_rmse_",
    "residual_rms_",
    "n_features_in_",
)
ARRAYS = "column_errors_", "outliers_"


def table(seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((70, 2)) @ rng.standard_normal((2, 8)) + 0.2 * rng.standard_normal((70, 8))
    return np.where(rng.random(x.shape) < 0.2, np.nan, (x + 5) * np.logspace(-2, 3, 8))


def matrix(noise=0.0) -> np.ndarray:
    observed = datasets.planted((40, 30), 2, 0.6, noise=noise).observations
    x = np.full((40, 30), np.nan)
    x[observed.rows, observed.cols] = observed.values
    return x


def wrong(x: np.ndarray) -> np.ndarray:
    """With some gross errors."""
    at = np.random.default_rng(0).choice(np.flatnonzero(np.isfinite(x)), 12, replace=False)
    x = x.copy()
    x.ravel()[at] += 30.0
    return x


def weights(x: np.ndarray) -> np.ndarray:
    return np.random.default_rng(1).uniform(0.5, 2, x.shape)


CASES = {
    "columns": ({}, table(), {}),
    "rows": ({}, table().T.copy(), {}),
    "none": ({}, matrix(0.1), {}),
    "exact": ({}, matrix(), {}),
    "float32": ({}, matrix(0.1).astype(np.float32), {}),
    "large": ({}, 1e30 * matrix(0.1), {}),
    "robust": ({"loss": "robust"}, wrong(matrix()), {}),
    "weighted": ({}, table(), {"weights": weights(table())}),
    "repeated": ({}, table(), {"sample_weight": 1 + np.arange(70) % 3}),
    "bounded": ({"min_value": np.nanmin(table(), axis=0), "max_value": 1e6}, table(), {}),
    "settings": ({"rank": 3, "depth": 1, "validation_fraction": 0.1, "random_state": 5}, matrix(0.1), {}),
    "placeholder": ({"missing_values": -200}, np.where(np.isnan(table()), -200, table()), {}),
    "generator": ({"random_state": np.random.default_rng(0)}, table(), {}),
    "pandas": ({}, pd.DataFrame(table(), columns=list("abcdefgh"), index=[f"r{i}" for i in range(70)]), {}),
    "numbered": ({}, pd.DataFrame(table()), {}),
    "polars": ({}, pl.DataFrame(table(), schema=list("abcdefgh")), {}),
}


@pytest.fixture(scope="module", params=CASES)
def pair(request, tmp_path_factory):
    """A fitted model, itself out of a file, and its data."""
    settings, X, given = CASES[request.param]
    model = MatrixCompletion(**settings).fit(X, **given)
    path = tmp_path_factory.mktemp("saved") / "model"
    model.save(path)
    return model, MatrixCompletion.load(path), X


def assert_same(found, expected) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected)
    elif isinstance(expected, pl.DataFrame):
        assert found.equals(expected)
    else:
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


# --- round trip


def test_predictions_are_the_same(pair):
    model, again, X = pair
    rows, cols = np.indices(X.shape).reshape(2, -1)
    assert_same(again.predict(rows, cols), model.predict(rows, cols))
    assert_same(again.complete(), model.complete())
    assert_same(again.complete(unknown=-7.0), model.complete(unknown=-7.0))
    for name in ("U", "V", "row_bias", "column_bias"):
        one, other = getattr(again.factors_, name), getattr(model.factors_, name)
        assert (one is None) == (other is None)
        if other is not None:
            assert_same(one, other)


def test_rows_are_folded_in_the_same(pair):
    model, again, X = pair
    half = X[:20]
    assert_same(again.transform(half), model.transform(half))
    assert_same(again.predict(half), model.predict(half))
    assert again.score(half) == model.score(half)


def test_deviations_are_the_same(pair):
    model, again, X = pair
    cols = np.arange(X.shape[1])
    for one, other in zip(
        again.predict(cols % 7, cols, return_std=True), model.predict(cols % 7, cols, return_std=True), strict=True
    ):
        assert_same(one, other)
    assert_same(again.predict(X[:5], return_std=True)[1], model.predict(X[:5], return_std=True)[1])


def test_samples_are_the_same(pair):
    model, again, _ = pair
    for one, other in zip(again.sample(2, random_state=3), model.sample(2, random_state=3), strict=True):
        assert_same(one, other)


def test_what_is_told_of_the_fit_is_the_same(pair):
    model, again, _ = pair
    for name in ATTRIBUTES:
        np.testing.assert_equal(getattr(again, name), getattr(model, name), name)
    for name in ARRAYS:
        assert_same(getattr(again, name), getattr(model, name))
    assert str(again.identifiability_) == str(model.identifiability_)
    np.testing.assert_array_equal(again.identifiability_.row_blocks, model.identifiability_.row_blocks)
    np.testing.assert_array_equal(again.identifiability_.column_blocks, model.identifiability_.column_blocks)
    assert hasattr(again, "feature_names_in_") == hasattr(model, "feature_names_in_")
    assert list(again.get_feature_names_out()) == list(model.get_feature_names_out())


def test_settings_are_the_same(pair):
    model, again, _ = pair
    expected, found = model.get_params(), again.get_params()
    if not isinstance(expected["random_state"], int):  # a generator cannot be held by a file
        expected["random_state"] = None
    for name in expected:  # bounds are not part of what a clone would have to have, if they were lost
        np.testing.assert_equal(found[name], expected[name], name)


def test_a_loaded_model_is_saved_again(pair, tmp_path):
    _, again, X = pair
    again.save(tmp_path / "twice")
    assert_same(MatrixCompletion.load(tmp_path / "twice").transform(X[:20]), again.transform(X[:20]))


def test_cases_are_what_they_are_called(tmp_path):
    """That each kind of scale, and outliers, were there to be saved."""
    for name in ("columns", "rows", "none"):
        settings, X, _ = CASES[name]
        assert MatrixCompletion(**settings).fit(X).scale_ == name
    settings, X, _ = CASES["robust"]
    assert len(MatrixCompletion(**settings).fit(X).outliers_) == 12


def test_bounds_come_back_where_there_is_but_one(tmp_path):
    model = MatrixCompletion(min_value=0.0).fit(table())
    model.save(tmp_path / "model")
    again = MatrixCompletion.load(tmp_path / "model")
    assert (again.min_value, again.max_value) == (0.0, None)
    assert np.asarray(again.transform(-table())[:, 0]).min() <= 0  # observed entries stay
    assert again.predict(-table()).min() == 0


def test_infinite_bounds_come_back(tmp_path):
    high = np.where(np.arange(8) == 2, np.nanmax(table()[:, 2]), np.inf)
    model = MatrixCompletion(max_value=high).fit(table())
    model.save(tmp_path / "model")
    again = MatrixCompletion.load(tmp_path / "model")
    np.testing.assert_array_equal(again.max_value, high)
    assert_same(again.complete(), model.complete())


def test_a_loaded_model_is_fitted_again(tmp_path):
    model = MatrixCompletion(min_value=np.nanmin(table(), axis=0)).fit(table())
    model.save(tmp_path / "model")
    again = MatrixCompletion.load(tmp_path / "model")
    assert_same(again.fit(table()).complete(), model.complete())


def test_numpy_numbers_as_settings(tmp_path):
    settings = {"rank": np.int64(3), "validation_fraction": np.float64(0.1), "random_state": np.int32(4)}
    model = MatrixCompletion(missing_values=np.float64(-200), **settings)
    model.fit(np.where(np.isnan(table()), -200, table()))
    model.save(tmp_path / "model")
    assert MatrixCompletion.load(tmp_path / "model").get_params()["rank"] == 3


def test_numpy_labels_come_back(tmp_path):
    frame = pd.DataFrame(table(), index=np.arange(70) * 10, columns=np.arange(8) + 0.5)
    model = MatrixCompletion().fit(frame)
    model.save(tmp_path / "model")
    found = MatrixCompletion.load(tmp_path / "model").complete()
    assert list(found.index) == list(frame.index)
    assert list(found.columns) == list(frame.columns)


def test_labels_that_no_file_holds_are_numbered(tmp_path):
    frame = pd.DataFrame(table(), index=pd.date_range("2024-01-01", periods=70, freq="h"), columns=list("abcdefgh"))
    model = MatrixCompletion().fit(frame)
    model.save(tmp_path / "model")
    again = MatrixCompletion.load(tmp_path / "model")
    assert list(again.complete().columns) == list("abcdefgh")
    assert list(again.complete().index) == list(range(70))
    np.testing.assert_array_equal(again.complete().to_numpy(), model.complete().to_numpy())
    assert_same(again.transform(frame), model.transform(frame))  # its rows bring their own


def test_callbacks_stay_behind(tmp_path):
    model = MatrixCompletion(callbacks=[lambda info: False]).fit(matrix())
    model.save(tmp_path / "model")
    again = MatrixCompletion.load(tmp_path / "model")
    assert again.callbacks == ()
    assert_same(again.complete(), model.complete())


def test_a_model_that_cannot_be_told_everywhere_comes_back(tmp_path):
    x = np.full((40, 20), np.nan)
    x[:20, :10] = matrix()[:20, :10]
    x[20:, 10:] = matrix()[20:, 10:20]
    with pytest.warns(UserWarning, match="2 blocks"):
        model = MatrixCompletion().fit(x)
    model.save(tmp_path / "model")
    again = MatrixCompletion.load(tmp_path / "model")
    assert_same(again.complete(unknown=np.nan), model.complete(unknown=np.nan))
    with pytest.warns(UserWarning, match="1 position of 1 cannot be determined"):
        assert np.isnan(again.predict([0], [15], return_std=True)[1]).all()


def test_zeros_come_back(tmp_path):
    model = MatrixCompletion().fit(np.zeros((5, 4)))
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(MatrixCompletion.load(tmp_path / "model").complete(), np.zeros((5, 4)))


# --- refused


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model"
    MatrixCompletion().fit(matrix()).save(path)
    return path


def test_the_file_says_who_wrote_it(saved):
    arrays, header = model_file.load(saved, storage.KIND)
    assert header["written_by"] == f"dmc {__version__}"
    assert arrays["U"].shape == (40, 2)


def test_a_recommender_is_no_completion(tmp_path):
    rng = np.random.default_rng(0)
    pairs = rng.permutation(20 * 15)[:200]
    ratings = {"user": pairs // 15, "item": pairs % 15, "rating": rng.integers(1, 6, 200)}
    Recommender().fit(ratings).save(tmp_path / "r")
    message = "r holds a Recommender, not a MatrixCompletion; load it with dmc.Recommender"
    with pytest.raises(ValueError, match=re.escape(message)):
        MatrixCompletion.load(tmp_path / "r")


def test_a_completion_is_no_recommender(saved):
    message = "holds a MatrixCompletion, not a Recommender; load it with dmc.MatrixCompletion"
    with pytest.raises(ValueError, match=re.escape(message)):
        Recommender.load(saved)


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.999])
def test_a_file_that_was_cut_off(share, saved, tmp_path):
    raw = saved.read_bytes()
    (tmp_path / "cut").write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(ValueError, match=r"cut is not a model file, or is damaged .*; save the model again"):
        MatrixCompletion.load(tmp_path / "cut")


def test_a_file_that_was_changed(saved, tmp_path):
    raw = bytearray(saved.read_bytes())
    raw[-9] ^= 1
    (tmp_path / "changed").write_bytes(raw)
    with pytest.raises(ValueError, match="changed is damaged: its contents do not match their checksum"):
        MatrixCompletion.load(tmp_path / "changed")


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\x80\x04\x95", b"PK\x03\x04" + bytes(50)])
def test_files_of_others(content, tmp_path):
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(ValueError, match="other is not a model file, or is damaged"):
        MatrixCompletion.load(tmp_path / "other")


def test_safetensors_of_others(tmp_path):
    save_file({"a": np.zeros(3)}, tmp_path / "other")
    with pytest.raises(ValueError, match="other was not written by dmc; give a file that save"):
        MatrixCompletion.load(tmp_path / "other")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no model file .*nope; check the path"):
        MatrixCompletion.load(tmp_path / "nope")
    with pytest.raises(ValueError, match="is not a model file"):
        MatrixCompletion.load(tmp_path)


def test_a_newer_version(tmp_path, monkeypatch):
    model = MatrixCompletion().fit(matrix())
    newer = model_file.VERSION + 1
    monkeypatch.setattr(model_file, "VERSION", newer)
    model.save(tmp_path / "newer")
    monkeypatch.undo()
    with pytest.raises(
        ValueError, match=f"has format version {newer} and this dmc reads up to .*; install a newer dmc"
    ):
        MatrixCompletion.load(tmp_path / "newer")


def test_no_folder(saved, tmp_path):
    model = MatrixCompletion.load(saved)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nope to save model in; make it first"):
        model.save(tmp_path / "nope" / "model")


def test_an_unfitted_model_is_not_saved(tmp_path):
    with pytest.raises(Exception, match="not fitted yet"):
        MatrixCompletion().save(tmp_path / "model")
    assert not (tmp_path / "model").exists()
