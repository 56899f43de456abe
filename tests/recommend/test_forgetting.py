"""Users and items taken out of a model: nothing of theirs is left, and the others' answers stay."""

import gc
import weakref

import numpy as np
import pytest
from test_recommender import part, planted

from dmc import Recommender

SETTINGS = [
    {},
    {"rank": 3, "intervals": True, "ensemble": 2},
    {"model": "network", "rank": 4},
    {"feedback": "implicit", "rank": 8},
]
USERS, ITEMS = ["user 3", "user 41"], ["né 003", "né 050"]


def fitted_to(settings, **more):
    table = planted()
    if settings.get("feedback") == "implicit":
        table = {name: table[name] for name in ("user", "item")}
    return Recommender(**settings).fit(table, **more), table


def left_of(table):
    stays = ~(np.isin(table["user"], USERS) | np.isin(table["item"], ITEMS))
    return part(table, stays)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_others_are_answered_as_before(settings):
    rec, table = fitted_to(settings)
    rest = left_of(table)
    interval = {"interval": 0.9} if settings.get("intervals") else {}
    others = ~np.isin(rec.items_.ids, ITEMS)
    before = rec.predict(rest, **interval), rec.recommend("user 5", 500), rec.user_factors, rec.item_factors
    stranger = rec.predict({"user": ["?"] * 3, "item": rec.items_.ids[:3]})["prediction"]
    assert rec.forget(users=USERS, items=ITEMS) is rec
    assert not np.isin(rec.users_.ids, USERS).any()
    assert not np.isin(rec.items_.ids, ITEMS).any()
    found = rec.predict(rest, **interval)
    np.testing.assert_array_equal(found["prediction"], before[0]["prediction"])
    lists, wanted = rec.recommend("user 5", 500), ~np.isin(before[1]["item"], ITEMS)
    for name in lists:
        np.testing.assert_array_equal(lists[name], before[1][name][wanted])
    np.testing.assert_array_equal(rec.item_factors, before[3][others])
    np.testing.assert_array_equal(rec.predict({"user": ["?"] * 3, "item": rec.items_.ids[:3]})["prediction"], stranger)
    assert rec.n_observed_ == len(rest["user"])
    observed = rec.observations_
    known = set(zip(rest["user"].tolist(), rest["item"].tolist(), strict=True))
    pairs = zip(rec.users_.ids[observed.rows].tolist(), rec.items_.ids[observed.cols].tolist(), strict=True)
    assert set(pairs) == known
    if "rating" in rest:
        values = {(user, item): value for user, item, value in zip(*rest.values(), strict=True)}
        rows, cols = rec.users_.ids[observed.rows].tolist(), rec.items_.ids[observed.cols].tolist()
        assert values == dict(zip(zip(rows, cols, strict=True), observed.values.tolist(), strict=True))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("listed", [True, False])  # whether the ranking of lists was made before
def test_no_byte_of_them_is_left_in_a_file(settings, listed, tmp_path):
    rec, _ = fitted_to(settings)
    if listed:
        rec.recommend("user 5")
    rec.save(tmp_path / "before")
    names = [name.encode() for name in [*USERS, *ITEMS]]
    assert all(name in (tmp_path / "before").read_bytes() for name in (b"user 41", "né 050".encode()))
    rec = Recommender.load(tmp_path / "before") if listed else fitted_to(settings)[0]
    rec.forget(USERS, ITEMS).save(tmp_path / "after")
    text = (tmp_path / "after").read_bytes()
    assert names[1] not in text
    assert names[3] not in text
    again = Recommender.load(tmp_path / "after")
    assert not np.isin(USERS, again.users_.ids).any()
    pairs = {"user": ["user 7"] * 20, "item": again.items_.ids[:20]}
    np.testing.assert_array_equal(again.predict(pairs)["prediction"], rec.predict(pairs)["prediction"])
    found = again.recommend(["user 7", "nobody"])
    for name, values in rec.recommend(["user 7", "nobody"]).items():
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_model_goes_on_without_them(settings):
    """Reasons, fold-in and further fits are of what is left; who comes back is somebody new."""
    rec, table = fitted_to(settings)
    reasons = rec.explain("user 5", "né 001", 1000)
    rec.recommend("user 5")
    rec.forget(USERS, ITEMS)
    why = rec.explain("user 5", "né 001", 1000)
    assert set(why["item"]) == set(reasons["item"]) - set(ITEMS)
    more = {"user": [USERS[0]] * 3 + ["user 5"], "item": ["né 001", "né 002", "new", ITEMS[0]]}
    more["rating"] = [5.0, 1.0, 3.0, 2.0]
    folded = rec.fold_in(more)
    assert len(folded.explain(USERS[0], "né 001")["item"]) == 3
    others = {"user": ["user 9"] * 5, "item": rec.items_.ids[:5]}
    np.testing.assert_allclose(folded.predict(others)["prediction"], rec.predict(others)["prediction"], atol=1e-5)
    rec.partial_fit(more)
    assert set(rec.recommend([USERS[0]], 5)["item"]) <= set(rec.items_.ids)
    assert rec.n_observed_ == len(left_of(table)["user"]) + 4


@pytest.mark.parametrize("step", ["listed", "folded", "lists of the folded"])
def test_nothing_served_holds_on_to_the_model_before(step):
    """The vectors, ratings and rankings of before are let go, whatever was made of them until then."""
    rec, _ = fitted_to({"rank": 3})
    rec.recommend("user 5")
    if step != "listed":
        rec = rec.fold_in({"user": ["user 3"], "item": ["né 001"], "rating": [2.0]})
    if step == "lists of the folded":
        rec.recommend("user 5")
    before = rec._state
    ranking = before.origin.ranking() if step == "folded" else before.ranking()
    held = [before.fitted().observations, before.fitted().models[0], before.users, ranking, ranking.preferences()]
    gone = [weakref.ref(one) for one in held]
    del before, ranking, held
    rec.forget("user 3")
    gc.collect()
    assert [ref() for ref in gone] == [None] * len(gone)
    assert rec._state.origin is None
    assert "user 3" not in rec.recommend()["user"]


def test_features_are_forgotten_too():
    table = planted()
    users = np.unique(table["user"])
    ages = np.random.default_rng(0).normal(40, 10, len(users) + 1)
    features = {"user": [*users.tolist(), "only described"], "age": ages}
    rec = Recommender(3).fit(table, user_features=features)
    rows = rec.users_.positions(["user 3", "only described"])
    stays = np.delete(np.arange(len(rec.users_)), rows)
    (before,) = rec._state.fitted().models
    rec.forget(["user 3", "only described"])
    (after,) = rec._state.fitted().models
    np.testing.assert_array_equal(after.rows.attributes, before.rows.attributes[stays])
    np.testing.assert_array_equal(after.rows.reliability, before.rows.reliability[stays])
    if before.columns.presence.loadings.shape[1]:
        np.testing.assert_array_equal(after.columns.presence.loadings, before.columns.presence.loadings[stays])


def test_who_cannot_be_forgotten():
    rec, _ = fitted_to({"rank": 2})
    state = rec._state
    for wrong, message in (
        ({}, "no user or item to forget is given; give users or items"),
        ({"users": rec.users_.ids}, "these are all of the users, and nothing would be left; delete the model"),
        ({"items": rec.items_.ids}, "these are all of the items, and nothing would be left"),
        ({"users": ["user 3", "z"]}, "user 'z' is not known, and nothing was forgotten"),
        ({"items": list("vwxyz")}, "item 'v', 'w', 'x' and 2 more are not known, and nothing was forgotten"),
    ):
        with pytest.raises(ValueError, match=message):
            rec.forget(**wrong)
        assert rec._state is state
    alone = Recommender(1).fit({"user": [1, 1, 2], "item": [1, 2, 1], "rating": [1, 2, 3]})
    with pytest.raises(ValueError, match="without them no rating would be left"):
        alone.forget(users=[1], items=["1"])
    assert alone.forget(items=2).n_observed_ == 2


def test_a_model_without_ratings_forgets(tmp_path):
    rec, _ = fitted_to({"rank": 3, "intervals": True})
    pairs = {"user": ["user 7"] * 20, "item": rec.items_.ids[100:120]}
    rec.save(tmp_path / "bare", ratings=False)
    bare = Recommender.load(tmp_path / "bare").forget("user 41", ["né 050"])
    bare.save(tmp_path / "less", ratings=False)
    again = Recommender.load(tmp_path / "less")
    assert b"user 41" not in (tmp_path / "less").read_bytes()
    how = {"filter_already_liked_items": False}
    for one in (bare, again):
        found = one.predict(pairs, interval=0.9)
        for name, values in rec.predict(pairs, interval=0.9).items():
            np.testing.assert_array_equal(found[name], values)
        lists, wanted = one.recommend("user 7", 1000, **how), rec.recommend("user 7", 1000, **how)
        np.testing.assert_array_equal(lists["item"], wanted["item"][wanted["item"] != "né 050"])
        np.testing.assert_array_equal(one.user_vector(["né 001"], [5.0]), rec.user_vector(["né 001"], [5.0]))
