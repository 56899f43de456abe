"""dmc: compressed deep matrix completion. Public names load on first use (PEP 562); __init__.pyi lists them."""

from importlib.metadata import version

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = version("dmc")
