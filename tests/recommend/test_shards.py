"""A model whose users are in several files is that of one file."""

import json

import numpy as np
import pytest

import dmc
from dmc import model_file
from dmc.recommend import shards


def table(seed=0, clicks=False, weights=False):
    rng = np.random.default_rng(seed)
    positions = rng.permutation(60 * 25)[:700]
    user, item = positions // 25, positions % 25
    found = {"user": np.array([f"u{i}" for i in user]), "item": item}
    if not clicks:
        found["rating"] = rng.integers(1, 6, 700).astype(np.float32)
    if weights:
        found["weight"] = rng.uniform(0.5, 2, 700)
    return found


KINDS = {
    "ratings": ({}, {}),
    "weights": ({}, {"weights": True}),
    "clicks": ({"feedback": "implicit", "rank": 8}, {"clicks": True}),
    "network": ({"model": "network", "rank": 3}, {}),
}


@pytest.fixture(params=KINDS)
def model(request):
    settings, drawn = KINDS[request.param]
    given = {"weight": "weight"} if "weights" in drawn else {}
    return dmc.Recommender(**settings).fit(table(**drawn), **given)


def split(model, folder, ratings=True):
    """The users of a model in three files, the last of which has one; each in the order of the ids."""
    folder.mkdir()
    ids, files = model.users_.ids, {}
    chosen = [np.arange(0, len(ids) - 1, 2), np.arange(1, len(ids) - 1, 2), [len(ids) - 1]]
    for number, own in enumerate(chosen):
        part = dmc.Recommender._serving(model._settings(), model._served())
        part.forget(users=np.delete(ids, own))
        part.save(folder / f"{number}.dmc", ratings=ratings)
        files[f"{number}.dmc"] = [number]
    (folder / shards.LIST).write_text(json.dumps({"format": shards.FORMAT, "version": 1, "files": files}))
    return folder


def test_the_files_are_put_together(model, tmp_path):
    found = dmc.Recommender.load(split(model, tmp_path / "model"))
    np.testing.assert_array_equal(found.users_.ids, model.users_.ids)
    np.testing.assert_array_equal(found.user_factors, model.user_factors)
    np.testing.assert_array_equal(found.item_factors, model.item_factors)
    assert found.n_observed_ == model.n_observed_
    np.testing.assert_array_equal(found.observations_.values, model.observations_.values)
    np.testing.assert_array_equal(found.observations_.cols, model.observations_.cols)
    if model.observations_.weights is not None:
        np.testing.assert_array_equal(found.observations_.weights, model.observations_.weights)
    asked = {"user": ["u1", "u5", "nobody"], "item": [1, 2, 3]}
    np.testing.assert_array_equal(found.predict(asked)["prediction"][:2], model.predict(asked)["prediction"][:2])


def test_what_comes_later_is_taken_in_alike(model, tmp_path):
    found = dmc.Recommender.load(split(model, tmp_path / "model"))
    more = {"user": ["new", "new", "u3"], "item": [1, 24, 30]} | (
        {} if model.feedback == "implicit" else {"rating": [5.0, 1.0, 3.0]}
    )
    if model.observations_.weights is not None:
        more["weight"] = [1.0, 2.0, 0.5]
    ours, theirs = (of.fold_in(more).predict({"user": ["new", "u3"], "item": [5, 6]}) for of in (found, model))
    np.testing.assert_allclose(ours["prediction"], theirs["prediction"], rtol=1e-4, atol=1e-4)


def test_models_without_ratings(tmp_path):
    model = dmc.Recommender().fit(table())
    found = dmc.Recommender.load(split(model, tmp_path / "model", ratings=False))
    assert found.n_observed_ == model.n_observed_
    np.testing.assert_array_equal(found.user_factors, model.user_factors)


WRONG = {
    "no list": (lambda path: path.unlink(), FileNotFoundError, "there is no model in the folder"),
    "damaged": (lambda path: path.write_text("[1]"), ValueError, "is damaged; save the model again"),
    "newer": (
        lambda path: path.write_text(json.dumps({"format": shards.FORMAT, "version": 9, "files": {"0.dmc": []}})),
        ValueError,
        "has format version 9 and this dmc reads up to 1",
    ),
    "lost": (lambda path: (path.parent / "1.dmc").unlink(), FileNotFoundError, "there is no model file .*1.dmc"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_model_is_refused(case, tmp_path):
    spoil, kind, said = WRONG[case]
    folder = split(dmc.Recommender().fit(table()), tmp_path / "model")
    spoil(folder / shards.LIST)
    with pytest.raises(kind, match=said):
        dmc.Recommender.load(folder)


def test_several_files_are_not_mapped_as_one(tmp_path):
    with pytest.raises(ValueError, match="3 files, which are not mapped as one"):
        dmc.Recommender.load(split(dmc.Recommender().fit(table()), tmp_path / "model"), mmap=True)


def test_one_file_may_be_of_a_version_that_had_fewer_settings(tmp_path):
    model = dmc.Recommender().fit(table())
    folder = split(model, tmp_path / "model")
    arrays, header = model_file.load(folder / "1.dmc", "Recommender")
    del header["settings"]["n_threads"]
    model_file.save(folder / "1.dmc", "Recommender", arrays, header)
    np.testing.assert_array_equal(dmc.Recommender.load(folder).user_factors, model.user_factors)
    header["settings"]["rank"] = 7
    model_file.save(folder / "1.dmc", "Recommender", arrays, header)
    with pytest.raises(ValueError, match="of another model than the files beside it"):
        dmc.Recommender.load(folder)
