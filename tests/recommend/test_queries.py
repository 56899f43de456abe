"""What a fitted Recommender is asked besides ratings: lists, likenesses, reasons and bounds."""

import numpy as np
import pandas as pd
import pytest
from test_recommender import part, planted

from dmc import Recommender
from dmc.recommend.tables.table import Table


@pytest.fixture(scope="module")
def split():
    table = planted()
    test = np.random.default_rng(9).random(len(table["rating"])) < 0.15
    return part(table, ~test), part(table, test)


@pytest.fixture(scope="module")
def fitted(split):
    return Recommender().fit(split[0])


# --- who is known


def test_predictions_say_who_is_known(split, fitted):
    asked = {"user": [*split[1]["user"][:3], "?", split[1]["user"][0]], "item": [*split[1]["item"][:3], "né 001", "?"]}
    found = fitted.predict(asked)
    assert list(found) == ["user", "item", "prediction", "known"]
    assert found["known"].dtype == bool
    assert found["known"].tolist() == [True] * 3 + [False] * 2
    assert np.isfinite(found["prediction"]).all()
    without = fitted.predict(asked, unknown="nan")
    np.testing.assert_array_equal(without["prediction"], np.where(found["known"], found["prediction"], np.nan))
    assert without["prediction"].dtype == np.float32
    for call in (fitted.predict, lambda table, **how: fitted.recommend(table["user"], **how)):
        with pytest.raises(ValueError, match=r"user '\?' is not known; leave out unknown ones, or pass unknown='mean'"):
            call(asked, unknown="error")
        with pytest.raises(ValueError, match="unknown is 'skip'; choose one of"):
            call(asked, unknown="skip")
    with pytest.raises(ValueError, match="user 'a' is not known, nor are 2 others"):
        fitted.recommend(list("abc"), unknown="error")
    fitted.recommend(fitted.users_.ids[:5], unknown="error")


def test_bounds_of_whom_nothing_is_known_are_left_out(split):
    model = Recommender(3, intervals=True).fit(split[0])
    found = model.predict({"user": ["?", "user 1"], "item": ["né 001"] * 2}, interval=0.9, unknown="nan")
    assert list(found) == ["user", "item", "prediction", "known", "lower", "upper"]
    for name in ("prediction", "lower", "upper"):
        assert np.isnan(found[name]).tolist() == [True, False]


def test_ids_in_another_spelling_are_warned_of(fitted):
    """Where nobody of 20 or more is known; of fewer, or of repeats, or where one is, there is nothing to be said."""
    strangers = [f"USER {i}" for i in range(20)]
    message = "none of the 20 ids in 'user' is known, such as 'USER 0'; a known one is 'user 0': spell"
    with pytest.warns(UserWarning, match=message):
        fitted.predict({"user": strangers, "item": ["né 001"] * 20})
    with pytest.warns(UserWarning, match=message):
        fitted.recommend(strangers)
    for ask in ({"items": strangers}, {"filter_items": strangers}, {"items": {"user 1": strangers}}):
        with pytest.warns(UserWarning, match="none of the 20 ids in 'item' is known, such as 'USER 0'"):
            fitted.recommend("user 1", **ask)
    fitted.recommend(strangers[1:])
    fitted.recommend(strangers[1:] * 5)
    fitted.recommend([*strangers, "user 1"])
    fitted.predict({"user": strangers, "item": ["né 001"] * 20}, unknown="nan")


def test_mixed_lists_of_ids(split):
    rng = np.random.default_rng(0)
    user, item = np.nonzero(rng.random((30, 20)) < 0.4)
    rec = Recommender(2).fit({"user": user, "item": item, "rating": rng.integers(1, 6, len(user))})
    expected = rec.recommend([1, 2, 3], 2)["item"]
    for asked in (
        [1, 2, "3"],
        ["1", "2", "3"],
        np.array([1.0, 2, 3]),
        iter([1, 2, 3]),
        Table.open({"user": [1, 2, 3]}),
    ):
        np.testing.assert_array_equal(rec.recommend(asked, 2)["item"], expected)


# --- recommend


def test_lists_may_be_predicted_beyond_the_scale(fitted):
    inside, beyond = fitted.recommend(n=5), fitted.recommend(n=5, clip=False)
    np.testing.assert_array_equal(inside["item"], beyond["item"])
    assert beyond["prediction"].max() > fitted.range_[1]
    np.testing.assert_array_equal(np.clip(beyond["prediction"], *fitted.range_), inside["prediction"])
    pairs = {name: beyond[name] for name in ("user", "item")}
    np.testing.assert_array_equal(fitted.predict(pairs, clip=False)["prediction"], beyond["prediction"])


def brute_force(model, user, n, candidates, seen):
    ranking, line = model._state.ranking(), model.users_.positions([user])[0]
    left = np.array([item for item in candidates if item not in seen])
    if len(left) == 0:
        return [], []
    scores = (ranking.right[:-1] @ ranking.left[line])[model.items_.positions(left)]
    best = left[np.argsort(-scores, kind="stable")[:n]]
    return best.tolist(), model.predict({"user": np.full(len(best), user), "item": best})["prediction"]


@pytest.mark.parametrize("filter_liked", [True, False])
@pytest.mark.parametrize("items", [None, "every third", "unknown too", "one", "none"])
@pytest.mark.parametrize("filter_items", [None, "best", "unknown"])
def test_recommend_among_some_is_brute_force(filter_liked, items, filter_items, split, fitted):
    known = fitted.items_.ids
    asked = {
        None: None,
        "every third": known[::3],
        "unknown too": ["zzz", *known[5:50:4].tolist()],
        "one": [known[7]],
        "none": [],
    }[items]
    never = {None: None, "best": fitted.recommend("nobody", 5)["item"], "unknown": ["?", "!"]}[filter_items]
    candidates = [item for item in known if (asked is None or item in asked) and (never is None or item not in never)]
    users = [*np.unique(split[0]["user"])[:8].tolist(), "nobody"]
    found = fitted.recommend(users, 6, filter_already_liked_items=filter_liked, filter_items=never, items=asked)
    for user in users:
        own = found["user"] == user
        seen = set(split[0]["item"][split[0]["user"] == user]) if filter_liked else set()
        expected, scores = brute_force(fitted, user, 6, candidates, seen)
        assert found["item"][own].tolist() == expected
        np.testing.assert_array_equal(found["prediction"][own], scores)


def test_one_by_one_is_all_at_once_bit_for_bit(fitted):
    everybody = fitted.recommend(n=7)
    np.testing.assert_array_equal(everybody["user"], np.repeat(fitted.users_.ids, 7))
    alone = [fitted.recommend(user, 7) for user in fitted.users_.ids]
    for name in everybody:
        np.testing.assert_array_equal(np.concatenate([one[name] for one in alone]), everybody[name])


def test_predictions_do_not_depend_on_company(split, fitted):
    together = fitted.predict(split[1])["prediction"][:200]
    alone = [fitted.predict(part(split[1], slice(i, i + 1)))["prediction"][0] for i in range(200)]
    np.testing.assert_array_equal(together, alone)


# --- similar


@pytest.fixture(scope="module")
def kinds():
    """Two kinds of items; two of users, who like the one or the other; even numbers are one kind."""
    rng = np.random.default_rng(0)
    u, i = np.nonzero(rng.random((120, 60)) < 0.3)
    rating = 3 + 1.2 * np.where((u + i) % 2, -1, 1) + 0.4 * rng.standard_normal(len(u))
    return Recommender().fit({"user": u, "item": i, "rating": rating})


@pytest.mark.parametrize("side", ["user", "item"])
def test_like_finds_like(side, kinds):
    count = 120 if side == "user" else 60
    found = getattr(kinds, f"similar_{side}s")(np.arange(count), 10)
    assert list(found) == [side, "similar", "similarity"]
    assert len(found["similar"]) == 10 * count
    assert ((found[side] - found["similar"]) % 2 == 0).all()
    assert (found[side] != found["similar"]).all()
    assert found["similarity"].min() > 0.9
    whole = getattr(kinds, f"similar_{side}s")(0, 1000)
    assert len(whole["similar"]) == count - 1
    others = whole["similarity"][whole["similar"] % 2 == 1]
    assert others.max() < -0.9


@pytest.mark.parametrize("side", ["user", "item"])
def test_similarity_is_the_cosine_of_predicted_ratings(side, fitted):
    """Of what is left of them without the mean and the biases."""
    f = fitted.factors_
    interactions = (f.U @ f.V.T).astype(float)
    lines = interactions if side == "user" else interactions.T
    units = lines / np.linalg.norm(lines, axis=1, keepdims=True)
    cosine = units @ units.T
    ids = (fitted.users_ if side == "user" else fitted.items_).ids
    for line in (0, 17, 99):
        found = getattr(fitted, f"similar_{side}s")(ids[line], 10_000)
        order = [int(np.flatnonzero(ids == other)[0]) for other in found["similar"]]
        assert sorted([*order, line]) == list(range(len(ids)))
        np.testing.assert_allclose(found["similarity"], cosine[line, order], atol=1e-4)
        assert (np.diff(found["similarity"]) <= 0).all()


def test_similar_in_the_tables_own_kind_and_of_strangers(fitted):
    import pandas as pd

    frame = fitted.similar_items(pd.DataFrame({"item": fitted.items_.ids[:2]}), 3)
    assert isinstance(frame, pd.DataFrame)
    assert frame["similar"].tolist() == fitted.similar_items(fitted.items_.ids[:2], 3)["similar"].tolist()
    with pytest.raises(ValueError, match="item 'zzz' is not known; give items that were rated in fit"):
        fitted.similar_items(["zzz"])
    with pytest.raises(ValueError, match="user 'zzz' is not known"):
        fitted.similar_users("zzz")
    with pytest.raises(ValueError, match="n is 0"):
        fitted.similar_users(fitted.users_.ids[0], 0)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_similar_on_any_scale(scale, split, fitted):
    other = Recommender().fit({**split[0], "rating": scale * split[0]["rating"]})
    for mine, theirs in zip(
        fitted.similar_items("né 003").values(), other.similar_items("né 003").values(), strict=True
    ):
        if mine.dtype.kind == "f":
            np.testing.assert_allclose(mine, theirs, atol=1e-3)
            assert np.abs(theirs).max() < 1 + 1e-5


# --- explain


def expectation(model, user, item):
    """What is expected of such a user, before the ratings say more."""
    total = 0.0
    for member in model._state.fitted().models:
        row, column = model.users_.positions([user])[0], model.items_.positions([item])[0]
        prior = member.rows.features[row] @ member.rows.weights
        v = member.columns.means[column].astype(float)
        total += member.mean + member.unit * (v[:-1] @ prior[:-1] + prior[-1] + v[-1])
    return total / len(model._state.fitted().models)


@pytest.mark.parametrize("settings", [{}, {"ensemble": 2}], ids=str)
def test_reasons_add_up_to_the_prediction(settings, split, fitted):
    """To the last bit for those who were folded in.

    The fit also counts how unsure items' factors are, which draws users to what is expected of them: its predictions
    are a few hundredths off.
    """
    model = Recommender(**settings).fit(split[0]) if settings else fitted
    more = {"user": ["new"] * 6, "item": model.items_.ids[:30:5], "rating": [5.0, 1.0, 4.0, 4.5, 2.0, 3.0]}
    for asked, users, atol in ((model, np.unique(split[0]["user"])[:12], 0.25), (model.fold_in(more), ["new"], 1e-4)):
        for user in users:
            for item in model.items_.ids[[1, 50]]:
                why = asked.explain(user, item, 10_000)
                found = expectation(asked, user, item) + why["contribution"].sum()
                predicted = asked.predict({"user": [user], "item": [item]}, clip=False)["prediction"][0]
                assert found == pytest.approx(predicted, abs=atol)


def test_reasons_are_ones_ratings_largest_first(split, fitted):
    train, _ = split
    user = train["user"][0]
    own = {i: r for u, i, r in zip(*train.values(), strict=True) if u == user}
    why = fitted.explain(user, "né 003", 10_000)
    assert list(why) == ["item", "rating", "contribution"]
    assert dict(zip(why["item"].tolist(), why["rating"].tolist(), strict=True)) == own
    assert why["contribution"].dtype == np.float32
    assert (np.diff(np.abs(why["contribution"])) <= 0).all()
    for name, values in fitted.explain(user, "né 003", 2).items():
        np.testing.assert_array_equal(values, why[name][:2])


def test_like_speaks_for_like(kinds):
    """High ratings of its kind speak for an item, and low ones of the other kind too."""
    why = kinds.explain(4, 10, 1000)
    surprising = np.abs(why["contribution"]) > 0.02
    speaks = np.where(why["item"] % 2 == 0, 1, -1) * np.sign(why["rating"] - 3) * np.sign(why["contribution"])
    assert surprising.sum() > 5
    assert np.mean(why["contribution"]) > 0
    assert np.mean(speaks[surprising]) > 0.3


def test_no_reasons_of_strangers(fitted):
    with pytest.raises(ValueError, match="user 'zzz' is not known; give one that was rated in fit"):
        fitted.explain("zzz", "né 003")
    with pytest.raises(ValueError, match="item 'zzz' is not known"):
        fitted.explain(fitted.users_.ids[0], "zzz")


# --- intervals


def coverage(model, test, actual, probability=0.9):
    found = model.predict(test, interval=probability)
    lower, centre, upper = (Table.open(found).column(name) for name in ("lower", "prediction", "upper"))
    assert (lower <= centre).all()
    assert (centre <= upper).all()
    assert lower.min() >= model.range_[0]
    assert upper.max() <= model.range_[1]
    assert lower.dtype == upper.dtype == np.float32
    return np.mean((lower <= actual) & (actual <= upper))


def test_intervals_hold_as_often_as_they_say():
    table = planted(users=1000, items=300, count=40_000)
    table["rating"] = table["rating"] + 0.3 * np.random.default_rng(3).standard_normal(40_000)
    test = np.random.default_rng(1).random(40_000) < 0.2
    assert test.sum() > 5000
    model = Recommender(intervals=True).fit(part(table, ~test))
    asked = part(table, test)
    # Rows of the test that are of nobody known are among them, too.
    for probability, low, high in ((0.9, 0.88, 0.92), (0.5, 0.47, 0.53), (0.99, 0.985, 0.995)):
        assert low < coverage(model, asked, asked["rating"].astype(np.float32), probability) < high


@pytest.mark.parametrize(
    ("train", "test"), [("ml-100k/u1.base", "ml-100k/u1.test"), ("douban/train.csv", "douban/test.csv")]
)
def test_intervals_of_real_ratings(train, test, data_folder):
    if not (data_folder / train).exists():
        pytest.skip(f"there is no {train} in {data_folder}")
    model = Recommender(intervals=True).fit(data_folder / train)
    # u1.test has other users in other shares than u1.base: bounds hold for pairs like those that were rated.
    assert 0.88 <= coverage(model, data_folder / test, Table.open(data_folder / test).numbers("rating")) <= 0.92


def test_intervals_have_to_be_learnt(fitted, split):
    with pytest.raises(ValueError, match=r"this model has learnt no intervals; fit Recommender\(intervals=True\) to r"):
        fitted.predict(split[1], interval=0.9)
    model = Recommender(intervals=True).fit(split[0])
    np.testing.assert_array_equal(
        model.predict(split[1])["prediction"], model.predict(split[1], interval=0.9)["prediction"]
    )
    for wrong in (0, 1, -0.1, 90):
        with pytest.raises(ValueError, match="interval is"):
            model.predict(split[1], interval=wrong)
    with pytest.raises(TypeError, match="interval is"):
        model.predict(split[1], interval="wide")


def test_intervals_of_huge_ratings():
    rng = np.random.default_rng(0)
    rows, cols = np.nonzero(rng.random((40, 30)) < 0.5)
    table = {"user": rows, "item": cols, "rating": rng.integers(1, 6, len(rows)) * 1e30}
    found = Recommender(intervals=True).fit(table).predict(table, interval=0.999)
    np.testing.assert_array_equal(found["lower"], np.float32(1e30))
    np.testing.assert_array_equal(found["upper"], np.float32(5e30))


@pytest.mark.parametrize("count", [1, 2, 5, 150])
def test_too_few_ratings_for_intervals(count, fitted, split):
    rows = np.arange(count)
    with pytest.raises(ValueError, match=f"{count} rating(s are| is) too few to hold some out for intervals"):
        Recommender(intervals=True).fit({"user": rows % 3, "item": rows, "rating": rows % 5})
    with pytest.raises(ValueError, match="each the only one of its user or item"):
        Recommender(intervals=True).fit({"user": np.arange(400), "item": np.arange(400), "rating": np.arange(400) % 5})


# --- ensembles


def test_an_ensemble_is_the_mean_of_its_models(split):
    train, test = split
    one = np.random.default_rng(4)
    singles = [Recommender(random_state=one).fit(train).predict(test, clip=False)["prediction"] for _ in range(3)]
    assert np.abs(singles[0] - singles[1]).max() > 1e-3
    found = Recommender(ensemble=3, random_state=np.random.default_rng(4)).fit(train)
    np.testing.assert_allclose(found.predict(test, clip=False)["prediction"], np.mean(singles, axis=0), atol=1e-5)
    assert len(found.recommend(train["user"][0], 4)["item"]) == 4


# --- bounds of the rank


@pytest.mark.parametrize("seed", range(3))
def test_two_tastes_are_found_with_a_bound_of_two(seed):
    rng = np.random.default_rng(seed)
    u, i = np.nonzero(rng.random((300, 100)) < 0.3)
    exact = 3 + rng.standard_normal((300, 2)) @ rng.standard_normal((100, 2)).T
    table = {"user": u, "item": i, "rating": exact[u, i] + 0.3 * rng.standard_normal(len(u))}
    model = Recommender(rank=2).fit(table)
    assert (model.rank_, model.factors_.width) == (2, 2)
    f = model.factors_
    error = np.sqrt(np.mean((f.dense() + model.mean_ - exact) ** 2))
    assert error < 0.12
    one = Recommender(rank=1).fit(table)
    assert (one.rank_, one.factors_.width) == (1, 1)
    assert np.sqrt(np.mean((one.factors_.dense() + one.mean_ - exact) ** 2)) > 3 * error


@pytest.mark.parametrize(
    "kind", [iter, set, lambda ids: dict.fromkeys(ids).keys(), lambda ids: dict(enumerate(ids)).values()]
)
def test_ids_in_whatever_python_holds_them(kind, fitted):
    some = fitted.users_.ids[:3].tolist()
    found = fitted.recommend(kind(some), 2)
    assert sorted(set(found["user"].tolist())) == some
    among = fitted.items_.ids[:5].tolist()
    for given in (kind(among), among):
        found = fitted.recommend(some[0], 3, items=given, filter_items=among[0], filter_already_liked_items=False)
        assert len(found["item"]) == 3
        assert set(found["item"].tolist()) <= set(among[1:])
    assert set(fitted.similar_items(kind(among), 1)["item"].tolist()) == set(among)


def test_dates_find_their_ratings_again(split):
    days = np.datetime64("2024-01-01") + np.unique(split[0]["user"], return_inverse=True)[1]
    table = pd.DataFrame({"user": days.astype("M8[ns]"), "item": split[0]["item"], "rating": split[0]["rating"]})
    model = Recommender().fit(table)
    day = days[0]
    expected = model.recommend(str(day), 3)
    for form in (day, day.astype("M8[ns]"), pd.Timestamp(day), day.item()):
        np.testing.assert_array_equal(model.recommend(form, 3)["item"], expected["item"])
    assert model.users_.positions([day]).tolist() == model.users_.positions([pd.Timestamp(day)]).tolist() != [-1]
