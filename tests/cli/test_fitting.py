"""dmc fit and dmc update: what they tell, what they save, and that an update keeps what there was."""

import os

import numpy as np
import pytest

import dmc
from command_line import clicks, last_json, ratings, write
from dmc import Recommender
from dmc.recommend import evaluation
from dmc.recommend.tables import readers
from dmc.recommend.tables.table import Table

FIT_KEYS = {"train_rmse", "fit_seconds", "rank", "status", "n_observed", "n_users", "n_items", "steps"}


# --- ratings


def test_fit_json(dmc_in, files, tmp_path):
    code, out, err = dmc_in("fit", "train.csv", "--test", "test.csv", "-o", tmp_path / "model", "--json")
    assert (code, err) == (0, "")
    found = last_json(out)
    assert set(found) == FIT_KEYS | {"test_rmse"}
    expected = Recommender().fit(files / "train.csv")
    for name, file in {"train_rmse": "train.csv", "test_rmse": "test.csv"}.items():
        predicted = expected.predict(files / file)["prediction"]
        actual = Table.open(files / file).numbers("rating")
        assert found[name] == pytest.approx(np.sqrt(np.mean((predicted - actual) ** 2)), rel=1e-5)
    assert found["rank"] == expected.rank_
    assert found["status"] == "CONVERGED"
    assert found["n_observed"] == len(ratings()) - 40
    assert (found["n_users"], found["n_items"]) == (len(expected.users_), len(expected.items_))
    assert found["steps"] == expected.n_iter_
    assert found["fit_seconds"] > 0
    saved = Recommender.load(tmp_path / "model")
    for pairs in ("train.csv", "test.csv"):
        np.testing.assert_array_equal(
            saved.predict(files / pairs)["prediction"], expected.predict(files / pairs)["prediction"]
        )


@pytest.mark.filterwarnings("default")
def test_test_ratings_that_are_fitted_do_not_count(dmc_in, files, tmp_path):
    rows = ratings()
    write(tmp_path / "both.csv", [*rows[:40], *rows[-40:]])
    fitted = set((files / "train.csv").read_text().splitlines())
    n_seen = sum(",".join(map(str, row)) in fitted for row in [*rows[:40], *rows[-40:]])
    assert n_seen == 40
    code, out, err = dmc_in("fit", "train.csv", "--test", tmp_path / "both.csv", "--json")
    assert code == 0
    assert "40 of 80 test rows are pairs from the fit and are left out" in err
    again = dmc_in("fit", "train.csv", "--test", "test.csv", "--json")[1]
    assert last_json(out)["test_rmse"] == last_json(again)["test_rmse"]
    code, out, err = dmc_in("fit", "train.csv", "--test", "train.csv", "--json")
    assert "test_rmse" not in last_json(out)
    assert "so nothing is judged" in err


@pytest.mark.parametrize("command", ["fit train.csv", "update model test.csv", "forget model --user u1"])
def test_a_model_replaces_no_device(command, dmc_in, tmp_path):
    """It would: the program may be run by one who is allowed to."""
    os.mkfifo(tmp_path / "pipe")
    code, out, err = dmc_in(*command.split(), "-o", tmp_path / "pipe")
    assert (code, out) == (1, "")
    assert "pipe is a device or a pipe, which would be replaced; give the path of a file" in err
    assert (tmp_path / "pipe").is_fifo()


def test_fit_for_people(dmc_in, tmp_path):
    code, out, err = dmc_in("fit", "train.csv", "--test", "test.csv")
    assert (code, err) == (0, "")
    for word in ("train rmse", "test rmse", "rank", "CONVERGED", "not saved (use -o FILE)"):
        assert word in out
    code, out, _ = dmc_in("fit", "train.csv", "-o", tmp_path / "model")
    assert str(tmp_path / "model") in out
    assert "test rmse" not in out


def test_fit_columns_by_name(dmc_in, tmp_path):
    write(tmp_path / "named.csv", [(5, *row) for row in ratings()], "when,who,what,stars")
    named = ("--user", "who", "--item", "what", "--rating", "stars")
    code, out, _ = dmc_in("fit", tmp_path / "named.csv", *named, "-o", tmp_path / "model", "--json")
    assert code == 0
    assert last_json(out)["n_observed"] == len(ratings())
    write(tmp_path / "pairs.csv", [("u1", 2)], "who,what")
    code, out, _ = dmc_in("predict", tmp_path / "model", tmp_path / "pairs.csv", "--json")
    assert set(last_json(out)["predictions"][0]) == {"who", "what", "prediction", "known"}


@pytest.mark.parametrize(("duplicates", "expected"), [("mean", 2.5), ("last", 3.0)])
def test_fit_duplicates(duplicates, expected, dmc_in, tmp_path):
    code, out, _ = dmc_in("fit", "repeats.csv", "--duplicates", duplicates, "-o", tmp_path / "model", "--json")
    assert code == 0
    assert last_json(out)["n_observed"] == 2
    assert Recommender.load(tmp_path / "model").mean_ == pytest.approx((expected + 4) / 2)


def test_fit_opens_its_ratings_once(dmc_in, monkeypatch):
    opened, read = [], readers.read
    monkeypatch.setattr(readers, "read", lambda *given: opened.append(given[0]) or read(*given))
    assert dmc_in("fit", "train.csv", "--test", "test.csv")[0] == 0
    assert len(opened) == 2


@pytest.mark.parametrize("arguments", ["--model network --depth 1", "--depth 1"])
def test_fit_a_network(arguments, dmc_in, tmp_path):
    code, _, err = dmc_in("fit", "train.csv", *arguments.split(), "-o", tmp_path / "model")
    assert code == 0
    found = Recommender.load(tmp_path / "model")
    assert (found.model, found.depth) == ("network", 1)
    told = "dmc: this trains a network; add --model network, which the next release will require\n"
    assert err == ("" if "--model" in arguments else told)


def test_fit_an_ensemble(dmc_in, files, tmp_path):
    code, _, err = dmc_in("fit", "train.csv", "--ensemble", "2", "-o", tmp_path / "model")
    assert (code, err) == (0, "")
    found = Recommender.load(tmp_path / "model")
    assert found.ensemble == 2
    expected = Recommender(ensemble=2).fit(files / "train.csv").predict(files / "pairs.csv")["prediction"]
    np.testing.assert_array_equal(found.predict(files / "pairs.csv")["prediction"], expected)


def test_fit_with_a_rank_and_features(dmc_in, files, tmp_path):
    write(tmp_path / "items.csv", [(i, i % 5, f"kind {i % 3}") for i in range(25)], "item,size,kind")
    write(tmp_path / "users.csv", [(f"u{i}", i % 7) for i in range(30)], "user,age")
    tables = {"item_features": tmp_path / "items.csv", "user_features": tmp_path / "users.csv"}
    options = [option for name, path in tables.items() for option in (f"--{name.replace('_', '-')}", path)]
    code, out, err = dmc_in("fit", "train.csv", "--rank", "2", *options, "-o", tmp_path / "model", "--json")
    assert (code, err) == (0, "")
    assert last_json(out)["n_items"] == 25  # those that nobody has rated are known too
    expected = Recommender(2).fit(files / "train.csv", **tables)
    found = Recommender.load(tmp_path / "model")
    pairs = {"user": ["u1", "u2"], "item": [24, 3]}
    np.testing.assert_array_equal(found.predict(pairs)["prediction"], expected.predict(pairs)["prediction"])


def test_the_columns_of_weights_and_times_are_handed_on(dmc_in, monkeypatch, tmp_path):
    write(tmp_path / "aged.csv", [(*row, 1, 2) for row in ratings()], "user,item,rating,w,when")
    given = {}

    class Model(Recommender):
        def fit(self, table, *columns, **more):
            given.update(more, columns=columns)
            return super().fit(table, *columns[:3])

    monkeypatch.setattr(dmc, "Recommender", Model)
    options = ["--weight", "w", "--time", "when", "--duplicates", "latest"]
    assert dmc_in("fit", tmp_path / "aged.csv", *options)[0] == 0
    assert given == {
        "weight": "w",
        "time": "when",
        "columns": ("user", "item", "rating", "latest"),
    }


# --- clicks


@pytest.fixture
def day(tmp_path):
    """Clicks of known users on known items, of a new user, and on a new item."""
    return write(tmp_path / "day.csv", [("u1", 2), ("new", 3), ("new", 4), ("u2", "new"), ("u3", "new")], "user,item")


@pytest.fixture
def clicked(tmp_path):
    return write(tmp_path / "clicks.csv", clicks(), "user,item")


def test_fit_clicks_tells_of_lists_and_not_of_errors(dmc_in, tmp_path):
    pairs = clicks(200, 60)
    train, test = pairs[::2] + pairs[1::4], pairs[3::4]
    for name, some in {"train.csv": train, "test.csv": test}.items():
        write(tmp_path / name, some, "user,item")
    given = [tmp_path / "train.csv", "--test", tmp_path / "test.csv", "--feedback", "implicit"]
    code, out, err = dmc_in("fit", *given, "-o", tmp_path / "model", "--json")
    assert (code, err) == (0, "")
    found = last_json(out)
    assert not [name for name in found if "rmse" in name]
    assert found["n_observed"] == len(train)
    model = Recommender.load(tmp_path / "model")
    fitted = Recommender(feedback="implicit").fit(tmp_path / "train.csv")
    assert found["held_out_ndcg"] == max(look["ndcg"] for look in fitted.history_ if "ndcg" in look)
    assert found["test_ndcg"] == evaluation.evaluate(model, tmp_path / "test.csv").ndcg
    assert "rmse" not in dmc_in("fit", *given)[1]


def test_update_takes_new_users_and_items_in(dmc_in, clicked, day, tmp_path):
    assert dmc_in("fit", clicked, "--feedback", "implicit", "-o", tmp_path / "model")[0] == 0
    before = Recommender.load(tmp_path / "model")
    code, out, err = dmc_in("update", tmp_path / "model", day, "-o", tmp_path / "other", "--json")
    assert (code, err) == (0, "")
    found = last_json(out)
    n_new = sum(pair not in set(clicks()) for pair in [("u1", 2)]) + 4
    assert found | {"seconds": 0} == {
        "n_new_users": 1,
        "n_new_items": 1,
        "n_new_observed": n_new,
        "n_users": len(before.users_) + 1,
        "n_items": len(before.items_) + 1,
        "n_observed": before.n_observed_ + n_new,
        "status": "CONVERGED",
        "seconds": 0,
        "model": str(tmp_path / "other"),
    }
    other = Recommender.load(tmp_path / "other")
    expected = Recommender.load(tmp_path / "model").partial_fit(Table.open(day, ("user", "item")))
    np.testing.assert_array_equal(other.item_factors, expected.item_factors)
    assert "new" not in Recommender.load(tmp_path / "model").users_.ids  # MODEL stays, where -o names another file

    code, out, _ = dmc_in("update", tmp_path / "model", day)
    assert code == 0
    assert "1 of them new" in out
    np.testing.assert_array_equal(Recommender.load(tmp_path / "model").item_factors, expected.item_factors)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clicks.csv", "day.csv", "model", "other"]


def test_a_failed_update_leaves_the_model(dmc_in, files, tmp_path):
    (tmp_path / "model").write_bytes((files / "model").read_bytes())
    code, out, err = dmc_in("update", tmp_path / "model", "words.csv")
    assert (code, out) == (1, "")
    assert (
        err
        == "dmc: column 'rating' holds 'good' in line 2 of words.csv, which is not a number; convert or drop it first\n"
    )
    assert (tmp_path / "model").read_bytes() == (files / "model").read_bytes()


def test_update_of_a_rating_that_is_known_takes_the_new_value(dmc_in, files, tmp_path):
    (tmp_path / "model").write_bytes((files / "model").read_bytes())
    user, item, rating = ratings()[0]
    write(tmp_path / "again.csv", [(user, item, 6 - rating)])
    code, out, _ = dmc_in("update", tmp_path / "model", tmp_path / "again.csv", "--json")
    assert code == 0
    assert last_json(out)["n_new_observed"] == 0
    before, after = (Recommender.load(path).observations_ for path in (files / "model", tmp_path / "model"))
    changed = np.flatnonzero(before.values != after.values)
    assert after.values[changed].tolist() == [6 - rating]


def test_a_model_without_its_ratings_serves(dmc_in, clicked, tmp_path):
    assert dmc_in("fit", clicked, "--feedback", "implicit", "--without-ratings", "-o", tmp_path / "model")[0] == 0
    assert dmc_in("recommend", tmp_path / "model", "--user", "u1", "--include-rated")[0] == 0
    for command in (("recommend", tmp_path / "model"), ("update", tmp_path / "model", clicked)):
        code, _, err = dmc_in(*command)
        assert code == 1
        assert err.count("\n") == 1
        assert "without its ratings" in err


def test_forget_takes_users_and_items_out_of_a_model(dmc_in, clicked, tmp_path):
    model, other, gone = tmp_path / "model", tmp_path / "other", tmp_path / "gone.txt"
    assert dmc_in("fit", clicked, "--feedback", "implicit", "-o", model)[0] == 0
    before, content = Recommender.load(model), model.read_bytes()
    gone.write_text("u3\nu4\n")
    code, out, err = dmc_in("forget", model, "--user", "u1", "--user", gone, "--item", "7", "-o", other, "--json")
    assert (code, err) == (0, "")
    after = Recommender.load(other)
    assert not {"u1", "u3", "u4"} & set(after.users_.ids.tolist())
    assert last_json(out) == {
        "n_forgotten_users": 3,
        "n_forgotten_items": 1,
        "n_forgotten_observed": before.n_observed_ - after.n_observed_,
        "model": str(other),
    }
    code, _, err = dmc_in("forget", model, "--user", "nobody")
    assert code == 1
    assert err.startswith("dmc: user 'nobody' is not known, and nothing was forgotten; ")
    code, _, err = dmc_in("forget", model)
    assert code == 2
    assert err == "dmc: no user or item to forget is given; use --user or --item\n"
    assert model.read_bytes() == content
    assert dmc_in("forget", model, "--user", "u1")[0] == 0
    assert "u1" not in Recommender.load(model).users_.ids.tolist()


# --- kept in a file


def test_a_fit_with_a_checkpoint_goes_on_from_it(dmc_in, tmp_path):
    kept = tmp_path / "fit.checkpoint"
    code, _, err = dmc_in("fit", "train.csv", "--checkpoint", kept, "-o", tmp_path / "first", "--json")
    assert (code, err) == (0, "")
    code, _, err = dmc_in("fit", "train.csv", "--checkpoint", kept, "-o", tmp_path / "again", "--json")
    assert (code, err) == (0, f"dmc: the fit resumes from {kept}\n")
    first, again = (Recommender.load(tmp_path / name) for name in ("first", "again"))
    np.testing.assert_array_equal(again.user_factors, first.user_factors)
    kept.write_text("my thesis")
    code, _, err = dmc_in("fit", "train.csv", "--checkpoint", kept)
    assert code != 0
    assert "is not a checkpoint, or is damaged" in err
    assert kept.read_text() == "my thesis"


@pytest.mark.parametrize("other", ["train.csv", "--test", "--checkpoint"])
def test_what_is_read_is_not_replaced_by_the_model(dmc_in, tmp_path, other):
    ratings = "user,item,rating\n1,2,3\n"
    mine = tmp_path / "mine.csv"
    mine.write_text(ratings)
    given = [mine] if other == "train.csv" else ["train.csv", other, mine]
    code, _, err = dmc_in("fit", *given, "-o", tmp_path / "." / "mine.csv")
    assert code != 0
    assert "is both read and written" in err
    assert mine.read_text() == ratings
