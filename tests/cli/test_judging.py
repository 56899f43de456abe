"""dmc evaluate and dmc report: the figures are those of the library, for people and for programs."""

import numpy as np
import pytest

from command_line import clicks, last_json, ratings, write
from dmc import Recommender
from dmc.cli import judging
from dmc.recommend import evaluation

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
    names, *rows = (line.split() for line in out.splitlines()[1:])
    assert names[: len(expected)] == list(expected)
    for measure in ("rmse", "ndcg", "coverage"):
        shown = next(row for row in rows if row[0] == measure)[1 : len(expected) + 1]
        assert shown == ["–" if (v := getattr(of, measure)) is None else f"{v:.4f}" for of in expected.values()]


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


@pytest.mark.filterwarnings("default")
def test_evaluate_by_what_was_fitted(dmc_in):
    code, out, err = dmc_in("evaluate", "--model", "model", "--test", "train.csv")
    assert code == 0
    assert err.startswith("dmc: all ")
    assert "so nothing is judged" in err
    assert out.startswith("0 test ratings; lists of 10 for 0 users with items rated high\n")


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


@pytest.fixture
def clicked(tmp_path):
    return write(tmp_path / "clicks.csv", clicks(), "user,item")


def test_evaluate_clicks(dmc_in, clicked, tmp_path):
    code, out, err = dmc_in("evaluate", clicked, "--feedback", "implicit", "--split", "user", "--rank", "4", "--json")
    assert (code, err) == (0, "")
    train, test = evaluation.split(clicked, "user")
    model = Recommender(4, feedback="implicit").fit(train)
    found = last_json(out)["recommender"]
    assert found["rmse"] is None
    assert found["ndcg"] == pytest.approx(evaluation.evaluate(model, test).ndcg)
    model.save(tmp_path / "model")
    write(tmp_path / "test.csv", zip(test["user"], test["item"], strict=True), "user,item")
    code, out, err = dmc_in("evaluate", "--model", tmp_path / "model", "--test", tmp_path / "test.csv")
    assert (code, err) == (0, "")
    assert "test clicks" in out
    assert "rmse" not in out
    assert f"{found['ndcg']:.4f}" in out


def test_evaluate_by_folds_gives_their_means(dmc_in, clicked):
    options = ["--feedback", "implicit", "--rank", "4", "--folds", "3"]
    code, out, err = dmc_in("evaluate", clicked, *options, "--json")
    assert (code, err) == (0, "")
    found = last_json(out)
    assert len(found["folds"]) == 3
    expected = []
    for train, test in evaluation.split(clicked, "folds", n_folds=3):
        expected.append(evaluation.evaluate(Recommender(4, feedback="implicit").fit(train), test).ndcg)
    assert [fold["recommender"]["ndcg"] for fold in found["folds"]] == pytest.approx(expected)
    assert found["recommender"]["ndcg"] == pytest.approx(np.mean(expected))
    assert "in each of 3 folds" in dmc_in("evaluate", clicked, *options)[1]


def test_evaluate_the_last_of_each_user(dmc_in, tmp_path):
    rows = [(user, item, 100 + item) for user, item in clicks()]
    write(tmp_path / "log.csv", rows, "user,item,when")
    options = ["--feedback", "implicit", "--split", "leave-last-out", "--time", "when", "--rank", "4", "--json"]
    code, out, _ = dmc_in("evaluate", tmp_path / "log.csv", *options)
    assert code == 0
    assert last_json(out)["recommender"]["n_ratings"] == len({user for user, _ in clicks()})


def test_means_of_folds_leave_out_what_is_no_number():
    first = {"ndcg": 0.2, "rmse": None, "n_users": 3, "intervals": {"ndcg": (0.1, 0.3)}}
    second = {"ndcg": 0.4, "rmse": 1.0, "n_users": 6, "intervals": {"ndcg": (0.3, 0.5)}}
    assert judging._mean([first, second]) == {"ndcg": pytest.approx(0.3), "rmse": None, "n_users": 4}
    assert judging._mean([first]) is first
    assert judging._mean([{"confidence": 0.95}] * 3) == {"confidence": 0.95}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "evaluate takes RATINGS to fit, or --model MODEL with --test FILE; give one of the two"),
        ("--model model", "evaluate takes RATINGS to fit, or --model MODEL with --test FILE"),
        ("train.csv --model model --test test.csv", "give one of the two"),
        ("train.csv --folds 3 --split user", "--split and --folds both choose the test ratings"),
        ("train.csv --folds 3 --test test.csv", "--test and --folds both choose"),
        ("- --test -", "- (standard input) is given for several tables; give files for all but one"),
    ],
)
def test_options_that_do_not_go_together(arguments, message, dmc_in):
    code, out, err = dmc_in("evaluate", *arguments.split())
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


# --- report


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
    assert " fitted rows)" in out
    assert str(page) in out
