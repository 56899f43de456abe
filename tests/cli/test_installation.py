"""dmc doctor and bench: what is installed, and how fast it is."""

import importlib.util
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

import dmc
from command_line import last_json
from dmc import _extensions, kernels
from dmc.cli import installation
from dmc.kernels import torch_compiled

BENCHES = Path(dmc.__file__).parents[1] / "bench"
FROM_SOURCE = pytest.mark.skipif(not BENCHES.is_dir(), reason="an installed dmc is tested, no source tree")

# --- doctor


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
    monkeypatch.setattr(
        installation, "version", lambda name: (_ for _ in ()).throw(installation.PackageNotFoundError(name))
    )
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


@FROM_SOURCE
def test_bench_lists_every_run_with_what_it_asks(dmc_in):
    status, out, _ = dmc_in("bench")
    assert status == 0
    lines = [line.split(maxsplit=1) for line in out.splitlines()]
    assert {"trajectory-300", "trajectory-1000", "narrow", "kwon", "ratings", "memory", "kernels"} <= {
        n for n, _ in lines
    }
    assert lines[-1][0] == "report"  # it is made from the others
    assert all(question.endswith(".") for _, question in lines)


@FROM_SOURCE
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
