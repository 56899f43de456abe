"""The commands on ratings and models: what each answers to people and to programs."""

import csv
import io

import numpy as np
import pytest

from command_line import last_json, ratings, write
from dmc import Recommender
from dmc.recommend import evaluation, readers
from dmc.recommend.table import Table

FIT_KEYS = {"train_rmse", "fit_seconds", "rank", "status", "n_observed", "n_users", "n_items", "steps"}


# --- fit


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


def test_fit_for_people(dmc_in, tmp_path):
    code, out, err = dmc_in("fit", "train.csv", "--test", "test.csv")
    assert (code, err) == (0, "")
    for word in ("train rmse", "test rmse", "rank", "CONVERGED", "not saved: say -o FILE"):
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
    assert set(last_json(out)["predictions"][0]) == {"who", "what", "prediction"}


@pytest.mark.parametrize(("duplicates", "expected"), [("mean", 2.5), ("last", 3.0)])
def test_fit_duplicates(duplicates, expected, dmc_in, tmp_path):
    code, out, _ = dmc_in("fit", "repeats.csv", "--duplicates", duplicates, "-o", tmp_path / "model", "--json")
    assert code == 0
    assert last_json(out)["n_observed"] == 2
    assert Recommender.load(tmp_path / "model").mean_ == pytest.approx((expected + 4) / 2)


# --- predict and recommend


def test_predict(dmc_in, files, tmp_path):
    expected = Recommender.load(files / "model").predict(files / "pairs.csv")["prediction"]
    code, out, err = dmc_in("predict", "model", "pairs.csv")
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["user"], row["item"]) for row in rows] == [("u1", "2"), ("stranger", "3")]
    np.testing.assert_allclose([float(row["prediction"]) for row in rows], expected, atol=5e-5)

    code, out, _ = dmc_in("predict", "model", "pairs.csv", "--json")
    found = last_json(out)["predictions"]
    assert [(row["user"], row["item"]) for row in found] == [("u1", "2"), ("stranger", "3")]
    np.testing.assert_array_equal(np.float32([row["prediction"] for row in found]), expected)

    code, out, _ = dmc_in("predict", "model", "pairs.csv", "-o", tmp_path / "out.csv")
    assert (code, out) == (0, "")
    # What it wrote, it reads: as pairs again, now with a column more.
    code, out, _ = dmc_in("predict", "model", tmp_path / "out.csv", "--json")
    np.testing.assert_array_equal(np.float32([row["prediction"] for row in last_json(out)["predictions"]]), expected)


def test_predict_writes_the_file_with_json_too(dmc_in, tmp_path):
    code, _, _ = dmc_in("predict", "model", "pairs.csv", "-o", tmp_path / "out.csv", "--json")
    assert code == 0
    assert (tmp_path / "out.csv").read_text().startswith("user,item,prediction\nu1,2,")


def test_ids_with_commas_quotes_and_any_letters(dmc_in, tmp_path):
    users = ['O"Hara, John', "Amélie", "日本"]
    with open(tmp_path / "odd.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("user", "item", "rating"), *((u, i, i) for u in users for i in range(3))])
    assert dmc_in("fit", tmp_path / "odd.csv", "-o", tmp_path / "model")[0] == 0
    code, _, _ = dmc_in("predict", tmp_path / "model", tmp_path / "odd.csv", "-o", tmp_path / "out.csv")
    assert code == 0
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as file:
        assert {row["user"] for row in csv.DictReader(file)} == set(users)


def test_ids_that_are_not_utf8(dmc_in, tmp_path):
    """Latin-1 is common in rating files (u.item of MovieLens 100K); the ids come out as the bytes they went in as."""
    path = tmp_path / "latin.csv"
    path.write_bytes("user,item,rating\nAm\xe9lie,1,2\nRen\xe9,1,3\nRen\xe9,2,4\n".encode("latin-1"))
    assert dmc_in("fit", path, "-o", tmp_path / "model")[0] == 0
    code, _, err = dmc_in("predict", tmp_path / "model", path, "-o", tmp_path / "out.csv")
    assert (code, err) == (0, "")
    assert b"\nAm\xe9lie,1," in (tmp_path / "out.csv").read_bytes()


def test_recommend(dmc_in, files):
    seen = {item for user, item, _ in ratings()[:-40] if user == "u1"}
    expected = Recommender.load(files / "model").recommend(["u1", "u2"], 3)
    code, out, err = dmc_in("recommend", "model", "--user", "u1", "--user", "u2", "-n", "3", "--json")
    assert (code, err) == (0, "")
    found = last_json(out)["recommendations"]
    assert [row["user"] for row in found] == ["u1"] * 3 + ["u2"] * 3
    assert [row["item"] for row in found] == expected["item"].tolist()
    assert not seen & {row["item"] for row in found[:3]}
    code, out, _ = dmc_in("recommend", "model", "--user", "u1")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert 0 < len(rows) <= 10
    best = Recommender.load(files / "model").recommend("u1", 10)  # by preference and rating: the file has both
    assert [row["item"] for row in rows] == [str(item) for item in best["item"]]
    assert [float(row["prediction"]) for row in rows] == pytest.approx(best["prediction"], abs=1e-3)


def test_recommend_to_a_stranger_says_so(dmc_in):
    code, out, err = dmc_in("recommend", "model", "--user", "stranger", "-n", "2", "--json")
    assert code == 0
    assert err == "dmc: user 'stranger' is not known: what is chosen often and rated high follows\n"
    assert len(last_json(out)["recommendations"]) == 2


# --- evaluate


RIVALS = {"recommender", "mean", "biases", "popularity"}


def test_evaluate_splits_fits_and_judges(dmc_in, files):
    train, test = evaluation.split(files / "train.csv", "user", 0.3, 5)
    model = Recommender().fit(train)
    expected = {"recommender": evaluation.evaluate(model, test, 3, 4), **evaluation.baselines(train, test, 3, 4)}
    options = ["--split", "user", "--test-fraction", "0.3", "--seed", "5", "--relevant", "4", "-n", "3"]
    code, out, err = dmc_in("evaluate", "train.csv", *options, "--json")
    assert (code, err) == (0, "")
    assert last_json(out) == {name: verdict.asdict() for name, verdict in expected.items()}
    code, out, err = dmc_in("evaluate", "train.csv", *options)
    assert (code, err) == (0, "")
    for name, verdict in expected.items():
        shown = next(line for line in out.splitlines() if line.split()[0] == name).split()[1:]
        assert shown == ["–" if v is None else f"{v:.4f}" for v in list(verdict.asdict().values())[:7]]


def test_evaluate_by_a_file_and_a_saved_model(dmc_in, files):
    code, out, err = dmc_in("evaluate", "train.csv", "--test", "test.csv", "--json")
    assert (code, err) == (0, "")
    fitted = last_json(out)
    assert set(fitted) == RIVALS
    code, out, err = dmc_in("evaluate", "--model", "model", "--test", "test.csv", "--json")
    assert (code, err) == (0, "")
    assert last_json(out) == {"recommender": fitted["recommender"]}
    verdict = evaluation.evaluate(Recommender.load(files / "model"), files / "test.csv")
    assert last_json(out)["recommender"] == verdict.asdict()


def test_evaluate_by_time_with_columns_by_name(dmc_in, tmp_path):
    write(tmp_path / "named.csv", [(*row, 1000 - k) for k, row in enumerate(ratings())], "who,what,stars,when")
    named = [
        "--user",
        "who",
        "--item",
        "what",
        "--rating",
        "stars",
        "--time",
        "when",
        "--split",
        "time",
        "--test-fraction",
        "0.1",
    ]
    code, out, _ = dmc_in("evaluate", tmp_path / "named.csv", *named, "--json")
    assert code == 0
    first = ratings()[: round(0.1 * len(ratings()))]  # the latest stand first
    assert last_json(out)["recommender"]["n_ratings"] == len(first)
    assert last_json(out)["recommender"]["relevant"] == pytest.approx(np.mean([r for _, _, r in first]))


# --- fit, predict: ensembles and intervals


def test_fit_opens_its_ratings_once(dmc_in, monkeypatch):
    opened, read = [], readers.read
    monkeypatch.setattr(readers, "read", lambda paths, *how: opened.append(paths[0].name) or read(paths, *how))
    assert dmc_in("fit", "train.csv", "--test", "test.csv")[0] == 0
    assert sorted(opened) == ["test.csv", "train.csv"]


@pytest.mark.parametrize("arguments", ["--model network --depth 1", "--depth 1"])
def test_fit_a_network(arguments, dmc_in, tmp_path):
    code, _, err = dmc_in("fit", "train.csv", *arguments.split(), "-o", tmp_path / "model")
    assert code == 0
    found = Recommender.load(tmp_path / "model")
    assert (found.model, found.depth) == ("network", 1)
    told = "dmc: this trains a network; say --model network, which the next release asks for\n"
    assert err == ("" if "--model" in arguments else told)


def test_fit_an_ensemble(dmc_in, files, tmp_path):
    code, _, err = dmc_in("fit", "train.csv", "--ensemble", "2", "-o", tmp_path / "model")
    assert (code, err) == (0, "")
    found = Recommender.load(tmp_path / "model")
    assert found.ensemble == 2
    expected = Recommender(ensemble=2).fit(files / "train.csv").predict(files / "pairs.csv")["prediction"]
    np.testing.assert_array_equal(found.predict(files / "pairs.csv")["prediction"], expected)


def test_intervals(dmc_in, files, tmp_path):
    assert dmc_in("fit", "train.csv", "--intervals", "-o", tmp_path / "model")[0] == 0
    code, out, err = dmc_in("predict", tmp_path / "model", "pairs.csv", "--interval", "0.8", "--json")
    assert (code, err) == (0, "")
    expected = Recommender.load(tmp_path / "model").predict(files / "pairs.csv", interval=0.8)
    for name in ("prediction", "lower", "upper"):
        assert [row[name] for row in last_json(out)["predictions"]] == expected[name].tolist()
    out = dmc_in("predict", tmp_path / "model", "pairs.csv", "--interval", "0.8")[1]
    assert out.startswith("user,item,prediction,lower,upper\n")


# --- similar and explain


@pytest.fixture(scope="module")
def titles(tmp_path_factory):
    path = tmp_path_factory.mktemp("titles") / "titles.csv"
    path.write_text("id,title\n" + "".join(f'{i},"Film {i}, the"\n' for i in range(20)))
    return path


def test_similar(dmc_in, files, titles):
    expected = Recommender.load(files / "model").similar_items([3, 5], 4)
    code, out, err = dmc_in("similar", "model", "--item", "3", "--item", "5", "-n", "4", "--json")
    assert (code, err) == (0, "")
    found = last_json(out)["similar"]
    assert [row["item"] for row in found] == [3] * 4 + [5] * 4  # as in the ratings: numbers
    assert [row["similar"] for row in found] == expected["similar"].tolist()
    assert [row["similarity"] for row in found] == expected["similarity"].tolist()
    out = dmc_in("similar", "model", "--item", "3", "--titles", titles)[1]
    lines = list(csv.DictReader(io.StringIO(out)))
    assert len(lines) == 10
    assert all(row["title"] == f"Film {row['similar']}, the" for row in lines)


def test_explain(dmc_in, files, titles):
    model = Recommender.load(files / "model")
    expected = model.explain("u1", 3, 4)
    prediction = model.predict({"user": ["u1"], "item": [3]})["prediction"][0]
    code, out, err = dmc_in("explain", "model", "--user", "u1", "--item", "3", "-n", "4", "--json")
    assert (code, err) == (0, "")
    found = last_json(out)
    assert found["prediction"] == prediction
    for name, values in expected.items():
        assert [row[name] for row in found["contributions"]] == values.tolist()
    first, rest = dmc_in("explain", "model", "--user", "u1", "--item", "3", "--titles", titles)[1].split("\n", 1)
    assert first == f"user u1, item Film 3, the: {prediction:.2f} predicted; {model.mean_:.2f} is the mean rating"
    lines = list(csv.DictReader(io.StringIO(rest)))
    assert lines
    assert all(row["title"] == f"Film {row['item']}, the" for row in lines)


# --- report and export


def test_report(dmc_in, files, titles, tmp_path):
    page = tmp_path / "page.html"
    code, out, err = dmc_in("report", "model", "--test", "test.csv", "--titles", titles, "-o", page, "--json")
    assert (code, err) == (0, "")
    found = last_json(out)
    verdict = evaluation.evaluate(Recommender.load(files / "model"), files / "test.csv")
    assert found["rmse"] == pytest.approx(verdict.rmse)
    assert found["page"] == str(page)
    assert not found["own"]
    assert "<title>Report on model</title>" in page.read_text()
    assert "Film 1, the" in page.read_text()
    code, out, err = dmc_in("report", "model", "-o", page)
    assert (code, err) == (0, "")
    assert "its own ratings" in out
    assert str(page) in out


def test_export(dmc_in, files, tmp_path):
    model = Recommender.load(files / "model")
    code, out, err = dmc_in("export", "model", tmp_path / "new", "--json")
    assert (code, err) == (0, "")
    found = last_json(out)
    assert found["mean"] == model.mean_
    assert {tmp_path / "new" / name for name in ("users.npy", "user_factors.npy", "items.npy", "item_factors.npy")} == {
        tmp_path / name for name in found["files"]
    }
    np.testing.assert_array_equal(np.load(tmp_path / "new" / "item_factors.npy"), model.item_factors)
    code, out, _ = dmc_in("export", "model", tmp_path / "new", "--format", "parquet")
    assert code == 0
    assert str(tmp_path / "new" / "items.parquet") in out
    assert Table.open(tmp_path / "new" / "items.parquet", ("id",)).ids("id").tolist() == model.items_.ids.tolist()
