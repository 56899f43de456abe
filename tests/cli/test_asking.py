"""dmc predict, recommend, similar, explain, export: what each answers to people and to programs."""

import csv
import io

import numpy as np
import pytest

from command_line import last_json, ratings, write
from dmc import Recommender
from dmc.cli import asking
from dmc.recommend.tables.table import Table

# --- predict


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


@pytest.mark.parametrize("asked", [["predict", "{}", "pairs.csv"], ["similar", "{}", "--item", "2"], ["report", "{}"]])
def test_an_answer_is_not_written_over_the_model(dmc_in, files, tmp_path, asked):
    model = tmp_path / "model"  # a name without an ending, which a table may have, too
    model.write_bytes((files / "model").read_bytes())
    code, _, err = dmc_in(*(word.format(model) for word in asked), "-o", model)
    assert code != 0
    assert "is both read and written" in err
    assert model.read_bytes() == (files / "model").read_bytes()


def test_predict_writes_the_file_with_json_too(dmc_in, tmp_path):
    code, _, _ = dmc_in("predict", "model", "pairs.csv", "-o", tmp_path / "out.csv", "--json")
    assert code == 0
    assert (tmp_path / "out.csv").read_text().startswith("user,item,prediction,known\nu1,2,")


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


def test_intervals(dmc_in, files, tmp_path):
    assert dmc_in("fit", "train.csv", "--intervals", "-o", tmp_path / "model")[0] == 0
    code, out, err = dmc_in("predict", tmp_path / "model", "pairs.csv", "--interval", "0.8", "--json")
    assert (code, err) == (0, "")
    expected = Recommender.load(tmp_path / "model").predict(files / "pairs.csv", interval=0.8)
    for name in ("prediction", "lower", "upper"):
        assert [row[name] for row in last_json(out)["predictions"]] == expected[name].tolist()
    out = dmc_in("predict", tmp_path / "model", "pairs.csv", "--interval", "0.8")[1]
    assert out.startswith("user,item,prediction,known,lower,upper\n")


# --- recommend


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
    assert err == "dmc: user 'stranger' is unknown: popular items follow\n"
    assert len(last_json(out)["recommendations"]) == 2


def test_recommend_to_each_user_of_a_log_once(dmc_in, tmp_path):
    log = write(tmp_path / "log.csv", [("u2", 3, 1), ("u1", 3, 1), ("u2", 4, 1)])
    _, out, _ = dmc_in("recommend", "model", "--users", log, "-n", "1", "--json")
    assert [row["user"] for row in last_json(out)["recommendations"]] == ["u2", "u1"]


def test_a_user_is_none_of_the_files_that_there_are(dmc_in, files):
    for name in ("train.csv", "."):
        code, _, err = dmc_in("recommend", "model", "--user", name, "-n", "1")
        assert code == 0
        assert err.startswith(f"dmc: user {name!r} is unknown")


def test_titles_do_not_replace_ids(dmc_in, titles, tmp_path):
    write(tmp_path / "named.csv", ratings(), "user,title,rating")
    assert dmc_in("fit", tmp_path / "named.csv", "--item", "title", "-o", tmp_path / "m")[0] == 0
    code, _, err = dmc_in("recommend", tmp_path / "m", "--titles", titles)
    assert code == 1
    assert "a column 'title', and --titles would add another one; leave --titles out" in err


def lists(path):
    table = Table.open(path, ("user", "item"))
    return list(zip(table.ids("user").tolist(), table.ids("item").tolist(), strict=True))


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_recommend_to_all_in_pieces(suffix, dmc_in, files, monkeypatch, tmp_path):
    monkeypatch.setattr(asking, "PLACES", 35)  # seven users at a time
    model = Recommender.load(files / "model")
    expected = model.recommend(n=5)
    path = tmp_path / f"lists.{suffix}"
    code, out, err = dmc_in("recommend", "model", "-n", "5", "-o", path)
    assert (code, out, err) == (0, "", "")
    assert lists(path) == list(zip(expected["user"].tolist(), expected["item"].tolist(), strict=True))
    found = Table.open(path).numbers("prediction")
    np.testing.assert_allclose(found, expected["prediction"], rtol=1e-5 if suffix in ("csv", "tsv") else 0)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_recommend_to_all_on_the_screen(dmc_in, files, monkeypatch):
    monkeypatch.setattr(asking, "PLACES", 10)
    expected = Recommender.load(files / "model").recommend(n=2)
    found = last_json(dmc_in("recommend", "model", "-n", "2", "--json")[1])["recommendations"]
    assert [row["item"] for row in found] == expected["item"].tolist()
    rows = list(csv.DictReader(io.StringIO(dmc_in("recommend", "model", "-n", "2")[1])))
    assert [row["item"] for row in rows] == [str(item) for item in expected["item"]]


def test_recommend_to_the_users_of_a_file(dmc_in, tmp_path):
    users = tmp_path / "users.txt"
    users.write_text("u1\nsomebody else\nu2\nnobody\n")
    code, out, err = dmc_in("recommend", "model", "--users", users, "-n", "1", "--json")
    assert code == 0
    assert [row["user"] for row in last_json(out)["recommendations"]] == ["u1", "somebody else", "u2", "nobody"]
    assert err == ("dmc: 2 of 4 users, such as 'somebody else', are unknown: popular items follow\n")


def test_recommend_of_some_items_and_without_others(dmc_in, files, titles, tmp_path):
    write(tmp_path / "some.csv", [(i,) for i in range(10)], "item")
    options = ["--items", tmp_path / "some.csv", "--exclude", "3", "--exclude", "4", "--include-rated", "--json"]
    found = last_json(dmc_in("recommend", "model", "--user", "u1", *options, "--titles", titles)[1])["recommendations"]
    assert sorted(row["item"] for row in found) == [0, 1, 2, 5, 6, 7, 8, 9]
    assert all(row["title"] == f"Film {row['item']}, the" for row in found)


def test_nothing_is_left_of_lists_that_failed(dmc_in, monkeypatch, tmp_path):
    whole, calls = Recommender.recommend, []

    def fails_later(self, *arguments, **options):
        calls.append(1)
        if len(calls) > 2:
            raise ValueError("the third piece")
        return whole(self, *arguments, **options)

    monkeypatch.setattr(asking, "PLACES", 50)
    monkeypatch.setattr(Recommender, "recommend", fails_later)
    (tmp_path / "lists.csv").write_text("yesterday")
    code, _, err = dmc_in("recommend", "model", "-n", "5", "-o", tmp_path / "lists.csv")
    assert (code, err) == (1, "dmc: the third piece\n")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("lists.csv", "yesterday")]


# --- similar and explain


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


# --- export


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
    code, out, _ = dmc_in("export", "model", tmp_path / "lists", "--vectors", "ranking")
    assert code == 0
    assert "mean" not in out
    np.testing.assert_array_equal(np.load(tmp_path / "lists" / "item_factors.npy"), model.ranking_.V)
