"""More ratings for a fitted Recommender: fold_in, which fits nothing again, and partial_fit, which does."""

import copy
import pickle

import numpy as np
import pytest
from test_presence_features import communities
from test_recommender import part, planted

import dmc
from dmc import Recommender, Status
from dmc.recommend.factor_posterior import TUNING
from dmc.recommend.tables.table import Table


@pytest.fixture(scope="module")
def split():
    table = planted()
    test = np.random.default_rng(9).random(len(table["rating"])) < 0.15
    return part(table, ~test), part(table, test)


@pytest.fixture(scope="module")
def fitted(split):
    return Recommender().fit(split[0])


@pytest.fixture(scope="module")
def patterned():
    """A model whose pattern tells something: with coordinates of users and items."""
    _, observations = communities()
    table = {"user": 2 * observations.rows, "item": 2 * observations.cols, "rating": observations.values}
    model = Recommender().fit(table)
    assert model._state.fitted().models[0].rows.presence.loadings.shape[1] > 2
    return model, table


def joined(*tables):
    return {name: np.concatenate([np.asarray(t[name]) for t in tables]) for name in tables[0]}


def error_of(model, test):
    return dmc.metrics.rmse(model.predict(test)["prediction"], test["rating"])


def state(model):
    return [*model.factors_.arrays, model.users_.ids, model.items_.ids, *model._state.seen, model.observations_.values]


# --- fold_in


def posterior(model, items, ratings, features):
    """A user's factors and bias by the normal equations, in double: again, once it shows how reliable they are."""
    (member,) = model._state.fitted().models
    side, lines = member.columns, model.items_.positions(items)
    k = side.means.shape[1] - 1
    x = np.column_stack([side.means[lines, :k], np.ones(len(lines))]).astype(float)
    left = (np.asarray(ratings) - member.mean) / member.unit - side.means[lines, k]
    precision = np.linalg.inv(member.rows.covariance)
    steady = 1.0
    for _ in range(2):
        b = steady * member.precision
        covariance = np.linalg.inv(precision + b * x.T @ x)
        u = covariance @ (precision @ (features @ member.rows.weights) + b * x.T @ left)
        errors = np.sum((left - x @ u) ** 2) + np.trace(covariance @ x.T @ x)
        steady = (TUNING.reliability_entries + len(items)) / (TUNING.reliability_entries + member.precision * errors)
    all_items = np.column_stack([side.means[:, :k], np.ones(len(side.means))])
    return member.mean + member.unit * (all_items @ u + side.means[:, k])


@pytest.mark.parametrize("which", ["planted", "patterned"])
def test_a_new_user_gets_the_mean_of_the_posterior(which, fitted, patterned):
    model = fitted if which == "planted" else patterned[0]
    items = model.items_.ids[[3, 11, 40, 41, 90]]
    ratings = [5.0, 1.0, 4.0, 2.5, 3.0]
    user = "new" if which == "planted" else -7  # before all others: numbers of all users move
    folded = model.fold_in({"user": [user] * 5, "item": items, "rating": ratings})
    of = model._state.fitted().models[0].rows.presence
    level = np.clip((np.log(5) - of.center) / of.spread, -3, 3)
    features = np.append([1, level], of.loadings[model.items_.positions(items)].sum(axis=0) / 5**0.25)
    expected = posterior(model, items, ratings, features)
    asked = {"user": np.full(len(model.items_), user), "item": model.items_.ids}
    np.testing.assert_allclose(folded.predict(asked, clip=False)["prediction"], expected, rtol=1e-4)


@pytest.mark.parametrize("which", ["planted", "patterned"])
def test_the_others_and_the_original_stay_as_they_are(which, split, fitted, patterned):
    model, table = (fitted, split[0]) if which == "planted" else patterned
    before = [np.copy(a) for a in state(model)]
    asked = {"user": table["user"], "item": table["item"]}
    predicted = model.predict(asked, clip=False)["prediction"]
    first = "aaa" if which == "planted" else -5
    more = {"user": [first, first], "item": [table["item"][0], first], "rating": [3.0, 4.0]}
    folded = model.fold_in(more)
    for a, b in zip(state(model), before, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(model.predict(asked, clip=False)["prediction"], predicted)
    np.testing.assert_allclose(folded.predict(asked, clip=False)["prediction"], predicted, rtol=1e-5)
    assert folded is not model
    assert folded.n_observed_ == model.n_observed_ + 2
    assert len(folded.users_) == len(model.users_) + 1
    assert len(folded.items_) == len(model.items_) + 1
    assert first not in model.users_.ids


def test_new_ratings_of_a_known_user_move_the_predictions(split, fitted):
    """A user's new ratings, all far above what was expected, and then all far below."""
    user = split[0]["user"][0]
    best = fitted.recommend(user, 25)
    some, others = part(best, slice(None, None, 2)), part(best, slice(1, None, 2))
    before = fitted.predict(others)["prediction"]
    for shift, sign in ((2.0, 1), (-2.0, -1)):
        more = {**some, "rating": np.clip(some["prediction"] + shift, 0.5, 5)}
        folded = fitted.fold_in(more)
        moved = sign * (folded.predict(others)["prediction"] - before)
        assert np.mean(moved) > 0.05
        assert not set(folded.recommend(user, 1000)["item"]) & set(some["item"])
    assert error_of(folded, more) < error_of(fitted, more)


def test_a_repeated_rating_counts_by_its_new_value(split, fitted):
    row = part(split[0], slice(1))
    folded = fitted.fold_in({**row, "rating": [0.5 if row["rating"][0] > 3 else 5.0]})
    assert folded.n_observed_ == fitted.n_observed_
    assert abs(error_of(folded, row)) > abs(error_of(fitted, row))
    line, own = folded.users_.positions(row["user"])[0], folded._state.seen
    at = slice(own.indptr[line], own.indptr[line + 1])
    (place,) = np.flatnonzero(own.indices[at] == folded.items_.positions(row["item"])[0])
    assert folded.observations_.values[at][place] == (0.5 if row["rating"][0] > 3 else 5.0)
    same = fitted.fold_in(row)
    assert same.n_observed_ == fitted.n_observed_


def test_a_new_item_is_told_by_who_rated_it(fitted):
    """A twin of a known item: its raters' ratings again, under another name."""
    counts = np.bincount(fitted._state.seen.indices)
    line = int(np.argmax(counts))
    rows = fitted.observations_.rows[fitted.observations_.cols == line]
    values = fitted.observations_.values[fitted.observations_.cols == line]
    folded = fitted.fold_in({"user": fitted.users_.ids[rows], "item": ["twin"] * len(rows), "rating": values})
    users = fitted.users_.ids
    twin, known = (
        folded.predict({"user": users, "item": np.full(len(users), item)}, clip=False)["prediction"]
        for item in ("twin", fitted.items_.ids[line])
    )
    assert np.corrcoef(twin, known)[0, 1] > 0.98
    assert np.abs(twin - known).mean() < 0.15
    alike = folded.similar_items("twin", 1000)
    assert alike["similarity"][alike["similar"] == fitted.items_.ids[line]] > 0.95


def test_new_users_of_new_items_only(fitted):
    folded = fitted.fold_in({"user": ["new", "new"], "item": ["x", "y"], "rating": [5.0, 5.0]})
    predicted = folded.predict({"user": ["new", "new"], "item": ["x", fitted.items_.ids[0]]})["prediction"]
    assert np.isfinite(predicted).all()
    assert len(folded.recommend("new", 3)["item"]) == 3


@pytest.mark.parametrize("new", [["7", 8], [7, "x"], [7.0, 7.5], [-1, 10**18], [" ", "é"]], ids=str)
@pytest.mark.parametrize("old", ["numbers", "text"])
def test_ids_of_text_and_numbers_mixed(old, new):
    u, i = np.divmod(np.arange(120), 12)
    keep = (u + i) % 3 > 0
    table = {"user": u[keep], "item": i[keep], "rating": 1.0 + (u * i % 5)[keep]}
    if old == "text":
        table |= {"user": np.char.add("u", table["user"].astype(str)), "item": np.char.add("i", i[keep].astype(str))}
    model = Recommender(rank=2).fit(table)
    folded = model.fold_in({"user": new, "item": table["item"][:2].tolist(), "rating": [1.0, 5.0]})
    asked = {"user": table["user"], "item": table["item"]}
    unchanged = ~np.isin(table["user"].astype(str), [str(x).removesuffix(".0") for x in new])
    np.testing.assert_allclose(
        folded.predict(asked)["prediction"][unchanged], model.predict(asked)["prediction"][unchanged], rtol=1e-5
    )
    assert len(folded.users_) == len(set(table["user"].astype(str)) | {str(x).removesuffix(".0") for x in new})
    assert (folded.users_.positions(new) >= 0).all()
    assert (folded.users_.positions(table["user"]) >= 0).all()
    assert (folded.users_.positions(["nobody"]) < 0).all()


def test_once_more_and_once_more(split, fitted):
    """In three parts or at once: the same users, and nearly the same predictions for them."""
    users = np.unique(split[0]["user"])[:30]
    more = part(split[0], np.isin(split[0]["user"], users))
    more["user"] = np.char.add("again ", more["user"])
    at_once, step_by_step = fitted.fold_in(more), fitted
    for third in range(3):
        step_by_step = step_by_step.fold_in(part(more, np.arange(len(more["user"])) % 3 == third))
    assert step_by_step.users_.ids.tolist() == at_once.users_.ids.tolist()
    np.testing.assert_allclose(step_by_step.user_factors, at_once.user_factors, rtol=1e-3, atol=1e-4)


def test_as_good_as_a_fit_for_users_who_were_left_out(split):
    train, test = split
    out = np.unique(train["user"])[::5]
    later = np.isin(train["user"], out)
    folded = Recommender().fit(part(train, ~later)).fold_in(part(train, later))
    asked = part(test, np.isin(test["user"], out))
    assert error_of(folded, asked) < 1.05 * error_of(Recommender().fit(train), asked)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"user": [], "item": [], "rating": []}, ValueError, "the table holds no rating; give at least one"),
        ({"rating": ["x"]}, TypeError, "column 'rating' holds 'x'"),
        ({"rating": [np.nan]}, ValueError, "1 missing or infinite rating"),
        ({"user": [None]}, ValueError, "column 'user' holds 1 missing id"),
    ],
)
@pytest.mark.parametrize("method", ["fold_in", "partial_fit"])
def test_tables_that_cannot_be_taken(method, change, error, message, split, fitted):
    before = fitted.n_observed_
    with pytest.raises(error, match=message):
        getattr(fitted, method)({"user": ["a"], "item": ["b"], "rating": [1.0], **change})
    assert fitted.n_observed_ == before
    with pytest.raises(ValueError, match="has no column 'rating'"):
        getattr(fitted, method)({"user": ["a"], "item": ["b"]})


# --- partial_fit


@pytest.mark.parametrize("which", ["planted", "patterned"])
def test_half_and_half_is_as_good_as_all_at_once(which, split, patterned):
    train, test = split
    if which == "patterned":
        table = patterned[1]
        later = np.random.default_rng(1).random(len(table["rating"])) < 0.2
        train, test = part(table, ~later), part(table, later)
    first = np.random.default_rng(0).random(len(train["rating"])) < 0.5
    model = Recommender().fit(part(train, first))
    half = error_of(model, test)
    assert model.partial_fit(part(train, ~first)) is model
    assert model.status_ is Status.CONVERGED
    assert model.n_iter_ == len(model.history_)
    whole = Recommender().fit(train)
    assert model.n_observed_ == whole.n_observed_ == len(train["rating"])
    # Of the communities half of the ratings show nothing; another start ends up a bit elsewhere.
    assert error_of(model, test) < (1.01 if which == "planted" else 1.03) * error_of(whole, test)
    assert error_of(model, test) < 0.95 * half


@pytest.mark.parametrize(
    ("train", "test"), [("ml-100k/u1.base", "ml-100k/u1.test"), ("douban/train.csv", "douban/test.csv")]
)
def test_half_and_half_of_real_ratings(train, test, data_folder):
    if not (data_folder / train).exists():
        pytest.skip(f"there is no {train} in {data_folder}")
    train, test = (Table.open(data_folder / name) for name in (train, test))
    first = np.random.default_rng(0).random(len(train)) < 0.5
    model = Recommender().fit(train.take(first)).partial_fit(train.take(~first))
    predicted, actual = model.predict(test)["prediction"], test.numbers("rating")
    whole = Recommender().fit(train)
    assert dmc.metrics.rmse(predicted, actual) < 1.01 * dmc.metrics.rmse(whole.predict(test)["prediction"], actual)


def test_not_fitted_before_it_is_a_fit(split, fitted):
    train, test = split
    model = Recommender().partial_fit(train)
    np.testing.assert_array_equal(model.predict(test)["prediction"], fitted.predict(test)["prediction"])
    twice = Recommender().partial_fit(joined(part(train, slice(1)), train))
    assert twice.n_observed_ == len(train["rating"])


def test_the_new_value_of_a_rating_counts(split):
    train, _ = split
    opposite = {**train, "rating": 5.5 - train["rating"]}
    model = Recommender().fit(train).partial_fit(opposite)
    assert model.n_observed_ == len(train["rating"])
    assert error_of(model, opposite) < 0.5 < error_of(model, train)


@pytest.mark.parametrize(
    "settings", [{"ensemble": 2}, {"model": "network", "depth": 0}, {"rank": 3}, {"intervals": True}], ids=str
)
def test_partial_fit_of_every_kind(settings, split):
    train, test = split
    first = np.random.default_rng(0).random(len(train["rating"])) < 0.5
    model = Recommender(**settings).fit(part(train, first)).partial_fit(part(train, ~first))
    whole = Recommender(**settings).fit(train)
    assert error_of(model, test) < 1.05 * error_of(whole, test)
    assert model.factors_.width == whole.factors_.width or settings.keys() != {"rank"}


def test_a_callback_ends_it(split):
    train, _ = split
    told = []
    model = Recommender(callbacks=[lambda info: told.append(info) or info.n_steps == 3]).fit(part(train, slice(4000)))
    model.partial_fit(part(train, slice(4000, None)))
    assert [info.n_steps for info in told] == [1, 2, 3, 3] * 2  # each fit has a last call
    assert model.status_ is Status.STOPPED


# --- copies


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize(
    "settings", [{}, {"model": "network", "depth": 0}, {"ensemble": 2, "intervals": True}], ids=str
)
def test_a_copy_is_a_model_of_its_own(how, settings, split):
    train, test = split
    model = Recommender(**settings).fit(train)
    twin = how(model)
    before = model.predict(test)["prediction"]
    np.testing.assert_array_equal(twin.predict(test)["prediction"], before)
    more = {"user": ["new"] * 3, "item": train["item"][:3], "rating": [1.0, 2.0, 3.0]}
    more = part(more, np.unique(more["item"], return_index=True)[1]) if len(set(more["item"])) < 3 else more
    np.testing.assert_array_equal(twin.fold_in(more).user_factors, model.fold_in(more).user_factors)
    twin.partial_fit({**test, "rating": 5.5 - test["rating"]})
    np.testing.assert_array_equal(model.predict(test)["prediction"], before)


def test_the_number_of_threads_changes_no_bit(split):
    train, test = split
    one, two = (Recommender(n_threads=n, ensemble=2, intervals=True).fit(train) for n in (1, 2))
    for name in ("prediction", "lower", "upper"):
        np.testing.assert_array_equal(*(m.predict(test, interval=0.5)[name] for m in (one, two)))
    np.testing.assert_array_equal(*(m.fold_in(test).user_factors for m in (one, two)))
    np.testing.assert_array_equal(*(m.partial_fit(test).user_factors for m in (one, two)))
