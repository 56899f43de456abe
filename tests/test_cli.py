"""The command line: what each command answers, that errors are one sentence, and that Ctrl-C loses nothing."""

import csv
import importlib.util
import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

import numpy as np
import pytest
from matplotlib import image as images
from typer.testing import CliRunner

import dmc
from dmc import Recommender, _compiled, cli, evaluation, kernels, torch_compiled
from dmc.ratings import Table

FIT_KEYS = {"train_rmse", "fit_seconds", "rank", "status", "n_observed", "n_users", "n_items", "steps"}


def ratings(users=30, items=20, seed=0):
    rng = np.random.default_rng(seed)
    u, i = np.nonzero(rng.random((users, items)) < 0.5)
    return [(f"u{a}", b, 1 + (a * b) % 5) for a, b in zip(u.tolist(), i.tolist(), strict=True)]


def write(path, rows, header="user,item,rating"):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with ratings, pairs, a model fitted to the ratings, and files that are none of these."""
    folder = tmp_path_factory.mktemp("files")
    write(folder / "train.csv", ratings()[:-40])
    write(folder / "test.csv", ratings()[-40:])
    write(folder / "pairs.csv", [("u1", 2), ("stranger", 3)], "user,item")
    write(folder / "repeats.csv", [("a", 1, 2), ("a", 1, 3), ("b", 1, 4)])
    write(folder / "words.csv", [("a", 1, "good")])
    (folder / "cut.csv").write_text("user,item,rating\na,1,2\nb,2")
    Recommender().fit(folder / "train.csv").save(folder / "model")
    return folder


@pytest.fixture
def dmc_in(files, monkeypatch, capsys):
    """Runs the command line, in the folder, as its user does: exit status, output, error output."""

    def run(*arguments):
        monkeypatch.chdir(files)
        monkeypatch.setattr(sys, "argv", ["dmc", *map(str, arguments)])
        with pytest.raises(SystemExit) as ending:
            cli.main()
        return ending.value.code or 0, *capsys.readouterr()

    return run


def last_json(output: str):
    return json.loads(output.splitlines()[-1])


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
    scores = [float(row["prediction"]) for row in rows]
    assert scores == sorted(scores, reverse=True)


def test_recommend_to_a_stranger_says_so(dmc_in):
    code, out, err = dmc_in("recommend", "model", "--user", "stranger", "-n", "2", "--json")
    assert code == 0
    assert err == "dmc: user 'stranger' is not known: the items that are best on average follow\n"
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


# --- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("fit nope.csv", "there is no file nope.csv; check the path"),
        ("fit .", ". is a folder; give a file of ratings"),
        ("fit cut.csv", "line 3 of cut.csv has 2 fields in place of 3"),
        ("fit words.csv", "column 'rating' holds 'good', which is not a number"),
        ("fit repeats.csv", "1 rating repeats a user and an item given before; say duplicates='last'"),
        ("fit train.csv --user who", "the file train.csv has no column 'who', only 'user', 'item', 'rating'"),
        ("fit train.csv --test nope.csv", "there is no file nope.csv"),
        ("fit train.csv --test pairs.csv", "the file pairs.csv has no column 'rating'"),
        ("fit train.csv -o nowhere/model", "there is no folder nowhere to save model in; make it first"),
        ("fit train.csv -o .", "is a folder"),
        ("predict nope pairs.csv", "there is no model file nope"),
        ("predict train.csv pairs.csv", "train.csv is not a model file, or is damaged"),
        ("predict model nope.csv", "there is no file nope.csv"),
        ("predict model words.csv -o nowhere/out.csv", "there is no folder nowhere"),
        ("recommend model --user u1 -n 0", "n is 0; it has to be at least 1"),
        ("demo -o nowhere/figure.png", "there is no folder nowhere"),
        ("evaluate", "evaluate takes RATINGS to fit, or --model MODEL with --test FILE; give one of the two"),
        ("evaluate --model model", "evaluate takes RATINGS to fit, or --model MODEL with --test FILE"),
        ("evaluate train.csv --model model --test test.csv", "give one of the two"),
        ("evaluate train.csv --split time", "the file train.csv has no column 'timestamp'"),
        ("evaluate train.csv --test-fraction 2", "test_fraction is 2"),
        ("evaluate repeats.csv --relevant nan", "relevant is nan"),
        ("evaluate train.csv -n 0", "n is 0; it has to be at least 1"),
    ],
)
def test_an_error_is_one_sentence(arguments, message, dmc_in, files, monkeypatch):
    before = sorted(files.iterdir())
    # Wrong paths are told before the work: here, the work would fail.
    if "nowhere" in arguments or "--test" in arguments or arguments.endswith("-o ."):
        monkeypatch.setattr(cli.Recommender, "fit", None)
        monkeypatch.setattr(cli, "MatrixCompletion", None)
    code, out, err = dmc_in(*arguments.split())
    assert code == 1
    assert out == ""
    assert err.startswith("dmc: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert message in err
    assert sorted(files.iterdir()) == before


@pytest.mark.parametrize(
    "arguments", ["fit", "predict model", "recommend model", "bench-what", "fit train.csv --duplicates first", "fit -x"]
)
def test_wrong_use_is_explained(arguments, files):
    result = CliRunner().invoke(cli.app, arguments.split())
    assert result.exit_code == 2
    assert "Usage" in result.output
    assert "Traceback" not in result.output


@pytest.mark.filterwarnings("default")
def test_warnings_are_sentences_too(dmc_in, monkeypatch, tmp_path):
    def interrupt(info):
        if info.status is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli, "Recommender", lambda **settings: Recommender(callbacks=[interrupt], **settings))
    code, out, err = dmc_in("fit", "train.csv", "-o", tmp_path / "model", "--json")
    assert code == 0
    assert err == "dmc: interrupted: the model holds the best so far\n"
    assert last_json(out)["status"] == "STOPPED"
    assert (tmp_path / "model").exists()


@pytest.mark.parametrize("command", [[], ["fit"], ["predict"], ["recommend"], ["evaluate"], ["demo"], ["doctor"]])
def test_help(command):
    result = CliRunner().invoke(cli.app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output
    if command and command[0] != "doctor":
        assert "--output" in result.output or command[0] in ("recommend", "evaluate")


# --- Ctrl-C


@pytest.fixture
def many_ratings(tmp_path):
    """As large as MovieLens 1M, and as hard to fit: it trains for seconds on any machine."""
    rng = np.random.default_rng(0)
    n = 400_000
    cells = rng.choice(6000 * 3000, n, replace=False)
    u, i = np.divmod(cells, 3000)
    U, V = rng.standard_normal((6000, 8)), rng.standard_normal((3000, 8))
    values = 3 + 0.4 * np.sum(U[u] * V[i], axis=1) + 0.5 * rng.standard_normal(n)
    lines = (f"{a}\t{b}\t{c:.2f}" for a, b, c in zip(u.tolist(), i.tolist(), values.tolist(), strict=True))
    path = tmp_path / "many.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_ctrl_c_saves_the_best_so_far(many_ratings, tmp_path):
    """On a terminal, as it happens: the signal is sent once the progress bar shows that training goes on."""
    terminal, side = pty.openpty()
    termios.tcsetwinsize(side, (24, 80))
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child inherits a signal that is ignored
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "dmc", "fit", str(many_ratings), "-o", str(tmp_path / "model"), "--json"],
            stdout=subprocess.PIPE,
            stderr=side,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, previous)
        os.close(side)
    shown, sent = b"", False
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if select.select([terminal], [], [], 0.1)[0]:
                shown += os.read(terminal, 65_536)
        except OSError:  # the other side is closed: the process has ended
            break
        if not sent and re.search(rb"fit: +\d+%.*value", shown):
            process.send_signal(signal.SIGINT)
            sent = True
    out = process.communicate(timeout=60)[0]
    os.close(terminal)
    assert sent, shown
    assert process.returncode == 0, shown
    assert b"interrupted: the model holds the best so far" in shown
    assert b"Traceback" not in shown
    assert last_json(out)["status"] == "STOPPED"
    model = Recommender.load(tmp_path / "model")
    assert len(model.recommend("5", 3)["item"]) == 3
    assert not list(tmp_path.glob("*.part"))


# --- doctor and demo


def test_doctor_json(dmc_in):
    code, out, err = dmc_in("doctor", "--json")
    assert (code, err) == (0, "")
    found = last_json(out)
    assert found["dmc"] == dmc.__version__
    assert found["cores"] == os.cpu_count()
    assert found["kernel"] == kernels.chosen()
    assert [k["name"] for k in found["kernels"]] == list(kernels.NAMES)
    for kernel in found["kernels"]:
        assert kernel["reason"]
        assert kernel["available"] or kernel["remedy"]
    assert found["versions"]["numpy"] == np.__version__
    assert all(isinstance(n, int) for n in found["threads"].values())


def test_doctor_for_people(dmc_in, monkeypatch):
    monkeypatch.setenv("DMC_KERNEL", "reference")
    code, out, _ = dmc_in("doctor")
    assert code == 0
    assert re.search(r"kernel reference +serves", out)
    assert not re.search(r"kernel (native|numba) +serves", out)
    assert np.__version__ in out
    monkeypatch.setattr(cli, "version", lambda name: (_ for _ in ()).throw(cli.PackageNotFoundError(name)))
    assert re.search(r"torch +not installed", dmc_in("doctor")[1])


def test_doctor_tells_what_is_missing_and_what_to_do(dmc_in, monkeypatch):
    missing = kernels.Availability("native", False, "it was not built", "install a compiler")
    there = kernels.Availability("numba", True, "compiled at first use")
    monkeypatch.setattr(kernels, "report", lambda: [missing, there])
    code, out, _ = dmc_in("doctor")
    assert code == 0
    assert re.search(r"kernel native +missing +it was not built; install a compiler", out)
    assert re.search(r"kernel numba +serves", out)
    assert last_json(dmc_in("doctor", "--json")[1])["kernel"] == "numba"


@pytest.mark.parametrize(
    ("compiled", "torch", "ours", "expected"),
    [
        (("dmc._cuda was not built", "install nvcc"), True, None, "missing +dmc._cuda was not built; install nvcc"),
        (("there is no NVIDIA driver", "install one"), True, None, "missing +there is no NVIDIA driver; install one"),
        (None, False, None, r"missing +torch is not installed; run: pip install 'dmc\[torch\]'"),
        (None, True, ("torch is without CUDA", "install one"), "missing +torch is without CUDA; install one"),
        (None, True, None, "serves +dmc._cuda, for torch tensors on a GPU"),
    ],
    ids=["not built", "no driver", "no torch", "torch for the processor", "all there"],
)
def test_doctor_tells_whether_cuda_is_used_and_why(compiled, torch, ours, expected, dmc_in, monkeypatch):
    compiled, ours = (None if found is None else _compiled.Obstacle(*found) for found in (compiled, ours))
    monkeypatch.setattr(_compiled, "cuda_obstacle", lambda: compiled)
    monkeypatch.setattr(torch_compiled, "cuda_obstacle", lambda: ours)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "torch" and not torch else find_spec(n))
    out = dmc_in("doctor")[1]
    assert re.search(f"^  CUDA +{expected}$", out, re.MULTILINE), out
    found = last_json(dmc_in("doctor", "--json")[1])["cuda"]
    assert found["used"] == expected.startswith("serves")
    assert bool(found["remedy"]) == (not found["used"])


def test_an_unknown_kernel_is_refused(dmc_in, monkeypatch):
    monkeypatch.setenv("DMC_KERNEL", "cuda-but-misspelt")
    for arguments in (["doctor"], ["fit", "train.csv"]):
        code, _, err = dmc_in(*arguments)
        assert code == 1
        assert err.startswith("dmc: the environment variable DMC_KERNEL is 'cuda-but-misspelt'; choose one of 'native'")


def test_demo_keeps_its_promises(tmp_path):
    """The embedded default: planted error at most 1e-5 at rank 5; the photograph 8 dB above mean-fill; the figure."""
    result = CliRunner().invoke(cli.app, ["demo", "-o", str(tmp_path / "figure.png"), "--json"])
    assert result.exit_code == 0
    found = last_json(result.stdout)
    assert found["planted"]["relative_error"] <= 1e-5
    assert found["planted"]["rank"] == 5
    assert found["planted"]["status"] == "CONVERGED"
    photograph = found["photograph"]
    assert photograph["psnr"] >= photograph["psnr_mean_fill"] + 8
    assert photograph["figure"] == str(tmp_path / "figure.png")
    height, width = images.imread(tmp_path / "figure.png").shape[:2]
    assert width > 1000
    assert height / width == pytest.approx(427 / 640 / 3, rel=0.2)
    assert f"{photograph['psnr']:.2f} dB" in result.stdout


def test_bench_lists_every_run_with_what_it_asks(dmc_in):
    status, out, _ = dmc_in("bench")
    assert status == 0
    lines = [line.split(maxsplit=1) for line in out.splitlines()]
    assert {"trajectory-300", "trajectory-1000", "narrow", "kwon", "ratings", "memory", "kernels"} <= {
        n for n, _ in lines
    }
    assert lines[-1][0] == "report"  # it is made from the others
    assert all(question.endswith(".") for _, question in lines)


def test_bench_runs_what_is_named_in_processes_of_their_own(dmc_in, monkeypatch):
    commands = []
    ended = subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(subprocess, "run", lambda command: commands.append(command[1:]) or ended)
    assert dmc_in("bench", "kwon", "report")[0] == 0
    assert [(os.path.basename(script), name) for script, name in commands] == [
        ("rates.py", "kwon"),
        ("report.py", "report"),
    ]
    ended.returncode = 3
    assert dmc_in("bench", "kwon")[0] == 3
    status, _, err = dmc_in("bench", "kwom")
    assert status == 1
    assert "there is no bench 'kwom'" in err
