"""What packages say of themselves: one set of requirements and addresses, wherever they are repeated."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
RECIPE = yaml.safe_load((ROOT / "conda.recipe" / "meta.yaml").read_text())


def parted(requirements):
    """name → the specifier, without spaces and extras."""
    pairs = (re.fullmatch(r"([\w.-]+)\s*(.*)", requirement).groups() for requirement in requirements)
    return {name.lower(): specifier.replace(" ", "") for name, specifier in pairs}


def test_addresses():
    urls = PROJECT["urls"]
    assert set(urls) == {"Homepage", "Documentation", "Source", "Changelog", "Issues"}
    assert CITATION["repository-code"] == RECIPE["about"]["dev_url"] == urls["Source"]
    assert CITATION["url"] == RECIPE["about"]["doc_url"] == urls["Documentation"]
    assert RECIPE["about"]["home"] == urls["Homepage"]
    assert urls["Issues"].startswith(urls["Source"])


def test_the_conda_recipe_wants_what_the_wheel_wants():
    run = parted(RECIPE["requirements"]["run"])
    assert run.pop("python") == PROJECT["requires-python"]
    assert run == parted(PROJECT["dependencies"])
    host = parted(RECIPE["requirements"]["host"])
    assert {name: host[name] for name in host if name not in {"python", "pip"}} == parted(
        PYPROJECT["build-system"]["requires"]
    )
    scripts = [f"{name} = {target}" for name, target in PROJECT["scripts"].items()]
    assert RECIPE["build"]["entry_points"] == scripts
    assert RECIPE["about"]["license"] == CITATION["license"] == PROJECT["license"]
    assert RECIPE["about"]["summary"] == PROJECT["description"]


def test_the_oldest_versions_are_those_of_pyproject():
    lines = (ROOT / "tests" / "constraints-oldest.txt").read_text().splitlines()
    oldest = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    wanted = [*PROJECT["dependencies"]]
    for extra in ("torch", "plot", "test"):
        wanted += [r for r in PROJECT["optional-dependencies"][extra] if not r.startswith("dmc[")]
    minima = {name: specifier.removeprefix(">=") for name, specifier in parted(wanted).items()}
    assert {name: oldest[name] for name in minima} == minima


def test_every_python_that_is_named_is_built_for():
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    built = re.findall(r"cp3(\d+)-", PYPROJECT["tool"]["cibuildwheel"]["build"])
    assert named == [f"3.{minor}" for minor in built]
    assert PROJECT["requires-python"] == f">={named[0]}"


def test_threads_beside_torch_in_either_order():
    """No OpenMP runtime comes with the core: neither import disturbs the other, and both compute in threads."""
    torch_first, dmc_first = "import torch, dmc", "import dmc; dmc.kernels.report(); import torch"
    for start in (torch_first, dmc_first):
        code = f"""{start}
import numpy as np
from dmc import kernels
torch.set_num_threads(2)
truth = np.outer(np.arange(1.0, 41.0), np.arange(1.0, 31.0)) / 100
table = np.where(np.random.default_rng(0).random(truth.shape) < 0.5, truth, np.nan)
def one(n_threads):
    with kernels.threads(n_threads):
        return dmc.MatrixCompletion().fit_transform(table)
a = torch.rand(300, 300)
before, fitted, after = (a @ a).sum(), one(2), (a @ a).sum()
assert before == after
print(float(np.abs(fitted - truth).max()) < 1e-3, (fitted == one(1)).all())
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.split() == ["True", "True"], done.stderr
