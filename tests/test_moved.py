import importlib
import subprocess
import sys

import pytest

import dmc
from dmc import _moved


@pytest.mark.parametrize("name", sorted(_moved.PUBLIC))
def test_a_public_module_has_one_object_under_both_names(name: str) -> None:
    module = importlib.import_module(name)
    assert module is importlib.import_module(_moved.PUBLIC[name])
    assert module is getattr(dmc, name.removeprefix("dmc."))
    assert module.__spec__ is not None
    assert module.__spec__.name == _moved.PUBLIC[name]


def test_an_old_name_works_and_says_the_new_one() -> None:
    sys.modules.pop("dmc.torch", None)
    with pytest.warns(DeprecationWarning, match="dmc.torch is now dmc.nn") as told:
        module = dmc.torch
    assert module is dmc.nn
    assert len(told) == 1


def test_an_import_of_an_old_name_is_told_at_its_line() -> None:
    found = subprocess.run(
        [sys.executable, "-Wd", "-c", "import dmc.torch"], capture_output=True, text=True, check=True
    )
    assert found.stderr.startswith("<string>:1: DeprecationWarning: dmc.torch is now dmc.nn")


def test_a_name_that_never_was_is_still_missing() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("dmc.nothing")
