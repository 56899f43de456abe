"""dmc: compressed deep matrix completion. Public names load on first use (PEP 562); __init__.pyi lists them."""

import importlib

import lazy_loader

from dmc import _moved

_lazy, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
_moved.install()


def __getattr__(name: str) -> object:
    if name == "__version__":  # which takes longer to find than all the rest of this
        return importlib.import_module("importlib.metadata").version("dmc")
    if f"dmc.{name}" in _moved.RENAMED:
        return importlib.import_module(f"dmc.{name}")
    return _lazy(name)
