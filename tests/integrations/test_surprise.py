"""Surprise: cross-validation and grid search of its own, beside its own SVD."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("surprise", reason="surprise is not installed here; `make integrations` runs these tests with it")

import pandas as pd
from surprise import SVD, Dataset, PredictionImpossible, Reader, Trainset, accuracy
from surprise.model_selection import GridSearchCV, KFold, cross_validate, train_test_split

import dmc
from dmc.integrations.surprise import CompressedMF


@pytest.fixture(scope="module")
def data(ratings) -> Dataset:
    return Dataset.load_from_df(pd.DataFrame(ratings)[["user", "item", "rating"]], Reader(rating_scale=(1, 5)))


@pytest.fixture(scope="module")
def fitted(data) -> CompressedMF:
    return CompressedMF().fit(data.build_full_trainset())


def test_cross_validate_beside_svd(data):
    """Both with their defaults; the same folds."""
    errors = {}
    for algorithm in (CompressedMF(), SVD(random_state=0)):
        folds = cross_validate(algorithm, data, measures=["RMSE", "MAE"], cv=KFold(3, random_state=0))
        errors[type(algorithm)] = folds["test_rmse"].mean()
        print(f"{type(algorithm).__name__}: RMSE {folds['test_rmse'].mean():.4f}, MAE {folds['test_mae'].mean():.4f}")
    assert errors[CompressedMF] < 0.95 * errors[SVD]


def test_beside_svd_on_movielens(data_folder):
    train, test = (data_folder / "ml-100k" / name for name in ("u1.base", "u1.test"))
    if not train.exists():
        pytest.skip(f"there is no {train}")
    reader = Reader(line_format="user item rating timestamp", sep="\t")
    fold = Dataset.load_from_file(train, reader).build_full_trainset()
    test = [(user, item, rating) for user, item, rating, _ in Dataset.load_from_file(test, reader).raw_ratings]
    ours, theirs = (
        accuracy.rmse(algorithm.fit(fold).test(test), verbose=False)
        for algorithm in (CompressedMF(), SVD(random_state=0))
    )
    print(f"MovieLens 100K, u1: CompressedMF RMSE {ours:.4f}, SVD RMSE {theirs:.4f}")
    assert ours < theirs


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search(n_jobs, data):
    search = GridSearchCV(
        CompressedMF,
        {"n_factors": [2, 8], "model": ["network"], "reg_all": [0.3, 3.0]},
        measures=["rmse"],
        cv=KFold(2, random_state=0),
        refit=True,
        n_jobs=n_jobs,
    )
    search.fit(data)
    assert search.best_params["rmse"]["reg_all"] == 0.3
    assert 1 <= search.predict(5, 13).est <= 5


def test_agrees_with_the_recommender(ratings, fitted):
    """Ids in another order, so rounded otherwise and begun elsewhere; the same model."""
    table = {name: ratings[name] for name in ("user", "item", "rating")}
    wanted = dmc.Recommender().fit(table).predict(table)["prediction"]
    found = [fitted.predict(user, item).est for user, item in zip(table["user"], table["item"], strict=True)]
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 0.1
    inner = {"user": [fitted.trainset.to_inner_uid(5)], "item": [fitted.trainset.to_inner_iid(13)]}
    assert fitted.predict(5, 13).est == pytest.approx(fitted.recommender.predict(inner)["prediction"][0], abs=1e-5)


def test_the_unknown(fitted):
    """The mean and the other side's bias; the mean alone if neither side is known, and Surprise says so."""
    mean = fitted.trainset.global_mean
    assert np.std([fitted.predict("nobody", item).est for item in (3, 13, 23, 33)]) > 0.01
    assert np.std([fitted.predict(user, "nothing").est for user in (1, 2, 3, 4)]) > 0.01
    assert not fitted.predict("nobody", 3).details["was_impossible"]
    both = fitted.predict("nobody", "nothing")
    assert both.details == {"was_impossible": True, "reason": "the user and the item are unknown"}
    assert both.est == pytest.approx(mean)
    with pytest.raises(PredictionImpossible):
        fitted.estimate("UKN__nobody", "UKN__nothing")


def test_text_ids_repeated_ratings_and_pickle():
    rows = [(f"user {u}", f"film {i}", 1 + (u + i) % 5) for u in range(20) for i in range(12) if (u * i) % 3]
    frame = pd.DataFrame([*rows, rows[0]], columns=["user", "item", "rating"])
    trainset = Dataset.load_from_df(frame, Reader()).build_full_trainset()
    assert isinstance(trainset, Trainset)
    fitted = CompressedMF(random_state=3).fit(trainset)
    again = pickle.loads(pickle.dumps(fitted))
    assert again.predict("user 3", "film 7").est == fitted.predict("user 3", "film 7").est
    assert CompressedMF(random_state=3).fit(trainset).predict("user 3", "film 7") == fitted.predict("user 3", "film 7")


def test_every_prediction_of_a_test_set(data):
    train, test = train_test_split(data, test_size=0.2, random_state=0)
    predictions = CompressedMF().fit(train).test(test)
    assert len(predictions) == len(test)
    assert all(1 <= p.est <= 5 for p in predictions)


@pytest.mark.parametrize("settings", [{"n_factors": 0}, {"depth": -1}, {"reg_all": -1.0}, {"reg_all": 0.1}])
def test_settings_that_make_no_sense(settings, data):
    with pytest.raises(ValueError, match=r"is (0|-1); it has to|has no l2"):
        CompressedMF(**settings).fit(data.build_full_trainset())
