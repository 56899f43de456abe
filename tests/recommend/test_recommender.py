"""Recommender: better than averages on what was planted and on real ratings, and an answer for whoever asks."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy.sparse import csr_array
from scipy.sparse.linalg import lsqr
from sklearn.exceptions import NotFittedError

import dmc
from dmc import Recommender, Status
from dmc.recommend.tables.table import Table

FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table, "dict": dict}


def planted(seed=0, users=400, items=150, count=9000):
    """Ratings with a long tail: few items have most of them; bias of each side and two tastes; ids are words."""
    rng = np.random.default_rng(seed)
    popularity = 1 / np.arange(3, items + 3) ** 0.8
    weights = np.outer(rng.gamma(2, 1, users), popularity).ravel()
    cells = rng.choice(users * items, count, replace=False, p=weights / weights.sum())
    u, i = np.divmod(cells, items)
    taste, style = rng.standard_normal((users, 2)), rng.standard_normal((items, 2))
    exact = 3.2 + 0.4 * rng.standard_normal(users)[u] + 0.5 * rng.standard_normal(items)[i]
    exact += 0.6 * np.sum(taste[u] * style[i], axis=1)
    return {
        "user": np.array([f"user {k}" for k in u]),
        "item": np.array([f"né {k:03}" for k in i]),
        "rating": np.clip(np.round(2 * (exact + 0.3 * rng.standard_normal(count))) / 2, 0.5, 5),
    }


def part(table, keep):
    return {name: values[keep] for name, values in table.items()}


@pytest.fixture(scope="module")
def table():
    return planted()


@pytest.fixture(scope="module")
def split(table):
    test = np.random.default_rng(9).random(len(table["rating"])) < 0.15
    return part(table, ~test), part(table, test)


@pytest.fixture(scope="module")
def fitted(split):
    return Recommender().fit(split[0])


def averages(train, test):
    """Ridge regression on who and what, by another solver: mean, bias of the user, bias of the item."""
    users, u = np.unique(train["user"], return_inverse=True)
    items, i = np.unique(train["item"], return_inverse=True)
    lines = np.arange(len(u))
    where = (np.tile(lines, 2), np.concatenate([u, len(users) + i]))
    design = csr_array((np.ones(2 * len(u)), where), shape=(len(u), len(users) + len(items)))
    mean = train["rating"].mean()
    bias = np.append(lsqr(design, train["rating"] - mean, damp=1.5)[0], 0)

    def line(known, ids, offset):
        place = np.minimum(np.searchsorted(known, ids), len(known) - 1)
        return np.where(known[place] == ids, offset + place, -1)

    return mean + bias[line(users, test["user"], 0)] + bias[line(items, test["item"], len(users))]


# --- how good


def test_better_than_averages_on_planted_ratings(split, fitted):
    train, test = split
    ours = dmc.metrics.rmse(fitted.predict(test)["prediction"], test["rating"])
    theirs = dmc.metrics.rmse(averages(train, test), test["rating"])
    assert ours < 0.8 * theirs
    # Nothing was held out: the noise that was planted is found, rounding to halves included.
    assert np.isnan(fitted.validation_rmse_)
    assert fitted.noise_ == pytest.approx(np.hypot(0.3, 0.5 / 12**0.5), rel=0.1)


@pytest.mark.parametrize(
    ("train", "test", "bound", "n_observed"),
    [
        ("ml-100k/u1.base", "ml-100k/u1.test", 0.935, 80_000),
        ("douban/train.csv", "douban/test.csv", 0.75, 123_202),
    ],
)
def test_real_ratings(train, test, bound, n_observed, data_folder):
    if not (data_folder / train).exists():
        pytest.skip(f"there is no {train} in {data_folder}")
    model = Recommender().fit(data_folder / train)
    assert model.n_observed_ == n_observed
    predicted = model.predict(data_folder / test)["prediction"]
    actual = Table.open(data_folder / test).numbers("rating")
    assert dmc.metrics.rmse(predicted, actual) <= bound
    assert predicted.min() >= 1
    assert predicted.max() <= 5


@pytest.mark.parametrize("settings", [{"rank": 2}, {"rank": 5}, {"rank": 60}, {"random_state": 7}, {"ensemble": 2}])
def test_other_settings_are_as_good(settings, split, fitted):
    train, test = split
    default = dmc.metrics.rmse(fitted.predict(test)["prediction"], test["rating"])
    other = Recommender(**settings).fit(train)
    assert dmc.metrics.rmse(other.predict(test)["prediction"], test["rating"]) < 1.02 * default


@pytest.mark.parametrize(("scale", "shift"), [(1e-6, 0), (1e6, 0), (1e30, 0), (20, -100)])
def test_ratings_on_any_scale(scale, shift, split, fitted):
    """In hundreds or in millionths: the same predictions on that scale."""
    train, test = split
    other = Recommender().fit({**train, "rating": scale * train["rating"] + shift})
    predicted = (other.predict(test)["prediction"].astype(float) - shift) / scale
    np.testing.assert_allclose(predicted, fitted.predict(test)["prediction"], atol=5e-3)


def test_the_same_seed_repeats_bit_for_bit(split, fitted):
    train, test = split
    again = Recommender().fit(train)
    np.testing.assert_array_equal(again.predict(test)["prediction"], fitted.predict(test)["prediction"])


def test_order_and_names_of_rows_do_not_matter(split, fitted):
    train, test = split
    order = np.random.default_rng(3).permutation(len(train["rating"]))
    renamed = {"who": train["user"][order], "what": train["item"][order], "stars": train["rating"][order], "x": order}
    other = Recommender().fit(renamed, user="who", item="what", rating="stars")
    predicted = other.predict({"who": test["user"], "what": test["item"]})["prediction"]
    np.testing.assert_allclose(predicted, fitted.predict(test)["prediction"], atol=1e-5)


# --- predictions


def test_predictions_stay_inside_the_range_unless_asked(split, fitted):
    train, _ = split
    users, items = np.unique(train["user"]), np.unique(train["item"])
    pairs = {"user": np.repeat(users, len(items)), "item": np.tile(items, len(users))}
    clipped, free = (fitted.predict(pairs, clip=clip)["prediction"] for clip in (True, False))
    low, high = train["rating"].min(), train["rating"].max()
    assert clipped.min() >= low
    assert clipped.max() == high < free.max()
    np.testing.assert_array_equal(np.clip(free, low, high), clipped)


def test_who_is_not_known_gets_what_is_expected_of_one_without_ratings(split, fitted):
    train, _ = split
    user, item = train["user"][0], train["item"][0]
    f = fitted.factors_
    row, column = fitted.users_.positions([user])[0], fitted.items_.positions([item])[0]
    found = fitted.predict({"user": ["?", user, "?"], "item": [item, "?", "?"]}, clip=False)["prediction"]
    (model,) = fitted._state.fitted().models
    expected = []
    for u, v in ((None, column), (row, None), (None, None)):
        a, b = (
            side.cold_start_mean[0] if line is None else side.means[line]
            for side, line in ((model.rows, u), (model.columns, v))
        )
        expected.append(fitted.mean_ + model.unit * (a[:-1] @ b[:-1] + a[-1] + b[-1]))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # Not far from what the biases alone say: interactions differ in sign from one to the other.
    biases = fitted.mean_ + np.array([f.column_bias[column], f.row_bias[row], 0])
    np.testing.assert_allclose(found, biases, atol=0.1)
    # Biases in the ratings' units: they rank users and items as their ratings' averages do.
    averages = {u: train["rating"][train["user"] == u].mean() for u in np.unique(train["user"])}
    often = [u for u in averages if np.sum(train["user"] == u) >= 15]
    bias = [f.row_bias[fitted.users_.positions([u])[0]] for u in often]
    assert np.corrcoef(bias, [averages[u] for u in often])[0, 1] > 0.7


@pytest.mark.parametrize("kind", FRAMES)
def test_predict_gives_the_tables_own_kind(kind, split, fitted):
    _, test = split
    few = {**part(test, slice(5)), "note": np.arange(5)}
    source = FRAMES[kind](few)
    result = fitted.predict(source)
    assert type(result) is type(source)
    found = Table.open(result)
    assert found.names == ["user", "item", "rating", "note", "prediction", "known"]
    assert found.column("prediction").dtype == np.float32
    np.testing.assert_array_equal(found.column("prediction"), fitted.predict(test)["prediction"][:5])
    for name, values in few.items():
        assert found.column(name).tolist() == values.tolist()


@pytest.mark.parametrize("kind", [*FRAMES, "file"])
def test_fit_takes_every_kind(kind, split, fitted, tmp_path):
    train, test = split
    if kind == "file":
        source = tmp_path / "ratings.csv"
        pd.DataFrame(train).to_csv(source, index=False)
    else:
        source = FRAMES[kind](train)
    model = Recommender().fit(source)
    np.testing.assert_array_equal(model.predict(test)["prediction"], fitted.predict(test)["prediction"])


def test_predict_from_a_file(split, fitted, tmp_path):
    _, test = split
    pd.DataFrame(part(test, slice(5)))[["user", "item"]].to_csv(tmp_path / "pairs.csv", index=False, header=False)
    result = fitted.predict(tmp_path / "pairs.csv")
    assert list(result) == ["user", "item", "prediction", "known"]
    np.testing.assert_array_equal(result["prediction"], fitted.predict(test)["prediction"][:5])


@pytest.mark.parametrize("kind", FRAMES)
def test_predict_nothing(kind, fitted):
    result = fitted.predict(FRAMES[kind]({"user": [], "item": []}))
    assert len(Table.open(result)) == 0
    assert Table.open(result).names == ["user", "item", "prediction", "known"]


def test_number_ids_are_the_same_as_text(table):
    numbers = {
        "user": np.array([int(u[5:]) * 1000 - 7 for u in table["user"]]),
        "item": np.array([int(i[3:]) + 1 for i in table["item"]]),
        "rating": table["rating"],
    }
    model = Recommender().fit(numbers)
    few = part(numbers, slice(20))
    expected = model.predict(few)["prediction"]
    for kind in (str, float, object):
        asked = {"user": few["user"].astype(kind), "item": few["item"].astype(kind)}
        np.testing.assert_array_equal(model.predict(asked)["prediction"], expected)


# --- recommendations


def brute_force(model, train, user, n):
    """Every unseen item, by its place in the model's ranking, and its prediction."""
    ranking, line = model._state.ranking(), model.users_.positions([user])[0]
    scores = ranking.right[:-1] @ ranking.left[line]
    unseen = np.setdiff1d(model.items_.ids, train["item"][train["user"] == user])
    best = np.argsort(-scores[model.items_.positions(unseen)], kind="stable")[:n]
    return unseen[best], model.predict({"user": np.full(len(best), user), "item": unseen[best]})["prediction"]


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_recommend_is_brute_force(n, split, fitted):
    train, _ = split
    users = [*np.unique(train["user"])[:30], "nobody"]
    found = fitted.recommend(users, n)
    assert list(found) == ["user", "item", "prediction"]
    assert list(dict.fromkeys(found["user"])) == users  # in the order given
    for user in users:
        own = found["user"] == user
        items, scores = brute_force(fitted, train, user, n)
        assert found["item"][own].tolist() == items.tolist()
        np.testing.assert_array_equal(found["prediction"][own], scores)
        assert not set(items) & set(train["item"][train["user"] == user])


def test_checkerboard():
    """Users like even or odd items; nothing but the interaction tells which."""
    rng = np.random.default_rng(0)
    seen = rng.random((40, 30)) < 0.4
    u, i = np.nonzero(seen)
    model = Recommender().fit({"user": u, "item": i, "rating": np.where((u + i) % 2, 1.0, 5.0)})
    for user in range(40):
        liked = [j for j in range(30) if (user + j) % 2 == 0 and not seen[user, j]]
        found = model.recommend(user, len(liked))
        assert sorted(found["item"]) == liked
        assert found["prediction"].min() > 3.5


def test_a_stranger_gets_what_is_best_on_average():
    rng = np.random.default_rng(0)
    u, i = np.nonzero(rng.random((60, 12)) < 0.6)
    quality = rng.permutation(12) / 3.0
    model = Recommender().fit({"user": u, "item": i, "rating": 1 + quality[i] + 0.2 * rng.standard_normal(len(u))})
    assert model.recommend("stranger", 12)["item"].tolist() == np.argsort(-quality).tolist()


@pytest.mark.parametrize(
    ("users", "n_users"),
    [
        ("user 3", 1),
        (["user 3", "user 4"], 2),
        (("user 3",), 1),
        (np.array(["user 3", "user 4", "user 3"]), 3),
        (pd.Series(["user 3", "user 5"], index=[7, 7]), 2),
        (pl.Series(["user 3"]), 1),
        ({"user": ["user 3", "user 4"]}, 2),
    ],
)
def test_recommend_takes_ids_in_any_container(users, n_users, fitted):
    found = fitted.recommend(users, 4)
    assert len(found["item"]) == 4 * n_users
    assert found["item"][:4].tolist() == fitted.recommend("user 3", 4)["item"].tolist()
    assert set(found["user"]) <= {"user 3", "user 4", "user 5"}


def test_recommend_to_huge_ids():
    """Neighbours above 2⁶³ stay apart, where an array of Python's numbers would make floats of them."""
    users = [1, 2**63, 2**63 + 1]
    model = Recommender().fit({"user": users, "item": ["a", "b", "c"], "rating": [1.0, 2.0, 3.0]})
    found = model.recommend(users, 3)
    assert [str(u) for u in found["user"]] == [str(u) for u in users for _ in range(2)]
    assert {(str(u), i) for u, i in zip(found["user"], found["item"], strict=True)} == {
        (str(u), i) for u, own in zip(users, "abc", strict=True) for i in "abc" if i != own
    }


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_recommend_gives_the_tables_own_kind(kind, fitted):
    source = FRAMES[kind]({"user": ["user 3", "nobody"], "age": [5, 6]})
    result = fitted.recommend(source, 3)
    assert type(result) is type(source)
    expected = fitted.recommend(["user 3", "nobody"], 3)
    for name in ("user", "item", "prediction"):
        assert Table.open(result).column(name).tolist() == expected[name].tolist()


@pytest.mark.parametrize("users", [[], np.array([], dtype=str), pd.DataFrame({"user": []}), pl.DataFrame({"user": []})])
def test_recommend_to_nobody(users, fitted):
    assert len(Table.open(fitted.recommend(users, 3))) == 0


def test_recommend_when_nothing_is_left():
    model = Recommender().fit({"user": ["a", "a", "b"], "item": ["x", "y", "x"], "rating": [1, 2, 3]})
    assert [len(v) for v in model.recommend("a").values()] == [0, 0, 0]
    found = model.recommend(["a", "b", "c"], 5)
    assert found["user"].tolist() == ["b", "c", "c"]
    assert found["item"][0] == "y"


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-1, ValueError), (True, TypeError), (2.5, TypeError)])
def test_recommend_needs_a_number(n, error, fitted):
    with pytest.raises(error, match=f"n is {n}"):
        fitted.recommend("user 3", n)


# --- few ratings


@pytest.mark.parametrize("count", [1, 2, 5, 25])
def test_few_ratings(count):
    table = {"user": [f"u{k % 3}" for k in range(count)], "item": list(range(count)), "rating": np.arange(count) % 5}
    model = Recommender().fit(table)
    assert model.n_observed_ == count
    assert np.isnan(model.validation_rmse_)
    predicted = model.predict({"user": ["u0", "u0", "?", "?"], "item": [0, 99, 0, 99]})["prediction"]
    assert np.isfinite(predicted).all()
    assert predicted.min() >= 0
    assert predicted.max() <= min(count - 1, 4)
    assert predicted[3] == pytest.approx(model.mean_, abs=0.1 * max(model.range_[1] - model.range_[0], 1))


def test_no_rating_can_be_held_out():
    """Each is the only one of its user and of its item."""
    table = {"user": np.arange(300), "item": np.arange(300), "rating": np.arange(300) % 5}
    model = Recommender().fit(table)
    assert np.isnan(model.validation_rmse_)
    assert np.corrcoef(model.predict(table)["prediction"], table["rating"])[0, 1] > 0.9


@pytest.mark.parametrize("value", [3.0, 0.0, -1e6])
def test_all_ratings_equal(value):
    u, i = np.divmod(np.arange(200), 10)
    with pytest.warns(UserWarning, match="all 200 ratings are"):
        model = Recommender().fit({"user": u, "item": i, "rating": np.full(200, value)})
    assert model.predict({"user": [1, 99], "item": [2, 99]})["prediction"].tolist() == [value, value]


@pytest.mark.parametrize("one", ["user", "item"])
def test_one_user_or_one_item(one):
    rng = np.random.default_rng(0)
    table = {"user": np.arange(50), "item": np.arange(50), "rating": rng.random(50)}
    table[one] = np.full(50, 7)
    model = Recommender().fit(table)
    assert np.isfinite(model.predict(table)["prediction"]).all()
    unknown = model.predict({"user": [99], "item": [99]})["prediction"]
    assert unknown[0] == pytest.approx(table["rating"].mean(), rel=1e-3)  # what is expected, not the mean itself


# --- duplicates, and what is refused

TWICE = {"user": ["a", "b", "a", "a"], "item": [1, 1, 1, 2], "rating": [1.0, 2.0, 4.0, 5.0]}


def test_repeated_ratings_are_refused_with_their_number():
    with pytest.raises(
        ValueError, match="1 rating repeats a user and an item given before; pass duplicates='last', dup"
    ):
        Recommender().fit(TWICE)
    more = {name: [*values, values[0]] for name, values in TWICE.items()}
    with pytest.raises(ValueError, match="2 ratings repeat"):
        Recommender().fit(more)


@pytest.mark.parametrize(("duplicates", "value"), [("mean", 2.5), ("last", 4.0)])
def test_repeated_ratings_merged(duplicates, value):
    merged = Recommender().fit(TWICE, duplicates=duplicates)
    once = Recommender().fit({"user": ["a", "b", "a"], "item": [1, 1, 2], "rating": [value, 2.0, 5.0]})
    assert merged.n_observed_ == 3
    assert merged.mean_ == pytest.approx((value + 7) / 3)
    np.testing.assert_array_equal(merged.predict(TWICE)["prediction"], once.predict(TWICE)["prediction"])


def test_unknown_choice_of_duplicates():
    with pytest.raises(ValueError, match="duplicates is 'first'; choose one of 'error', 'mean', 'last'"):
        Recommender().fit(TWICE, duplicates="first")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rating": ["x", "2", "3", "4"]}, TypeError, "column 'rating' holds 'x' in row 0, which is not a number"),
        ({"rating": [1, np.nan, 2, 3]}, ValueError, "column 'rating' holds 1 missing or infinite rating"),
        ({"user": ["a", None, "b", None]}, ValueError, "column 'user' holds 2 missing ids, the first in row 1"),
        ({"item": [1.0, np.nan, 2, 3]}, ValueError, "column 'item' holds 1 missing id"),
        ({"item": [1, 2]}, ValueError, "the arrays differ in length"),
        ({"user": [], "item": [], "rating": []}, ValueError, "the table holds no rating; give at least one"),
    ],
)
def test_tables_that_cannot_be_fitted(change, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Recommender().fit({**TWICE, **change}, duplicates="last")


def test_columns_that_are_not_there():
    with pytest.raises(ValueError, match="the table has no column 'stars', only 'user', 'item', 'rating'; name the"):
        Recommender().fit(TWICE, rating="stars")
    model = Recommender().fit(TWICE, duplicates="last")
    with pytest.raises(ValueError, match="the table has no column 'item', only 'user'"):
        model.predict({"user": ["a"]})
    with pytest.raises(ValueError, match="the table has no column 'user', only 'u'"):
        model.recommend(pd.DataFrame({"u": ["a"]}))
    with pytest.raises(FileNotFoundError, match="there is no file nowhere"):
        Recommender().fit("nowhere.csv")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"rank": 0}, ValueError, "rank is 0; it has to be at least 1"),
        ({"rank": True}, TypeError, "rank is True"),
        ({"depth": -1}, ValueError, "depth is -1"),
        ({"l2": -1.0}, ValueError, "l2 is -1"),
        ({"l2": "x"}, TypeError, "l2 is 'x'; give a number"),
        ({"validation_fraction": 0.9}, ValueError, "validation_fraction is 0.9"),
        ({"random_state": "x"}, TypeError, "random_state"),
    ],
)
def test_settings_that_make_no_sense(settings, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Recommender(**settings).fit(TWICE, duplicates="last")


@pytest.mark.parametrize(
    "use",
    [
        lambda m: m.predict(TWICE),
        lambda m: m.recommend("a"),
        lambda m: m.save("never.dmc"),
        lambda m: m.fold_in(TWICE),
        lambda m: m.similar_items(1),
        lambda m: m.similar_users("a"),
        lambda m: m.explain("a", 1),
        lambda m: m.export("never"),
        lambda m: m.user_factors,
        lambda m: m.item_factors,
        lambda m: m.factors_,
    ],
)
def test_not_fitted(use):
    with pytest.raises(NotFittedError, match="this Recommender is not fitted yet; call fit"):
        use(Recommender())


# --- how a fit ends


def interrupt_at(call: int):
    calls = 0

    def callback(info):
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt

    return callback


def test_history(fitted):
    assert [set(h) for h in fitted.history_] == [{"n_steps", "noise"}] * fitted.n_iter_
    assert [h["n_steps"] for h in fitted.history_] == list(range(1, fitted.n_iter_ + 1))
    assert fitted.noise_ == fitted.history_[-1]["noise"]
    assert fitted.status_ is Status.CONVERGED


def test_ctrl_c_keeps_the_best_so_far(split, fitted):
    """A few sweeps before its end the model is nearly as good on new ratings."""
    train, test = split
    model = Recommender(callbacks=[interrupt_at(fitted.n_iter_ - 2)])
    with pytest.warns(UserWarning, match=r"interrupted after \d+ steps: the model holds the best so far") as caught:
        model.fit(train)
    assert caught[0].filename == __file__
    assert model.status_ is Status.STOPPED
    assert model.n_iter_ <= fitted.n_iter_ - 2
    error = dmc.metrics.rmse(model.predict(test)["prediction"], test["rating"])
    assert error < 1.1 * dmc.metrics.rmse(fitted.predict(test)["prediction"], test["rating"])


@pytest.mark.parametrize("settings", [{}, {"model": "network"}, {"ensemble": 3}], ids=["Bayes", "network", "ensemble"])
@pytest.mark.parametrize("rows", [slice(5), slice(None)], ids=["few", "many"])
def test_ctrl_c_at_once(rows, settings, split):
    train = part(split[0], rows)
    with pytest.warns(UserWarning, match="interrupted"):
        model = Recommender(**settings, callbacks=[interrupt_at(1)]).fit(train)
    assert np.isfinite(model.predict(train)["prediction"]).all()
    assert len(model.recommend("nobody", 3)["item"]) == 3


def test_a_callback_stops(split):
    model = Recommender(callbacks=[dmc.callbacks.TimeLimit(0)]).fit(split[0])
    assert model.status_ is Status.STOPPED
    assert model.n_iter_ == 1


def test_progress_bar_only_on_request(capsys):
    Recommender().fit(TWICE, duplicates="last")
    assert capsys.readouterr() == ("", "")
    Recommender(verbose=True).fit(TWICE, duplicates="last")
    assert "step" in capsys.readouterr().err


# --- saved and loaded


@pytest.mark.parametrize("ids", ["text", "numbers"])
@pytest.mark.parametrize("network", [{}, {"depth": 0, "l2": 1.0}, {"depth": 3, "l2": 1.0}], ids=str)
def test_saved_and_loaded(ids, network, split, tmp_path):
    train, test = split
    if ids == "numbers":
        train, test = (
            {**t, "user": np.array([int(u[5:]) for u in t["user"]]), "item": np.array([int(i[3:]) for i in t["item"]])}
            for t in split
        )
    model = Recommender(rank=3, model="network" if network else None, **network).fit(train)
    model.save(tmp_path / "model")
    again = Recommender.load(tmp_path / "model")
    for clip in (True, False):
        found, expected = (m.predict(test, clip=clip)["prediction"] for m in (again, model))
        np.testing.assert_array_equal(found, expected)
    users = [*np.unique(train["user"])[:9].tolist(), "nobody"]
    for name, values in again.recommend(users, 7).items():
        np.testing.assert_array_equal(values, model.recommend(users, 7)[name])
    settings = ("rank", "model", "depth", "l2", "validation_fraction", "ensemble", "intervals")
    for name in (*settings, "columns_", "mean_", "noise_", "range_", "rank_", "n_iter_", "status_", "n_observed_"):
        assert getattr(again, name) == getattr(model, name)
    np.testing.assert_equal(again.validation_rmse_, model.validation_rmse_)  # NaN of the default
    again.save(tmp_path / "model again")
    np.testing.assert_array_equal(
        Recommender.load(tmp_path / "model again").predict(test)["prediction"], model.predict(test)["prediction"]
    )


@pytest.mark.parametrize("kind", ["bayes", "network"])
def test_a_loaded_model_knows_its_history_and_its_ratings(kind, split, tmp_path):
    model = Recommender(rank=3, model=kind).fit(split[0])
    model.save(tmp_path / "model")
    again = Recommender.load(tmp_path / "model")
    assert len(model.history_) > 1
    assert again.history_ == model.history_
    for name in ("rows", "cols", "values"):
        np.testing.assert_array_equal(getattr(again.observations_, name), getattr(model.observations_, name))


def test_partial_fit_has_a_history_of_its_own(split, tmp_path):
    train, more = split
    model = Recommender(rank=3).fit(train)
    first = model.history_
    model.partial_fit(more)
    assert model.history_ != first
    assert [look["n_steps"] for look in model.history_] == list(range(1, model.n_iter_ + 1))
    assert model.history_[-1]["noise"] == model.noise_


def test_saved_without_held_out_ratings_and_with_names(tmp_path):
    table = {"who": ["ann", " "], "größe": [2**62, -1], "Ω": [1e-3, 2e-3]}
    model = Recommender().fit(table, "who", "größe", "Ω")
    model.save(tmp_path / "model")
    again = Recommender.load(tmp_path / "model")
    assert np.isnan(again.validation_rmse_)
    np.testing.assert_array_equal(again.predict(table)["prediction"], model.predict(table)["prediction"])


def test_load_refuses_what_is_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no model file"):
        Recommender.load(tmp_path / "nope")
    (tmp_path / "ratings.csv").write_text("user,item,rating\na,b,3\n")
    with pytest.raises(ValueError, match=r"ratings.csv is not a model file, or is damaged"):
        Recommender.load(tmp_path / "ratings.csv")


@pytest.mark.parametrize("rank", [None, 1, 2, 16])
def test_ratings_that_are_all_the_same(rank):
    table = {"user": [1, 1, 2, 2, 3], "item": [1, 2, 1, 3, 2], "rating": [4.0] * 5}
    with pytest.warns(UserWarning, match="all 5 ratings are 4, so there is nothing to learn"):
        model = Recommender(rank).fit(table)
    np.testing.assert_allclose(model.predict(table)["prediction"], 4, atol=1e-6)


def test_repeats_are_counted_where_pairs_have_more_numbers_than_int32():
    """Of 65,537 users and 65,536 items, the first and the last user rated item 0; one other rating is there twice."""
    n = 1 << 16
    users, items = np.append(np.arange(n + 1), 5), np.append(np.arange(n), [0, 5])
    with pytest.raises(ValueError, match=r"^1 rating repeats a user and an item given before"):
        Recommender().fit({"user": users, "item": items, "rating": np.ones(n + 2)})
