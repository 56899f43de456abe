"""The door to the compiled core, dmc._core. Where it was not built, the reason and the remedy are kept."""

from __future__ import annotations

from typing import Any

core: Any
missing: str | None

try:
    from dmc import _core as core  # type: ignore[attr-defined, no-redef, unused-ignore]
except ImportError as error:
    core = None
    missing = (
        "its module dmc._core was not built"
        if error.name in ("dmc", "dmc._core") or "cannot import name" in str(error)
        else f"dmc._core does not load ({error})"
    )
else:
    missing = None

REMEDY = "install a C++17 compiler (g++ or clang++), then install dmc again (pip install --force-reinstall --no-deps .)"
