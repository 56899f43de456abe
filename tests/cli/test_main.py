"""What ends the program: errors in one sentence, wrong use, Ctrl-C, and a reader that has gone."""

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

import dmc
from command_line import last_json
from dmc import MatrixCompletion, Recommender

# --- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("fit nope.csv", "there is no file nope.csv; check the path"),
        ("fit .", ". is a folder"),
        ("fit cut.csv", "line 3 of cut.csv has 2 fields instead of 3"),
        ("fit words.csv", "column 'rating' holds 'good' in line 2 of words.csv, which is not a number"),
        (
            "fit repeats.csv",
            "1 rating repeats a user and an item given before; pass --duplicates last",
        ),
        ("fit train.csv --user who", "the file train.csv has no column 'who', only 'user', 'item', 'rating'"),
        ("fit train.csv --test nope.csv", "there is no file nope.csv"),
        ("fit train.csv --test pairs.csv", "the file pairs.csv has no column 'rating'"),
        ("fit train.csv -o nowhere/model", "there is no folder nowhere to save model in; make it first"),
        ("fit train.csv -o .", "is a folder"),
        ("predict nope pairs.csv", "there is no model file nope"),
        ("predict train.csv pairs.csv", "train.csv is not a model file, or is damaged"),
        ("predict model nope.csv", "there is no file nope.csv"),
        ("predict model words.csv -o nowhere/out.csv", "there is no folder nowhere"),
        ("demo -o nowhere/figure.png", "there is no folder nowhere"),
        ("evaluate train.csv --split time", "the file train.csv has no column 'timestamp'"),
        ("evaluate train.csv --relevant nan", "relevant is nan"),
        ("fit repeats.csv --duplicates last --intervals", "2 ratings are too few to hold some out for intervals"),
        ("predict model pairs.csv --interval 0.9", "has learnt no intervals; fit it with dmc fit --intervals"),
        ("fit train.csv --user who", "rename it, or name the column in the fit, as in --user userId"),
        ("similar model --item 999", "item 999 is not known; give items that were rated in fit"),
        ("similar model --item 3 --titles nope.csv", "there is no file nope.csv"),
        ("similar model --item 3 --titles train.csv", "train.csv has a title for none of the model's items"),
        ("explain model --user nobody --item 3", "user 'nobody' is not known; give one that was rated in fit"),
        ("explain model --user u1 --item 999", "item '999' is not known"),
        ("update nope train.csv", "there is no model file nope; check the path, or make one with dmc fit -o"),
        ("update model nope.csv", "there is no file nope.csv"),
        ("update model train.csv -o nowhere/model", "there is no folder nowhere"),
        ("update model pairs.csv", "the file pairs.csv has no column 'rating'"),
        ("fit train.csv --item-features nope.csv", "there is no file nope.csv"),
        ("fit train.csv --weight w", "no column 'w'"),
        ("recommend nope", "there is no model file nope"),
        ("recommend model --users nope.txt", "there is no file nope.txt; check the path"),
        ("recommend model --users .", ". is a folder; give a file of ids, one a line"),
        (
            "recommend model --items nope.txt",
            "--items: item 'nope.txt' is neither known nor a file; give ids of the fit",
        ),
        ("recommend model --exclude 77", "--exclude: item 77 is neither known nor a file"),
        ("recommend model -o nowhere/lists.csv", "there is no folder nowhere"),
        ("complete nope.csv", "there is no file nope.csv; check the path"),
        ("complete cut.csv", "line 3 of cut.csv has 2 fields instead of 3; fix that line"),
        ("complete words.csv --label item", "words.csv has no column of numbers"),
        ("complete train.csv --label who", "train.csv has no column 'who', only 'user', 'item', 'rating'"),
        ("complete train.csv -o nowhere/table.csv", "there is no folder nowhere"),
        ("report nope", "there is no model file nope"),
        ("report model -o nowhere/page.html", "there is no folder nowhere"),
        ("report model -o .", "is a folder"),
        ("report model --test nope.csv", "there is no file nope.csv"),
        ("report model --test pairs.csv", "the file pairs.csv has no column 'rating'"),
        ("export nope folder", "there is no model file nope"),
        ("export model train.csv", "train.csv is a file; give the path of a folder"),
    ],
)
def test_an_error_is_one_sentence(arguments, message, dmc_in, files, monkeypatch):
    before = sorted(files.iterdir())
    # Wrong paths are told before the work: here, the work would fail.
    if "nowhere" in arguments or "--test" in arguments or arguments.endswith("-o ."):
        monkeypatch.setattr(Recommender, "fit", None)
        monkeypatch.setattr(MatrixCompletion, "fit", None)
    code, out, err = dmc_in(*arguments.split())
    assert code == 1
    assert out == ""
    assert err.startswith("dmc: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert message in err
    assert sorted(files.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("similar model", "missing option '--item'; see dmc similar --help"),
        ("explain model --user u1", "missing option '--item'"),
        ("report", "missing argument 'model'; see dmc report --help"),
        ("export model x --format csv", "'csv' is not one of 'npy', 'parquet'; see dmc export --help"),
        ("fit", "missing argument 'ratings'; see dmc fit --help"),
        ("bench-what", "no such command 'bench-what'"),
        ("fit train.csv --duplicates first", "'first' is not one of 'error', 'mean', 'last', 'latest'"),
        ("fit -x", "no such option: -x"),
        ("fit train.csv --rank 0", "invalid value for '--rank'"),
        ("recommend model -n 0", "invalid value for '-n'"),
        ("recommend model -n many", "invalid value for '-n'"),
        ("recommend model --user u1 --users users.txt", "--user and --users are both given; give only one of them"),
        ("recommend model -o lists.xlsx", "lists.xlsx ends in .xlsx; tables are written as .csv, .tsv, .jsonl or"),
        ("fit - --test -", "- (standard input) is given for several tables"),
        ("evaluate train.csv --test-fraction 2", "--test-fraction is 2"),
        ("fit train.csv --model bayes --depth 2", "model 'bayes' has no depth; leave it out, or pass --model network"),
        ("fit train.csv --feedback implicit --intervals", "have no intervals; leave --intervals out"),
        ("fit train.csv --feedback implicit --model bayes", "which has its own model; leave --model out"),
        ("predict model pairs.csv --interval 9", "--interval is 9; it has to be between 0 and 1"),
        ("complete train.csv -o out.csv --std out.csv", "-o and --std are both out.csv; give another file for one of"),
        ("recommend model -o -", "- is the standard input and cannot be written; give a path"),
        ("complete train.csv --min low", "--min is 'low'; give a number, or COLUMN=NUMBER"),
    ],
)
def test_wrong_use_is_one_sentence_and_status_2(arguments, message, dmc_in):
    code, out, err = dmc_in(*arguments.split())
    assert (code, out) == (2, "")
    assert err.startswith("dmc: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.filterwarnings("default")
def test_warnings_are_sentences_too(dmc_in, monkeypatch, tmp_path):
    def interrupt(info):
        if info.status is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(
        dmc, "Recommender", lambda *rank, **settings: Recommender(**{**settings, "callbacks": [interrupt]})
    )
    code, out, err = dmc_in("fit", "train.csv", "-o", tmp_path / "model", "--json")
    assert code == 0
    assert err == "dmc: interrupted after 1 steps: the model holds the best so far\n"
    assert last_json(out)["status"] == "STOPPED"
    assert (tmp_path / "model").exists()


# --- Ctrl-C


def with_interrupts(*arguments, **more):
    """A process that Ctrl-C reaches: a child inherits a signal that is ignored, as of tests in the background."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen([sys.executable, *map(str, arguments)], text=True, **more)
    finally:
        signal.signal(signal.SIGINT, previous)


# A fit that never thinks it has arrived.
UNENDING = """
from dataclasses import replace
from dmc.cli.main import main
from dmc.recommend import bayesian
bayesian.TUNING = replace(bayesian.TUNING, tol=0)
main()
"""


@pytest.fixture
def many_ratings(tmp_path):
    """As large as MovieLens 1M."""
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
            [sys.executable, "-c", UNENDING, "fit", str(many_ratings), "-o", str(tmp_path / "model"), "--json"],
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
    assert b": the model holds the best so far" in shown
    assert b"Traceback" not in shown
    assert last_json(out)["status"] == "STOPPED"
    model = Recommender.load(tmp_path / "model")
    assert len(model.recommend("5", 3)["item"]) == 3
    assert not list(tmp_path.glob("*.part"))


# The program, stopped where a test wants it: it says so, and waits.
WAITING = """
import sys, time
def wait(*_, **__):
    print("here", flush=True)
    time.sleep(60)
{where}
from dmc.cli.main import main
main()
"""
AT_START = """
import importlib.abc
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name == {module!r}:
            wait()
sys.meta_path.insert(0, Finder())
"""
IN_THE_LISTS = """
import dmc
dmc.Recommender.recommend = wait
"""


@pytest.mark.parametrize(
    "where",
    [AT_START.format(module=name) for name in ("dmc.cli.program", "numpy", "scipy.sparse", "dmc.model_file")]
    + [IN_THE_LISTS],
    ids=["our own imports", "numpy", "scipy", "the model file", "at work"],
)
def test_ctrl_c_ends_it_without_a_word_and_leaves_nothing(where, files, tmp_path):
    given = ["recommend", files / "model", "-o", tmp_path / "lists.csv"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = with_interrupts("-c", WAITING.format(where=where), *given, **pipes)
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (out, err) == ("", "")
    assert process.returncode == -signal.SIGINT  # a shell calls it 130, and ends its loop
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_the_package_itself_is_imported_ends_it_without_a_word(tmp_path):
    (tmp_path / "lazy_loader.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = with_interrupts("-m", "dmc", "--version", env=os.environ | {"PYTHONPATH": path}, **pipes)
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == -signal.SIGINT


def test_a_reader_that_has_gone_ends_it_without_a_word(files):
    """As in `dmc recommend MODEL | head`."""
    reads, writes = os.pipe()
    os.close(reads)
    try:
        given = ["-m", "dmc", "recommend", files / "model"]
        process = with_interrupts(*given, stdout=writes, stderr=subprocess.PIPE)
    finally:
        os.close(writes)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == -signal.SIGPIPE
