"""One version, in dmc/_version.py, and held to it whatever repeats it."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import yaml

import dmc

ROOT = Path(__file__).parent.parent


def test_what_repeats_it():
    assert re.fullmatch(r"\d+\.\d+\.\d+([a-z]+\d+)?", dmc.__version__)
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == dmc.__version__
    assert yaml.safe_load((ROOT / "conda.recipe" / "meta.yaml").read_text())["package"]["version"] == dmc.__version__
    assert metadata.version("dmc") == dmc.__version__


def test_nothing_else_names_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" not in project
    assert project["dynamic"] == ["version"]
    for path in (ROOT / "docs" / "conf.py", ROOT / "setup.py", ROOT / "packaging" / "packages.mk"):
        assert not path.exists() or dmc.__version__ not in path.read_text()
