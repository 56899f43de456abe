"""LensKit: its own conformance suites, its own pipelines and metrics, beside its own model."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("lenskit", reason="lenskit is not installed here; `make integrations` runs these tests with it")

import pandas as pd
from lenskit import batch, operations
from lenskit.als import BiasedMFScorer
from lenskit.data import Dataset, ItemList, ItemListCollection, RecQuery, from_interactions_df
from lenskit.metrics import MAE, NDCG, RBP, RMSE, RunAnalysis
from lenskit.pipeline import Component, Pipeline, predict_pipeline, topn_pipeline
from lenskit.splitting import SampleFrac, TTSplit, sample_users
from lenskit.testing import BasicComponentTests, ScorerTests
from lenskit.training import TrainingOptions
from pydantic import ValidationError

from dmc.integrations.lenskit import CompressedMFConfig, CompressedMFScorer

pytestmark = [  # of LensKit's own making
    pytest.mark.filterwarnings("ignore:user_items is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Class-scoped fixtures defined as instance methods"),
]


@pytest.fixture(scope="session")
def ml_ratings(ratings) -> pd.DataFrame:
    """In the place of the MovieLens file that LensKit's suites look for."""
    frame = pd.DataFrame(ratings).rename(columns={"user": "user_id", "item": "item_id"})
    return frame.assign(timestamp=pd.to_datetime(frame["timestamp"], unit="h"))


@pytest.fixture(scope="session")
def ml_ds(ml_ratings) -> Dataset:
    return from_interactions_df(ml_ratings)


@pytest.fixture
def ml_100k(data_folder) -> pd.DataFrame:
    """All of MovieLens 100K, from both files of its first split."""
    files = [data_folder / "ml-100k" / name for name in ("u1.base", "u1.test")]
    for file in files:
        if not file.exists():
            pytest.skip(f"there is no {file}")
    names = ["user_id", "item_id", "rating", "timestamp"]
    return pd.concat([pd.read_csv(file, sep="\t", names=names) for file in files], ignore_index=True)


class TestComponent(BasicComponentTests):
    component = CompressedMFScorer
    configs = [  # noqa: RUF012
        {"embedding_size": 8},
        {"model": "network", "depth": 0, "regularization": 0.5},
        {"user_embeddings": True},
    ]


class TestScorer(ScorerTests):
    component = CompressedMFScorer
    can_score = "known"
    expected_rmse = (0.85, 0.95)
    expected_ndcg = 0.06  # LensKit's own biased ALS: .062, with an RMSE of .893


class TestScorerWithHistories(ScorerTests):
    component = CompressedMFScorer
    config = CompressedMFConfig(embedding_size=4, user_embeddings=True)
    can_score = "known"
    expected_rmse = (0.85, 0.95)
    expected_ndcg = 0.06


@pytest.fixture(scope="module")
def split(ml_ds) -> TTSplit:
    return sample_users(ml_ds, 100, SampleFrac(0.2, rng=1), rng=1)


@pytest.fixture(scope="module")
def pipeline(split) -> Pipeline:
    pipeline = predict_pipeline(CompressedMFScorer(), fallback=False)
    pipeline.train(split.train, TrainingOptions(rng=7))
    return pipeline


def scorer_of(pipeline: Pipeline) -> CompressedMFScorer:
    return pipeline.component("scorer")


def measured(scorer: Component, train: Dataset, test: ItemListCollection) -> pd.Series:
    """LensKit's own figures for a scorer in a pipeline of its own."""
    pipeline = topn_pipeline(scorer, predicts_ratings=True, n=20)
    pipeline.train(train, TrainingOptions(rng=7))
    ratings = RunAnalysis(RMSE(), MAE()).measure(batch.predict(pipeline, test, n_jobs=1), test)
    ranking = RunAnalysis(NDCG(), RBP()).measure(batch.recommend(pipeline, test, n_jobs=1), test)
    figures = pd.concat([ratings.list_summary(), ranking.list_summary()])["mean"]
    print(f"{type(scorer).__name__}: " + ", ".join(f"{name} {value:.4f}" for name, value in figures.items()))
    return figures


def test_beside_als_on_movielens(ml_100k):
    """Both with their defaults."""
    train, test = ml_100k.iloc[:80_000], ml_100k.iloc[80_000:].drop(columns="timestamp")
    train, test = from_interactions_df(train), ItemListCollection.from_df(test, ["user_id"])
    ours, theirs = (measured(scorer, train, test) for scorer in (CompressedMFScorer(), BiasedMFScorer()))
    assert ours["RMSE"] < theirs["RMSE"] < 0.93
    assert ours["MAE"] < theirs["MAE"]
    assert ours["NDCG"] > theirs["NDCG"]


def test_beside_als_on_planted_ratings(split):
    """With less noise than people have; ALS is better with its own regularisation."""
    ours = measured(CompressedMFScorer(), split.train, split.test)
    theirs = measured(BiasedMFScorer(), split.train, split.test)
    assert ours["RMSE"] < min(1.05 * theirs["RMSE"], 0.4)  # the noise has .3
    assert ours["NDCG"] > 0.9 * theirs["NDCG"]


def test_the_same_seed_repeats(split):
    first, again = (predict_pipeline(CompressedMFScorer(), fallback=False) for _ in range(2))
    items = ItemList(split.train.items.ids())
    for pipeline in (first, again):
        pipeline.train(split.train, TrainingOptions(rng=7))
    np.testing.assert_array_equal(scorer_of(first)(1, items).scores(), scorer_of(again)(1, items).scores())


def test_known_users_agree_with_the_recommender(pipeline, split):
    scorer = scorer_of(pipeline)
    items = ItemList(split.train.items.ids()[:20])
    pairs = {"user": np.full(20, split.train.users.number(5)), "item": split.train.items.numbers(items.ids())}
    wanted = scorer.recommender.predict(pairs, clip=False)["prediction"]
    np.testing.assert_allclose(scorer(5, items).scores(), wanted, atol=1e-5)


def test_strangers_get_the_items_biases_and_unknown_items_none(pipeline, split):
    scorer = scorer_of(pipeline)
    items = ItemList([*split.train.items.ids()[:3], 99_999])
    scores = scorer(-4, items).scores()
    pairs = {"user": np.full(3, -4), "item": split.train.items.numbers(items.ids()[:3])}
    np.testing.assert_allclose(scores[:3], scorer.recommender.predict(pairs, clip=False)["prediction"], atol=1e-5)
    assert np.isnan(scores[3])
    for query in (None, RecQuery(), RecQuery(history_items=ItemList([99_999], rating=[3.0])), ItemList([13, 23])):
        np.testing.assert_array_equal(scorer(query, items).scores(), scores)  # nothing rated that is known


def test_a_history_alone_is_folded_in(pipeline, split):
    """Of a user whom training knows, as if it did not: nearer to what was learnt of that user than the biases are."""
    scorer = scorer_of(pipeline)
    items = ItemList(split.train.items.ids(), vocabulary=split.train.items)
    stranger = scorer(None, items).scores()
    near, far = [], []
    for user in split.train.users.ids()[:40]:
        learnt = scorer(user, items).scores()
        folded = scorer(RecQuery(history_items=split.train.user_row(user)), items).scores()
        near.append(np.mean((folded - learnt) ** 2))
        far.append(np.mean((stranger - learnt) ** 2))
    assert np.mean(near) < 0.3 * np.mean(far)


def test_a_history_is_scored_as_fold_in_would(pipeline, split):
    scorer, items = scorer_of(pipeline), ItemList(split.train.items.ids()[:10])
    scores = scorer(ItemList(split.train.items.ids()[:2], rating=[1.0, 3.0]), items).scores()
    folded = scorer.recommender.fold_in({"user": [-1, -1], "item": [0, 1], "rating": [1.0, 3.0]})
    wanted = folded.predict({"user": [-1] * 10, "item": np.arange(10)}, clip=False)["prediction"]
    np.testing.assert_allclose(scores, wanted, atol=2e-3)


def test_an_item_twice_in_a_history_counts_as_the_last(pipeline, split):
    scorer = scorer_of(pipeline)
    items = ItemList(split.train.items.ids()[:10])
    first, second = split.train.items.ids()[:2]
    twice = RecQuery(history_items=ItemList([first, second, first], rating=[1.0, 3.0, 5.0]))
    once = RecQuery(history_items=ItemList([first, second], rating=[5.0, 3.0]))
    np.testing.assert_array_equal(scorer(twice, items).scores(), scorer(once, items).scores())


def test_histories_of_known_users_on_request(split):
    scorer = CompressedMFScorer(embedding_size=4, user_embeddings=True)
    scorer.train(split.train, TrainingOptions(rng=7))
    items = ItemList(split.train.items.ids()[:10])
    history = ItemList(split.train.items.ids()[:5], rating=np.ones(5))
    with_history = scorer(RecQuery(user_id=5, history_items=history), items).scores()
    assert with_history.mean() < scorer(5, items).scores().mean()  # who gives nothing but ones


def test_scores_through_a_pipeline(pipeline):
    scored = operations.score(pipeline, 5, ItemList([13, 3, 23]))
    assert list(scored.ids()) == [13, 3, 23]
    assert np.isfinite(scored.scores()).all()


def test_what_is_refused(ml_ratings):
    with pytest.raises(RuntimeError, match="this CompressedMFScorer is not trained; call train"):
        CompressedMFScorer()(1, ItemList([3]))
    with pytest.raises(ValidationError, match="epochs"):
        CompressedMFScorer(epochs=10)
    clicks = from_interactions_df(ml_ratings[["user_id", "item_id"]])
    with pytest.raises(ValueError, match="have no attribute 'rating'; give a dataset with ratings"):
        CompressedMFScorer().train(clicks)
