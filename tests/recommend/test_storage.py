"""A Recommender saved, loaded, mapped, exported, and asked from many threads at once."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from test_presence_features import communities
from test_recommender import part, planted

from dmc import Recommender, model_file

MORE = {"user": ["aaa", "aaa", "user 3"], "item": ["né 003", "zzz", "zzz"], "rating": [5.0, 1.0, 2.0]}


@pytest.fixture(autouse=True)
def mapped_however_small(monkeypatch):
    monkeypatch.setattr(model_file, "SMALL", 0)


def numbered():
    """With coordinates of the pattern, and ids that are numbers."""
    _, o = communities()
    return {"user": 2 * o.rows, "item": 2 * o.cols, "rating": o.values}


def same_answers(found, expected, table, more, exact=True):
    """The same to the last bit; what is computed from the saved parts again: to rounding."""
    pairs = part(table, slice(50))
    equal = np.testing.assert_array_equal if exact else lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5)

    def all_equal(a, b):
        assert list(a) == list(b)
        for name in a:
            if a[name].dtype.kind == "f":
                equal(a[name], b[name])
            else:
                np.testing.assert_array_equal(a[name], b[name])

    user, item = table["user"][0], table["item"][0]
    interval = {"interval": 0.8} if expected.intervals else {}
    for ask in (
        lambda m: m.predict(pairs, **interval),
        lambda m: m.recommend([user, "nobody"], 9),
        lambda m: m.similar_items(item, 5),
        lambda m: m.similar_users(user, 5),
        lambda m: m.explain(user, item, 7),
        lambda m: m.fold_in(more).predict(more, clip=False, **interval),
        lambda m: m.fold_in(more).recommend(more["user"][0], 5),
    ):
        all_equal(ask(found), ask(expected))


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize(
    "settings",
    [{}, {"intervals": True, "ensemble": 2}, {"rank": 3}, {"model": "network", "depth": 2, "rank": 4}],
    ids=str,
)
@pytest.mark.parametrize("ids", ["text", "numbers"])
def test_a_loaded_model_does_all_that_it_did(ids, settings, mmap, tmp_path):
    table = planted() if ids == "text" else numbered()
    more = MORE if ids == "text" else {"user": [-1, -1, 0], "item": [4, -3, -3], "rating": [5.0, 1.0, 2.0]}
    model = Recommender(**settings).fit(table)
    model.save(tmp_path / "model")
    again = Recommender.load(tmp_path / "model", mmap=mmap)
    same_answers(again, model, table, more)
    again.save(tmp_path / "again")
    (arrays, header), (others, its_header) = (
        model_file.load(tmp_path / name, "Recommender") for name in ("model", "again")
    )
    np.testing.assert_equal(others, arrays)
    np.testing.assert_equal(its_header, header)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()
    # Folded in, saved and loaded.
    model.fold_in(more).save(tmp_path / "folded")
    same_answers(Recommender.load(tmp_path / "folded", mmap=mmap), model.fold_in(more), table, more)
    assert model.partial_fit(more) is model
    again.partial_fit(more)
    same_answers(again, model, table, more)


# --- without the ratings


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize(
    "settings",
    [{}, {"intervals": True, "ensemble": 2}, {"model": "network", "rank": 4}, {"feedback": "implicit", "rank": 8}],
    ids=str,
)
def test_a_model_without_ratings_answers_as_before(settings, mmap, tmp_path):
    table = numbered()
    model = Recommender(**settings).fit(table)
    model.save(tmp_path / "bare", ratings=False)
    again = Recommender.load(tmp_path / "bare", mmap=mmap)
    interval = {"interval": 0.8} if settings.get("intervals") else {}
    user, item, more = table["user"][0], table["item"][0], np.unique(table["item"])[:12]
    for ask in (
        lambda m: m.predict(part(table, slice(50)), **interval),
        lambda m: m.predict({"user": [-1, user], "item": [item, -1]}, **interval),
        lambda m: m.recommend([user, -1], 9, filter_already_liked_items=False),
        lambda m: m.recommend(user, 9, items={int(user): more}, filter_already_liked_items=False),
        lambda m: m.similar_items(item, 5),
        lambda m: m.similar_users(user, 5),
    ):
        expected = ask(model)
        for name, found in ask(again).items():
            np.testing.assert_array_equal(found, expected[name])
    for items in (more, more[:1], [-5]):
        ratings = np.arange(1.0, 1 + len(items))
        np.testing.assert_array_equal(again.user_vector(items, ratings), model.user_vector(items, ratings))
    assert again.n_observed_ == model.n_observed_
    again.save(tmp_path / "again", ratings=False)
    np.testing.assert_equal(
        model_file.load(tmp_path / "again", "Recommender"), model_file.load(tmp_path / "bare", "Recommender")
    )


@pytest.mark.parametrize("settings", [{}, {"intervals": True}, {"model": "network"}, {"feedback": "implicit"}], ids=str)
def test_no_rating_is_in_a_file_without_ratings(settings, tmp_path):
    """Nor who rated what: of each user there is a vector or two, and the number of ratings if bounds need it."""
    table = numbered()
    model = Recommender(**settings).fit(table)
    model.save(tmp_path / "bare", ratings=False)
    arrays, _ = model_file.load(tmp_path / "bare", "Recommender")
    n_users, n_items, n_ratings = len(model.users_), len(model.items_), model.n_observed_
    assert n_users != n_items
    of_users = {name for name, array in arrays.items() if len(array) in (n_users, n_users + 1)}
    assert of_users <= {"users", "left", "ranking.left", "counts.users"}
    assert ("counts.users" in of_users) == bool(settings.get("intervals"))
    assert not any(n_ratings in array.shape for array in arrays.values())


def test_what_needs_ratings_is_refused_without_them(tmp_path):
    table = planted()
    Recommender(2).fit(table).save(tmp_path / "bare", ratings=False)
    model = Recommender.load(tmp_path / "bare")
    before = model._state
    for use in (
        lambda: model.fold_in(MORE),
        lambda: model.partial_fit(MORE),
        lambda: model.explain("user 3", "né 003"),
        lambda: model.observations_,
        lambda: model.save(tmp_path / "new"),
    ):
        with pytest.raises(
            ValueError, match=r"^the model was saved without its ratings, which this needs; load a file "
        ):
            use()
    with pytest.raises(ValueError, match="does not know what a user has rated; pass filter_already_liked_items=False"):
        model.recommend("user 3")
    assert model._state is before
    assert not (tmp_path / "new").exists()


def tables_of_privacy():
    """The names in docs/guide/privacy.md's tables of arrays, and whether each is left without the ratings."""
    page = (Path(__file__).parents[2] / "docs" / "guide" / "privacy.md").read_text()
    rows = [row.split("|") for row in page.splitlines() if row.startswith("| `")]
    return {name: row[4].strip() == "yes" for row in rows for name in re.findall(r"`([^`]+)`", row[1])}


@pytest.mark.parametrize(
    "settings",
    [{"intervals": True}, {"model": "network", "intervals": True}, {"feedback": "implicit", "rank": 8}],
    ids=str,
)
def test_the_page_on_privacy_names_what_a_file_holds(settings, tmp_path):
    told, table = tables_of_privacy(), numbered()
    users, features = [*np.unique(table["user"]).tolist(), -1], {}
    if "model" not in settings:  # networks take none
        features = {"user_features": {"user": users, "age": np.arange(len(users))}}
    model = Recommender(**settings).fit(table, **features)
    for ratings in (True, False):
        model.save(tmp_path / "model", ratings=ratings)
        arrays, header = model_file.load(tmp_path / "model", "Recommender")
        sizes = {name: array.size for name, array in arrays.items()}
        held = {re.sub(r"^model\.\d+\.", "model.", name) for name, size in sizes.items() if size}
        assert held <= told.keys()
        if not ratings:
            assert not {name for name in held if not told[name]}
        assert header.keys() <= told.keys()


# --- settings


@pytest.mark.parametrize(
    "settings",
    [
        {"random_state": 7, "n_threads": 1, "verbose": False},
        {"random_state": None, "rank": 3, "ensemble": 2, "intervals": True},
        {"model": "network", "depth": 2, "l2": 0.5, "validation_fraction": 0.2, "device": "cpu", "rank": 2},
        {"feedback": "implicit", "rank": 4, "random_state": 2**70},
    ],
    ids=str,
)
def test_settings_survive(settings, tmp_path):
    pytest.importorskip("torch") if "device" in settings else None
    model = Recommender(**settings).fit(part(planted(), slice(600)))
    model.save(tmp_path / "model")
    again = Recommender.load(tmp_path / "model")
    assert again._settings() == model._settings()


def test_a_generator_as_the_seed_becomes_none(tmp_path):
    model = Recommender(random_state=np.random.default_rng(0)).fit(part(planted(), slice(600)))
    model.save(tmp_path / "model")
    assert Recommender.load(tmp_path / "model").random_state is None


# --- mapped


def backing(array):
    while array is not None and not isinstance(array, np.memmap):
        array = array.base
    return array


def test_a_mapped_model_takes_no_pass_over_the_data(tmp_path):
    users, items, k = 100_000, 20_000, 16
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(users), 2)
    first = rng.integers(0, items // 2, users)
    cols = np.column_stack([first, first + items // 2]).ravel()
    cols[: 2 * items : 2] = np.arange(items) // 2
    cols[1 : 2 * items : 2] = items // 2 + np.arange(items) // 2
    table = {"user": rows, "item": cols, "rating": rng.random(len(rows))}
    model = Recommender(k, callbacks=[lambda info: True]).fit(table)
    assert model.user_factors.shape == (users, 8)  # START_WIDTH and biases: the fit is over after a sweep
    model.save(tmp_path / "model")
    again = Recommender.load(tmp_path / "model", mmap=True)
    state = again._state
    ranking = state.ranking()
    arrays = [state.left, state.right, again.users_.ids, again.items_.ids, *state.seen, ranking.left, ranking.right]
    assert all(backing(a) is not None for a in arrays)
    assert not state.left.flags.writeable
    asked = part(table, slice(1000))
    np.testing.assert_array_equal(again.predict(asked)["prediction"], model.predict(asked)["prediction"])
    for name, found in again.recommend(np.arange(5), 3).items():
        np.testing.assert_array_equal(found, model.recommend(np.arange(5), 3)[name])
    assert backing(again.user_factors) is not None  # it is served as it lies
    assert not state.fitted.made


# --- exported


@pytest.mark.parametrize("format", ["npy", "parquet"])
@pytest.mark.parametrize("ids", ["text", "numbers"])
def test_products_of_exported_vectors_are_the_predictions(ids, format, tmp_path):
    table = planted() if ids == "text" else numbered()
    model = Recommender().fit(table)
    files = model.export(tmp_path / "deep" / "folder", format)
    assert all(path.is_file() for path in files)
    assert {path.name for path in (tmp_path / "deep" / "folder").iterdir()} == {path.name for path in files}
    sides = []
    for name in ("user", "item"):
        if format == "npy":
            known = np.load(tmp_path / "deep" / "folder" / f"{name}s.npy")
            vectors = np.load(tmp_path / "deep" / "folder" / f"{name}_factors.npy")
        else:
            from pyarrow import parquet

            read = parquet.read_table(tmp_path / "deep" / "folder" / f"{name}s.parquet")
            assert read.column_names == ["id", "vector"]
            known, vectors = np.array(read["id"].to_pylist()), np.array(read["vector"].to_pylist(), np.float32)
        assert len(known) == len(vectors)
        lines = {id: line for line, id in enumerate(known.tolist())}
        sides.append(vectors[[lines[id] for id in table[name].tolist()]])
    products = np.sum(sides[0] * sides[1], axis=1) + model.mean_
    np.testing.assert_allclose(products, model.predict(table, clip=False)["prediction"], rtol=1e-4)


@pytest.mark.parametrize("kind", ["ratings", "clicks", "by rating alone"])
def test_vectors_for_ranking_order_items_as_lists_do(kind, tmp_path):
    rng = np.random.default_rng(0)
    table = planted() if kind == "ratings" else numbered()
    if kind == "by rating alone":  # so few that nobody can tell what is chosen by whom
        table = part(table, rng.permutation(len(table["user"]))[:150])
    model = Recommender(4, feedback="implicit" if kind == "clicks" else "explicit").fit(table)
    model.export(tmp_path, vectors="ranking")
    users, U, items, V = (np.load(tmp_path / f"{n}.npy") for n in ("users", "user_factors", "items", "item_factors"))
    np.testing.assert_array_equal(U @ V.T, model.ranking_.U @ model.ranking_.V.T)
    assert (model._state.ranking is not None and model._state.ranking().preferences is not None) == (kind == "ratings")
    found = model.recommend(users, 8)
    column_of = dict(zip(items.tolist(), range(len(items)), strict=True))
    for row in rng.choice(len(users), 20):
        listed = [column_of[id] for id in found["item"][found["user"] == users[row]].tolist()]
        order = (V @ U[row]).copy()
        order[model.seen_.indices[model.seen_.indptr[row] : model.seen_.indptr[row + 1]]] = -np.inf
        np.testing.assert_allclose(order[listed], np.sort(order)[::-1][: len(listed)], rtol=1e-5)
    if kind != "ratings":  # then they are those of predictions
        theirs = items[:3].tolist(), [5.0, 4.0, 1.0]
        np.testing.assert_array_equal(model.user_vector(*theirs, vectors="ranking"), model.user_vector(*theirs))
        np.testing.assert_array_equal(V, model.item_factors)
    with pytest.raises(ValueError, match="vectors is 'both'; choose one of 'prediction', 'ranking'"):
        model.export(tmp_path, vectors="both")


def test_saved_on_ctrl_c_a_model_orders_lists_when_it_is_asked(monkeypatch, tmp_path):
    """What orders them is fitted when it is first used, as by saving; a fit is not lost because that was cut short."""
    _, seen = communities()
    table = {"user": seen.rows, "item": seen.cols, "rating": seen.values}
    expected = Recommender().fit(table).recommend([1, 2], 5)
    model = Recommender().fit(table)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dmc.recommend.list_ranking._fitted", interrupt)
        with pytest.warns(UserWarning, match="interrupted: .*model is saved without the model that sorts lists"):
            model.save(tmp_path / "model")
        with pytest.raises(KeyboardInterrupt):
            model.save(tmp_path / "other", ratings=False)
    found = Recommender.load(tmp_path / "model").recommend([1, 2], 5)
    np.testing.assert_array_equal(found["item"], expected["item"])
    assert not (tmp_path / "other").exists()


def test_unknown_format_of_export(tmp_path):
    model = Recommender().fit(part(planted(), slice(500)))
    with pytest.raises(ValueError, match="format is 'csv'; choose one of 'npy', 'parquet'"):
        model.export(tmp_path / "nothing", "csv")
    assert not (tmp_path / "nothing").exists()


# --- many threads


@pytest.mark.parametrize("mmap", [False, True])
def test_a_loaded_model_serves_many_threads(mmap, tmp_path):
    table = planted()
    model = Recommender().fit(table)
    model.save(tmp_path / "model")
    again = Recommender.load(tmp_path / "model", mmap=mmap)
    users = model.users_.ids
    pairs = [part(table, slice(9 * i, 9 * i + 9)) for i in range(100)]
    predicted = [model.predict(p)["prediction"] for p in pairs]
    best = [model.recommend(user, 5) for user in users[:100]]
    folded = model.fold_in(MORE).predict(MORE)["prediction"]
    why = model.explain("user 3", "né 003")["contribution"]

    def serve(thread):
        # First of all, at once with all the others: what a loaded model makes when first asked for it.
        np.testing.assert_array_equal(again.fold_in(MORE).predict(MORE)["prediction"], folded)
        np.testing.assert_array_equal(again.explain("user 3", "né 003")["contribution"], why)
        for call in range(1000):
            at = (7 * call + thread) % 100
            np.testing.assert_array_equal(again.predict(pairs[at])["prediction"], predicted[at])
            found = again.recommend(users[at], 5)
            for name in found:
                np.testing.assert_array_equal(found[name], best[at][name])
        return thread

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(serve, range(8))) == list(range(8))


@pytest.mark.parametrize("scale", [1e30, 1e-25])
@pytest.mark.parametrize("model", ["bayes", "network"])
def test_ratings_in_any_unit_that_can_be_fitted_can_be_loaded(tmp_path, model, scale):
    table = planted()
    table["rating"] = table["rating"] * scale
    expected = Recommender(rank=2, model=model, random_state=0).fit(table)
    expected.save(tmp_path / "model")
    found = Recommender.load(tmp_path / "model")
    for name, predicted in found.predict(part(table, slice(50))).items():
        np.testing.assert_array_equal(predicted, expected.predict(part(table, slice(50)))[name])
