"""How a user is warned: at the line of theirs that led to it, whichever rooms of the library lie between."""

from __future__ import annotations

import sys
import warnings

INNER = ("dmc.", "sklearn.", "joblib.", "contextlib")  # modules that call for nothing of their own


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line outside of the library, of scikit-learn and of joblib, that called for it."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(INNER):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
