"""dmc: compressed deep matrix completion. Public names load on first use (PEP 562); __init__.pyi lists them."""

import sys

# The program itself, as `python -m dmc` or by its name: Ctrl-C is to end it without a traceback while it starts, too.
if (sys.argv[:1] == ["-m"] and "dmc" in sys.orig_argv) or sys.argv[:1] == [f"{sys.prefix}/bin/dmc"]:
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

import importlib

import lazy_loader

from dmc import _memory, _moved

_lazy, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
_moved.install()


def __getattr__(name: str) -> object:
    if name == "__version__":
        return importlib.import_module("dmc._version").__version__
    if f"dmc.{name}" in _moved.RENAMED:
        return importlib.import_module(f"dmc.{name}")
    try:
        return _lazy(name)
    except (ImportError, MemoryError, RuntimeError, SystemError) as error:
        told = _memory.translated(error)
        if told is None:
            raise
        raise told from error
