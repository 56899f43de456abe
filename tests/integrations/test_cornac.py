"""Cornac: experiments, searches and cross-validation of its own, beside its own MF."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cornac", reason="cornac is not installed here; `make integrations` runs these tests with it")

import cornac
from cornac.data import Reader
from cornac.eval_methods import BaseMethod, CrossValidation, RatioSplit
from cornac.exception import ScoreException
from cornac.hyperopt import Discrete, GridSearch
from cornac.metrics import MAE, NDCG, RMSE, Recall
from cornac.models import MF

from dmc.integrations.cornac import CompressedMF

pytestmark = [  # of Cornac's own making: it leaves its model files open
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> None:
    """Experiments leave a log where they run."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def triplets(ratings) -> list[tuple[str, str, float]]:
    columns = (ratings["user"].astype(str), ratings["item"].astype(str), ratings["rating"])
    return list(zip(*columns, strict=True))


@pytest.fixture(scope="module")
def split(triplets) -> RatioSplit:
    return RatioSplit(triplets, test_size=0.2, val_size=0.1, rating_threshold=3.5, seed=1, exclude_unknowns=False)


@pytest.fixture(scope="module")
def fitted(split) -> CompressedMF:
    return CompressedMF().fit(split.train_set)


def test_an_experiment_beside_mf(split, tmp_path):
    """Both with their defaults, which for MF are a tenth of the epochs that it would need."""
    models = [CompressedMF(), MF(seed=0), MF(name="MF, 150 epochs", k=8, lambda_reg=0.02, max_iter=150, seed=0)]
    experiment = cornac.Experiment(split, models, [RMSE(), MAE(), NDCG(k=10), Recall(k=10)], save_dir=str(tmp_path))
    experiment.run()
    rmse = {result.model_name: result.metric_avg_results["RMSE"] for result in experiment.result}
    assert rmse["CompressedMF"] < rmse["MF"]
    assert list(tmp_path.glob("CompressedMF/*.pkl"))


def test_beside_mf_on_movielens(data_folder):
    files = [data_folder / "ml-100k" / name for name in ("u1.base", "u1.test")]
    if not files[0].exists():
        pytest.skip(f"there is no {files[0]}")
    train, test = (Reader().read(str(file), fmt="UIR", sep="\t") for file in files)
    method = BaseMethod.from_splits(train, test, rating_threshold=4, exclude_unknowns=False)
    experiment = cornac.Experiment(method, [CompressedMF(), MF(seed=0)], [RMSE(), MAE()], user_based=False)
    experiment.run()
    ours, theirs = (result.metric_avg_results["RMSE"] for result in experiment.result)
    assert ours < theirs


def test_cross_validation(triplets):
    method = CrossValidation(triplets, n_folds=3, rating_threshold=3.5, seed=1, exclude_unknowns=False)
    experiment = cornac.Experiment(method, [CompressedMF(model="network", lambda_reg=0.4)], [RMSE()])
    experiment.run()
    assert len(experiment.result[0]) == 3
    assert all(fold.metric_avg_results["RMSE"] < 0.5 for fold in experiment.result[0])


def test_grid_search(split):
    search = GridSearch(
        model=CompressedMF(name="searched", model="network"),
        space=[Discrete("k", [2, 8]), Discrete("lambda_reg", [0.3, 3.0])],
        metric=RMSE(),
        eval_method=split,
    )
    search.fit(split.train_set, split.val_set)
    assert search.best_params["lambda_reg"] == 0.3


def test_clone_keeps_every_argument():
    settings = {
        "name": "x",
        "k": 5,
        "model": "network",
        "depth": 2,
        "lambda_reg": 0.7,
        "validation_fraction": 0.2,
        "num_threads": 1,
    }
    settings |= {"trainable": False, "verbose": True, "seed": 9}
    twin = CompressedMF(**settings).clone()
    assert {name: getattr(twin, name) for name in settings} == settings


def test_scores(fitted):
    everything = fitted.score(7)
    assert everything.shape == (fitted.num_items,)
    assert fitted.score(7, 3) == pytest.approx(everything[3], abs=1e-5)
    pairs = {"user": np.full(fitted.num_items, 7), "item": np.arange(fitted.num_items)}
    wanted = fitted.recommender.predict(pairs, clip=False)["prediction"]
    np.testing.assert_allclose(everything, wanted, atol=1e-5)
    ranked, _ = fitted.rank(7)
    assert ranked[0] == np.argmax(everything)
    assert len(fitted.recommend(fitted.user_ids[7], k=5)) == 5


def test_the_unknown(fitted):
    stranger = fitted.score(10_000)
    assert np.std(stranger) > 0.05  # items are not all alike
    assert fitted.score(10_000, 3) == stranger[3]
    with pytest.raises(ScoreException, match="item 10000 is not in the training set"):
        fitted.score(7, 10_000)
    assert fitted.rate(7, 10_000) == pytest.approx(fitted.global_mean)


def test_the_same_seed_repeats(split, fitted):
    with pytest.warns(UserWarning, match="already fitted"):
        again = CompressedMF().fit(split.train_set).fit(split.train_set)
    np.testing.assert_array_equal(again.score(7), fitted.score(7))


def test_save_and_load(fitted, tmp_path, split):
    loaded = CompressedMF.load(fitted.save(str(tmp_path)))
    np.testing.assert_array_equal(loaded.score(7), fitted.score(7))
    with pytest.warns(UserWarning, match="already fitted"):
        loaded.fit(split.train_set)  # not trainable: as it was
    np.testing.assert_array_equal(loaded.score(7), fitted.score(7))


@pytest.mark.parametrize("settings", [{"k": 0}, {"depth": -1}, {"lambda_reg": -1.0}, {"lambda_reg": 0.1}])
def test_settings_that_make_no_sense(settings, split):
    with pytest.raises(ValueError, match=r"is (0|-1); it has to|has no l2"):
        CompressedMF(**settings).fit(split.train_set)
