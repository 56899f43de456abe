"""Docstrings: every public name has one in numpydoc's form, and every example in them runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from enum import Enum
from pathlib import Path
from types import ModuleType

import pytest

import dmc
import public_names
from public_names import PublicName, is_protocol

PACKAGE = Path(dmc.__file__).parent
# All of numpydoc's checks (numpydoc.validate.ERROR_MSGS) apply but for these.
OFF = {
    "GL02",  # where the closing quotes stand
    "ES01",  # a longer summary, and "See Also": where they help
    "SA01",
}
OFF_FOR_MEMBERS = OFF | {"EX01"}  # the example of a method may stand with its class

NAMES = [name for name in public_names.public_names() if name.is_documented]
CLASSES = [name.value for name in NAMES if isinstance(name.value, type)]
MEMBERS = sorted({member for found in CLASSES for member in public_names.public_members(found)})


class Finder(doctest.DocTestFinder):
    """Finds the examples of functions and methods inside wrappers, too, such as those of `dmc._memory`."""

    def _from_module(self, module: ModuleType | None, object: object) -> bool:
        return super()._from_module(module, inspect.unwrap(object) if callable(object) else object)


def modules_with_examples() -> list[str]:
    return [
        ".".join(("dmc", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for path in sorted(PACKAGE.rglob("*.py"))
        if ">>> " in path.read_text(encoding="utf-8")
    ]


def shows_an_example(name: PublicName) -> bool:
    """True of all but exceptions: nobody raises those of dmc."""
    return not (isinstance(name.value, type) and issubclass(name.value, Exception))


def off_for(name: PublicName) -> set[str]:
    """Checks that do not apply: of arguments, where nobody makes instances with any."""
    off = OFF if shows_an_example(name) else OFF_FOR_MEMBERS
    made_by_nobody = isinstance(name.value, type) and (issubclass(name.value, Enum) or is_protocol(name.value))
    return off | {"PR01"} if made_by_nobody else off


def complaints(path: str, off: set[str]) -> list[str]:
    validate = pytest.importorskip("numpydoc.validate", reason="numpydoc is not installed").validate
    return [f"{code}: {message}" for code, message in validate(path)["errors"] if code not in off]


def test_every_public_module_declares_its_names() -> None:
    assert [path for path, module in public_names.public_modules().items() if not hasattr(module, "__all__")] == []


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.path)
def test_docstring_of_a_public_class_or_function_is_complete(name: PublicName) -> None:
    assert complaints(name.path, off_for(name)) == []


@pytest.mark.parametrize("path", MEMBERS)
def test_docstring_of_a_public_method_or_property_is_complete(path: str) -> None:
    assert complaints(path, OFF_FOR_MEMBERS) == []


@pytest.mark.parametrize("name", list(filter(shows_an_example, NAMES)), ids=lambda name: name.path)
def test_a_public_class_or_function_shows_an_example(name: PublicName) -> None:
    assert ">>> " in (inspect.getdoc(name.value) or "")


@pytest.mark.parametrize("module", modules_with_examples())
def test_examples_give_what_they_say(module: str) -> None:
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        pytest.skip(f"{module} cannot be imported here: {error}")
    runner = doctest.DocTestRunner()
    for examples in Finder(exclude_empty=True).find(found):
        runner.run(examples)
    written = len(re.findall(r"^\s*>>> ", inspect.getsource(found), re.MULTILINE))
    assert (runner.summarize().failed, runner.tries) == (0, written)
