"""Ratings and clicks by anybody's users and items: tables, fits, what is served, how it is judged."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["evaluation"])
