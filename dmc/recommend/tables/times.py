"""When something happened, as numbers or dates that can be sorted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _checks
from dmc.recommend.tables.foreign import refuse_nested, shown
from dmc.recommend.tables.vocabulary import is_missing

Where = Callable[[int], str]  # where a row stands, as messages tell it


def as_times(values: NDArray[Any], name: str, where: Where) -> NDArray[Any]:
    """(entries,) times as they are, or those of ISO 8601 text and of objects as seconds; none may be missing."""
    refuse_nested(values, name, "a time")
    if values.dtype.kind in "OUS":
        try:
            values = _checks.as_float(values, f"column {name!r}")
        except TypeError:
            missing = np.asarray([is_missing(value) or value in ("", b"") for value in values], bool)
            _refuse(missing, "missing", name, where)
            _refuse_numbers(values, name, where)
            values = np.array([_seconds(value, name, where, row) for row, value in enumerate(values)])
    elif values.dtype.kind not in "mM":
        values = _checks.as_float(values, f"column {name!r}") if values.dtype.kind not in "iub" else values
    _refuse(np.isnat(values) if values.dtype.kind in "mM" else np.isnan(values), "missing", name, where)
    if values.dtype.kind == "f":
        _refuse(np.isinf(values), "infinite", name, where)
    return values


def _seconds(value: Any, name: str, where: Where, row: int) -> float:
    """A date as seconds; without a time zone it is taken for UTC."""
    written = value.isoformat() if hasattr(value, "isoformat") else str(value)
    try:
        date = datetime.fromisoformat(written)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        what = f"column {name!r} holds {shown(written)} in {where(row)}"
        raise ValueError(f"{what}, which is not a time; give numbers, dates or ISO 8601 text") from None


def _refuse(wrong: NDArray[np.bool_], how: str, name: str, where: Where) -> None:
    if wrong.any():
        raise ValueError(
            f"column {name!r} holds {_checks.count(int(wrong.sum()), f'{how} time')}, the first in "
            f"{where(int(np.argmax(wrong)))}; drop those rows"
        )


def _refuse_numbers(values: NDArray[Any], name: str, where: Where) -> None:
    """Of times some of which are no numbers none may be one: it is not known what they count."""
    numbers = np.asarray([_checks.is_number(value) for value in values], dtype=bool)
    if numbers.any():
        row = int(np.argmin(numbers))
        raise ValueError(
            f"column {name!r} holds {shown(str(values[row]))} in {where(row)}, which is not a number, unlike others; "
            "give only numbers, or only dates or ISO 8601 text"
        )
