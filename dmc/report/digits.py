"""Numbers as text, to as many digits as they have: the one place where a report decides that.

The rule: a figure with a standard error is written to the place of the error's last digit, and the error has two
digits if it begins with 100 to 354, as in 0.923 ± 0.011, else one, as in 0.947 ± 0.009 (Particle Data Group, Review of
Particle Physics, Introduction). A figure without an error has three digits; whole numbers are written in full. Nothing
has more than six digits, which is what float32 holds.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

DIGITS, MOST_DIGITS = 3, 6
TWO_DIGITS = 3.55  # below it, an error has a second one
SMALL, LARGE = 1e-4, 1e7  # beyond these numbers are written with an exponent


class Measured(NamedTuple):
    """A figure and its standard error.

    Attributes
    ----------
    value : float
    error : float, optional
        None or NaN: not known.
    bare : bool
        Write the value alone, to the same digits.
    """

    value: float
    error: float | None = None
    bare: bool = False


def rounded(value: float, error: float | None = None) -> str:
    """A number to as many digits as its standard error leaves it.

    Parameters
    ----------
    value : float
        NaN is written as a dash.
    error : float, optional
        If it is left out, is not finite or is 0, the value gets three digits.

    Examples
    --------
    >>> rounded(0.92347, 0.0113), rounded(0.92347), rounded(123456.0, 2300)
    ('0.923', '0.923', '123,500')
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return _at(value, _place(value, error))


def written(value: Any) -> str:
    """Any cell: numbers as `rounded` writes them; text as it is; a dash for what there is not."""
    if value is None:
        return "–"
    if isinstance(value, Measured):
        return _measured(value)
    if isinstance(value, (bool, str)):
        return str(value)
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    return rounded(float(value))


def plain(value: float) -> str:
    """A value of the data, which has no error: whole ones in full."""
    if value == round(value) and abs(value) < LARGE:
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−") if 1e-3 <= abs(value) < 1e4 else rounded(value)


def is_number(value: object) -> bool:
    """Whether a column with it is one of numbers."""
    return isinstance(value, (int, float, np.number, Measured)) and not isinstance(value, bool)


def _measured(of: Measured) -> str:
    text = rounded(of.value, of.error)
    if of.bare or not _known(of.error) or not math.isfinite(of.value):
        return text
    assert of.error is not None
    return f"{text} ± {_at(of.error, _error_place(of.error))}"


def _known(error: float | None) -> bool:
    return error is not None and math.isfinite(error) and error > 0


def _place(value: float, error: float | None) -> int:
    """The power of ten of the last digit that is written."""
    if error is None or not _known(error):
        return _last_place(value, DIGITS)
    place = _error_place(error)
    return place if value == 0 else max(place, _last_place(value, MOST_DIGITS))


def _error_place(error: float) -> int:
    mantissa, exponent = f"{error:.2e}".split("e")
    return int(exponent) - (float(mantissa) < TWO_DIGITS)


def _last_place(value: float, digits: int) -> int:
    """Of a number that is rounded to so many digits: 0.0996 to two of them is 0.10."""
    if value == 0:
        return 0
    return int(f"{abs(value):.{digits - 1}e}".split("e")[1]) - digits + 1


def _at(value: float, place: int) -> str:
    size = abs(value)
    if size >= LARGE or (0 < size < SMALL):
        digits = max(math.floor(math.log10(size)) - place, 0)
        return f"{value:.{digits}e}".replace("-", "−")
    text = f"{round(value, -place):,.0f}" if place >= 0 else f"{value:,.{-place}f}"
    if not text.strip("-0.,"):
        text = text.removeprefix("-")  # no minus before a zero
    return text.replace("-", "−")
