"""The public names of dmc: what `dmc/__init__.pyi` lists, and what its public modules declare in `__all__`."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType
from typing import NamedTuple

import dmc

# One framework each: only a user who has it imports its module.
INTEGRATIONS = tuple(f"dmc.integrations.{name}" for name in ("cornac", "lenskit", "spark", "surprise"))


class PublicName(NamedTuple):
    """A class, function or constant by the name that users write, such as ``dmc.steps.Adam``."""

    path: str
    value: object

    @property
    def is_documented(self) -> bool:
        """Whether it is a class or a function: a constant or a type alias has no docstring of its own."""
        return inspect.isclass(self.value) or inspect.isroutine(self.value) or hasattr(self.value, "__wrapped__")


def public_modules() -> dict[str, ModuleType]:
    """The public modules that can be imported here; others need torch, or a framework."""
    found = {}
    for path in [*(f"dmc.{name}" for name in sorted(dmc.__all__)), *INTEGRATIONS]:
        try:
            value = importlib.import_module(path) if path in INTEGRATIONS else getattr(dmc, path.removeprefix("dmc."))
        except ImportError:
            continue
        if isinstance(value, ModuleType):
            found[path] = value
    return found


def public_names() -> list[PublicName]:
    """Every public name, those of `dmc` itself first."""
    modules = public_modules()
    found = [
        PublicName(f"dmc.{name}", getattr(dmc, name))
        for name in sorted(dmc.__all__)
        if f"dmc.{name}" not in modules and not name.startswith("_") and name not in ("distributed", "nn")
    ]
    for path, module in modules.items():
        found += [PublicName(f"{path}.{name}", getattr(module, name)) for name in getattr(module, "__all__", ())]
    return found


def public_members(owner: type) -> list[str]:
    """Public methods and properties of a class, each by the import path of the class of dmc that documents it.

    A method that overrides another one may leave the docstring to that: `help` and the site show it.
    """
    found: dict[str, str] = {}
    documented = set()
    for base in owner.__mro__:
        if base.__module__.split(".")[0] != "dmc":
            continue
        for name, value in vars(base).items():
            if name.startswith("_") or name in documented or not _carries_a_docstring(owner, value):
                continue
            if value.__doc__:
                documented.add(name)
            if value.__doc__ or name not in found:
                found[name] = f"{base.__module__}.{base.__qualname__}.{name}"
    return list(found.values())


def _carries_a_docstring(owner: type, value: object) -> bool:
    """True of methods and properties; false of the values and slots of fields, such as a NamedTuple's."""
    if isinstance(value, (classmethod, staticmethod)) or inspect.isfunction(value):
        return True
    if issubclass(owner, tuple) and type(value).__name__ == "_tuplegetter":
        return False
    return (inspect.isdatadescriptor(value) and not inspect.ismemberdescriptor(value)) or hasattr(value, "attrname")


def is_protocol(found: type) -> bool:
    """Whether a class says what others have to offer, and has no instances of its own."""
    return bool(getattr(found, "_is_protocol", False))
