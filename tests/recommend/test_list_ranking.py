"""Lists by preference and rating: what they are the sum of, when preferences count, and how they grow."""

import numpy as np
import pandas as pd
import pytest
from test_recommender import part

from dmc import Recommender, model_file
from dmc.recommend import evaluation
from dmc.recommend.all_pairs import AllPairs
from dmc.recommend.ensemble import served
from dmc.recommend.preferences import Preferences


def tastes(seed=0, users=300, items=120):
    """Users rate items of their kind more often, and rate every third item higher than the others."""
    rng = np.random.default_rng(seed)
    of_user, of_item = rng.integers(0, 4, users), rng.integers(0, 4, items)
    u, i = np.nonzero(rng.random((users, items)) < np.where(of_user[:, None] == of_item, 0.4, 0.03))
    rating = np.clip(np.round(3 + 1.2 * (i % 3 == 0) - 0.6 + 0.7 * rng.standard_normal(len(u))), 1, 5)
    return {"user": u, "item": i, "rating": rating}, of_user, of_item


@pytest.fixture(scope="module")
def planted_tastes():
    table, of_user, of_item = tastes()
    return Recommender().fit(table), table, of_user, of_item


def test_the_product_is_preference_and_rating(planted_tastes):
    rec, *_ = planted_tastes
    ranking = rec._state.ranking()
    found = ranking.preferences()
    chosen = rec.observations_.with_values(np.ones(rec.n_observed_, np.float32))
    assert isinstance(found, Preferences)
    np.testing.assert_array_equal(found.counts.values, chosen.values)
    expected = found.factors.dense() + ranking.rating_weight * rec.factors_.dense()
    np.testing.assert_allclose(ranking.left[:-1] @ ranking.right[:-1].T, expected, atol=1e-4)
    average = found.factors.dense()[chosen.rows, chosen.cols].mean()
    assert ranking.rating_weight == pytest.approx(0.25 * average / rec.observations_.values.std(), rel=1e-4)
    # A stranger's: popularity, whose average over what was chosen is that of the preferences.
    counts, (*_, stranger) = np.bincount(chosen.cols), ranking.left @ ranking.right[:-1].T
    rating = ranking.rating_weight * (served(rec._state.fitted().models).dense()[-1, :-1])
    np.testing.assert_allclose((stranger - rating) / counts, ((stranger - rating) / counts)[0], rtol=1e-3)
    assert np.average(stranger - rating, weights=counts) == pytest.approx(average, rel=1e-3)


def test_lists_are_of_ones_kind_and_of_what_is_good(planted_tastes):
    rec, _, of_user, of_item = planted_tastes
    lists = rec.recommend(n=5)
    kind = of_user[lists["user"]] == of_item[lists["item"]]
    good = lists["item"] % 3 == 0
    assert kind.mean() > 0.9
    assert good.mean() > 0.6  # a third of all items
    asked = {"user": lists["user"], "item": lists["item"]}
    np.testing.assert_array_equal(rec.predict(asked)["prediction"], lists["prediction"])


def test_pairs_that_were_rated_by_chance_say_nothing():
    """Lists go by predicted rating there."""
    rng = np.random.default_rng(0)
    u, i = np.nonzero(rng.random((300, 80)) < 0.2)
    taste, style = rng.standard_normal((300, 2)), rng.standard_normal((80, 2))
    rec = Recommender().fit({"user": u, "item": i, "rating": 3 + (taste[u] * style[i]).sum(axis=1)})
    rating = rec.factors_.dense()
    rating[u, i] = -np.inf
    best = np.argsort(-rating, axis=1)[:, :5]
    found = rec.recommend(n=5)["item"].reshape(-1, 5)
    same = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found, best, strict=True)])
    assert same > 0.8


@pytest.mark.parametrize("table", [{"user": [1], "item": [1], "rating": [1.0]}, None])
def test_few_ratings_go_by_rating(table):
    rec = Recommender().fit(table or {"user": np.arange(90), "item": np.arange(90), "rating": np.arange(90) % 5})
    ranking = rec._state.ranking()
    assert ranking.preferences is None
    np.testing.assert_array_equal(ranking.left, rec._state.left)
    folded = rec.fold_in({"user": ["x"], "item": ["y"], "rating": [1.0]})
    assert folded._state.ranking().preferences is None
    assert len(folded.recommend("nobody", 1)["item"]) == 1


def test_a_stranger_gets_what_is_popular():
    table, *_ = tastes()
    often = np.bincount(table["item"], minlength=120)
    rec = Recommender().fit({**table, "rating": np.full(len(often[table["item"]]), 3.0) + table["user"] % 2})
    found = rec.recommend(["nobody"], 10)["item"]
    assert often[found].min() >= np.sort(often)[-25]


def test_who_rated_unknown_items_alone_gets_what_is_popular(planted_tastes):
    rec, *_ = planted_tastes
    folded = rec.fold_in({"user": [1000], "item": [1000], "rating": [3.0]})
    ranking = folded._state.ranking()
    width = ranking.preferences().factors.width
    row = folded.users_.positions([1000])[0]
    np.testing.assert_array_equal(ranking.left[row, : width + 1], ranking.left[-1, : width + 1])


def test_a_described_item_may_be_listed():
    table, *_ = tastes()
    info = {"item": np.arange(140), "third": (np.arange(140) % 3 == 0).astype(float)}
    rec = Recommender().fit(table, item_features=info)
    found = rec.recommend(0, 139, filter_already_liked_items=False)["item"]
    assert set(found) >= set(range(120, 139)) - {found[-1]}
    among = rec.recommend(0, 10, items=np.arange(120, 140))
    assert set(among["item"]) <= set(range(120, 140))
    assert np.mean(among["item"][:5] % 3 == 0) > 0.7


def test_items_that_nobody_has_rated_are_listed_to_who_would_choose_such():
    """Kinds are told, and not rated any higher: by predicted rating alone a list says nothing of them."""
    table, of_user, of_item = tastes(items=240)
    old = table["item"] < 200
    info = {"item": np.arange(240), "kind": [f"kind {k}" for k in of_item]}
    fitted = Recommender().fit(part(table, old), item_features=info)
    first = {name: values[:200] for name, values in info.items()}
    folded = Recommender().fit(part(table, old), item_features=first).fold_in(item_features=info)
    for rec in (fitted, folded):
        lists = rec.recommend(n=5, items=np.arange(200, 240))
        assert np.mean(of_user[lists["user"]] == of_item[lists["item"]]) > 0.9
        assert np.isin(rec.recommend(n=20)["item"], np.arange(200, 240)).any()
    known = Recommender().fit(part(table, old), item_features=first)
    np.testing.assert_array_equal(
        folded.recommend(n=9, items=np.arange(200))["item"], known.recommend(n=9, items=np.arange(200))["item"]
    )


# --- when it is fitted


def test_it_waits_until_a_list_is_wanted(planted_tastes):
    rec = Recommender().fit(planted_tastes[1])
    rec.predict(planted_tastes[1])
    rec.similar_items(0)
    rec.fold_in({"user": ["x"], "item": ["y"], "rating": [1.0]})
    rec.partial_fit({"user": [0], "item": [999], "rating": [1.0]})
    assert not rec._state.ranking.made
    rec.recommend(0)
    assert rec._state.ranking.made
    rec.partial_fit({"user": [1], "item": [999], "rating": [1.0]})
    assert rec._state.ranking.made  # who asks next does not have to wait
    assert Recommender(feedback="implicit").fit(planted_tastes[1])._state.ranking is None


def test_ctrl_c_keeps_no_half_of_it(planted_tastes, monkeypatch):
    """Nor does it say that the model, which was fitted long before, holds the best so far (a warning is an error)."""
    rec, sweep, swept = Recommender().fit(planted_tastes[1]), AllPairs.sweep, []

    def interrupted(*arguments):
        swept.append(arguments)
        if len(swept) == 6:
            raise KeyboardInterrupt
        return sweep(*arguments)

    monkeypatch.setattr(AllPairs, "sweep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rec.recommend(0)
    assert not rec._state.ranking.made
    monkeypatch.undo()
    np.testing.assert_array_equal(rec.recommend(0)["item"], planted_tastes[0].recommend(0)["item"])


# --- grown


def test_a_folded_user_is_placed_and_others_stay(planted_tastes):
    rec, _, _, of_item = planted_tastes
    mine = np.flatnonzero(of_item == 2)
    folded = rec.fold_in({"user": [-1] * 8, "item": mine[:8], "rating": [4.0] * 8})
    before, after = rec._state.ranking(), folded._state.ranking()
    np.testing.assert_array_equal(after.preferences().factors.U[1:], before.preferences().factors.U)
    assert after.rating_weight == before.rating_weight
    assert np.mean(of_item[folded.recommend(-1, 8)["item"]] == 2) > 0.8
    for user in (0, 7, 123):
        np.testing.assert_array_equal(folded.recommend(user, 9)["item"], rec.recommend(user, 9)["item"])


def test_fitted_further_is_as_good_as_from_scratch():
    table, of_user, of_item = tastes()
    first = np.random.default_rng(1).random(len(table["user"])) < 0.6
    rec = Recommender().fit(part(table, first))
    rec.recommend(0)
    rec.partial_fit(part(table, ~first))
    assert rec._state.ranking().preferences().counts.n_observed == len(table["user"])
    lists = rec.recommend(n=5)
    assert np.mean(of_user[lists["user"]] == of_item[lists["item"]]) > 0.9


def test_the_vector_of_somebody_new_ranks_as_folding_in_does(planted_tastes):
    rec, *_ = planted_tastes
    theirs = {"user": [-1] * 4, "item": [3, 9, 40, 41], "rating": [5.0, 1.0, 4.0, 4.5]}
    vector = rec.user_vector(theirs["item"] + [10**6], theirs["rating"] + [3.0], vectors="ranking")
    assert vector.shape == rec.ranking_.U[0].shape
    assert vector.shape != rec.user_vector([3], [5.0]).shape
    folded = rec.fold_in(theirs)
    expected = folded.ranking_.U[folded.users_.positions([-1])[0]] @ rec.ranking_.V.T
    np.testing.assert_allclose(rec.ranking_.V @ vector, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    nobody = rec.user_vector([], [], vectors="ranking")
    best = np.argsort(-(rec.ranking_.V @ nobody), kind="stable")[:5]
    assert rec.items_.ids[best].tolist() == rec.recommend("?", 5)["item"].tolist()
    with pytest.raises(ValueError, match="vectors is 'lists'; choose one of 'prediction', 'ranking'"):
        rec.user_vector([3], [5.0], vectors="lists")


def test_without_ratings_nobody_new_is_ranked(planted_tastes, tmp_path):
    planted_tastes[0].save(tmp_path / "model", ratings=False)
    rec = Recommender.load(tmp_path / "model")
    rec.user_vector([3], [5.0])
    with pytest.raises(ValueError, match="saved without its ratings, which this needs"):
        rec.user_vector([3], [5.0], vectors="ranking")


# --- files


@pytest.mark.parametrize("mmap", [False, True])
def test_in_a_file(mmap, planted_tastes, tmp_path):
    rec = Recommender().fit(planted_tastes[1])
    rec.save(tmp_path / "model")  # where it is fitted, nobody having asked before
    again = Recommender.load(tmp_path / "model", mmap=mmap)
    assert again._state.ranking.made
    more = {"user": [-1, -1, 3], "item": [5, 9, 700], "rating": [4.0, 2.0, 3.0]}
    for ask in (lambda m: m.recommend(n=7), lambda m: m.fold_in(more).recommend([-1, 3, 5, "?"], 7)):
        for a, b in zip(ask(again).values(), ask(rec).values(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_in_a_file_after_all_who_rated_an_item_are_forgotten(tmp_path):
    """It stands where they put it, and whoever comes later is placed with it: which the ratings no longer tell."""
    table, *_ = tastes()
    table = part(table, (table["item"] != 7) | (table["user"] < 20))
    rec = Recommender().fit(table, item_features={"item": np.arange(125), "third": np.arange(125) % 3})
    rec.recommend(0)
    rec.forget(users=np.unique(table["user"][table["item"] == 7]))
    rec.save(tmp_path / "model")
    again = Recommender.load(tmp_path / "model")
    vectors = [model.user_vector([3, 9, 40], [5.0, 1.0, 4.0], vectors="ranking") for model in (again, rec)]
    np.testing.assert_array_equal(*vectors)


def test_files_without_it(planted_tastes, tmp_path):
    rec, *_ = planted_tastes
    rec.save(tmp_path / "model")
    arrays, header = model_file.load(tmp_path / "model", "Recommender")
    del header["ranking"]
    arrays = {name: array for name, array in arrays.items() if not name.startswith("ranking.")}
    model_file.save(tmp_path / "old", "Recommender", arrays, header)
    old = Recommender.load(tmp_path / "old")
    assert not old._state.ranking.made
    np.testing.assert_array_equal(old.recommend(n=5)["item"], rec.recommend(n=5)["item"])


# --- real ratings


@pytest.mark.parametrize("name", ["ml-100k", "filmtrust", "movietweetings"])
def test_better_than_popularity_on_real_ratings(name, data_folder):
    if not data_folder.exists():
        pytest.skip(f"there is no {data_folder}")
    if name == "ml-100k":
        columns = ["user", "item", "rating", "timestamp"]
        train, test = (pd.read_csv(data_folder / name / f"u1.{p}", sep="\t", names=columns) for p in ("base", "test"))
    else:
        table = pd.read_csv(data_folder / "ratings" / f"{name}.csv").drop_duplicates(["user", "item"], keep="last")
        train, test = evaluation.split(table)
    ours = evaluation.evaluate(Recommender().fit(train), test)
    assert ours.ndcg > evaluation.baselines(train, test)["popularity"].ndcg
