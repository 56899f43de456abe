"""The command line: what each command answers, that errors are one sentence, and that Ctrl-C loses nothing."""

import importlib.util
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
from command_line import last_json
from dmc import Recommender, _extensions, kernels
from dmc.cli import main, models
from dmc.kernels import torch_compiled

# --- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("fit nope.csv", "there is no file nope.csv; check the path"),
        ("fit .", ". is a folder; give a file of ratings"),
        ("fit cut.csv", "line 3 of cut.csv has 2 fields in place of 3"),
        ("fit words.csv", "column 'rating' holds 'good', which is not a number"),
        (
            "fit repeats.csv",
            "1 rating repeats a user and an item given before; say --duplicates last or --duplicates mean",
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
        ("recommend model --user u1 -n 0", "n is 0; it has to be at least 1"),
        ("demo -o nowhere/figure.png", "there is no folder nowhere"),
        ("evaluate", "evaluate takes RATINGS to fit, or --model MODEL with --test FILE; give one of the two"),
        ("evaluate --model model", "evaluate takes RATINGS to fit, or --model MODEL with --test FILE"),
        ("evaluate train.csv --model model --test test.csv", "give one of the two"),
        ("evaluate train.csv --split time", "the file train.csv has no column 'timestamp'"),
        ("evaluate train.csv --test-fraction 2", "test_fraction is 2"),
        ("evaluate repeats.csv --relevant nan", "relevant is nan"),
        ("evaluate train.csv -n 0", "n is 0; it has to be at least 1"),
        ("fit repeats.csv --duplicates last --intervals", "2 ratings are too few to hold some out for intervals"),
        ("predict model pairs.csv --interval 0.9", "has learnt no intervals; fit it with dmc fit --intervals"),
        ("fit train.csv --user who", "say which is meant, as in --user userId, or rename it"),
        ("fit train.csv --model bayes --depth 2", "model 'bayes' has no depth; leave it out, or say --model network"),
        ("similar model --item 999", "item 999 is not known; ask for those that were rated in fit"),
        ("similar model --item 3 --titles nope.csv", "there is no file nope.csv"),
        ("similar model --item 3 --titles train.csv", "train.csv has a title for none of the model's items"),
        ("explain model --user nobody --item 3", "user 'nobody' is not known; ask for one that was rated in fit"),
        ("explain model --user u1 --item 999", "item '999' is not known"),
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
        monkeypatch.setattr(main, "MatrixCompletion", None)
    code, out, err = dmc_in(*arguments.split())
    assert code == 1
    assert out == ""
    assert err.startswith("dmc: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert message in err
    assert sorted(files.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        "similar model",
        "explain model --user u1",
        "report",
        "export model",
        "export model x --format csv",
        "fit",
        "predict model",
        "recommend model",
        "bench-what",
        "fit train.csv --duplicates first",
        "fit -x",
    ],
)
def test_wrong_use_is_explained(arguments, files):
    result = CliRunner().invoke(main.app, arguments.split())
    assert result.exit_code == 2
    assert "Usage" in result.output
    assert "Traceback" not in result.output


@pytest.mark.filterwarnings("default")
def test_warnings_are_sentences_too(dmc_in, monkeypatch, tmp_path):
    def interrupt(info):
        if info.status is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(models, "Recommender", lambda **settings: Recommender(callbacks=[interrupt], **settings))
    code, out, err = dmc_in("fit", "train.csv", "-o", tmp_path / "model", "--json")
    assert code == 0
    assert err == "dmc: interrupted after 1 steps: the model holds the best so far\n"
    assert last_json(out)["status"] == "STOPPED"
    assert (tmp_path / "model").exists()


@pytest.mark.parametrize("command", [[], *([command.__name__] for command in models.COMMANDS), ["demo"], ["doctor"]])
def test_help(command):
    result = CliRunner().invoke(main.app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output
    if command and command[0] != "doctor":
        assert ("--output" in result.output) == (command[0] in ("fit", "predict", "report", "demo"))


# --- Ctrl-C


# A fit that never thinks it has arrived.
UNENDING = """
from dataclasses import replace
from dmc.cli import main
from dmc.recommend import bayesian
bayesian.TUNING = replace(bayesian.TUNING, tol=0)
main.app()
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
    monkeypatch.setattr(main, "version", lambda name: (_ for _ in ()).throw(main.PackageNotFoundError(name)))
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
    compiled, ours = (None if found is None else _extensions.Obstacle(*found) for found in (compiled, ours))
    monkeypatch.setattr(_extensions, "cuda_obstacle", lambda: compiled)
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
    code, _, err = dmc_in("doctor")
    assert code == 1
    assert err.startswith("dmc: the environment variable DMC_KERNEL is 'cuda-but-misspelt'; choose one of 'native'")


def test_demo_keeps_its_promises(tmp_path):
    """The embedded default: planted error at most 1e-5 at rank 5; the photograph 8 dB above mean-fill; the figure."""
    result = CliRunner().invoke(main.app, ["demo", "-o", str(tmp_path / "figure.png"), "--json"])
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
