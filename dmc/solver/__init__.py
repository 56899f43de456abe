"""The loop, and what it is handed: problems, starts, step rules, callbacks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["callbacks", "initial", "rank_path", "steps"])
