"""Arrays of text: NumPy's own, unless that would take far more room than the texts, or lose some of their letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LETTER, OWN = 4, 16  # bytes that an array of text takes for a letter, and an object for a text besides its letters
ROOM = 8  # times the room of the texts, above which an array is one of objects
FREE = 1 << 20  # bytes that any array may take


def is_text(array: NDArray[Any]) -> bool:
    """Whether an array is one of text, as `text_array` makes it."""
    return array.dtype.kind in "UO"


def text_array(texts: Sequence[str]) -> NDArray[Any]:
    """(texts,) an array of dtype str; of dtype object where str would not do.

    Each element of a str array takes the room of the longest text: where a few are so long that it would take more than
    eight times the room of all, the array holds the texts themselves. It does so, too, where one ends with a NUL
    character, which a str array would drop.
    """
    whole, width = "".join(texts), max(map(len, texts), default=0)
    room = LETTER * width * len(texts)
    wide = room > FREE and room > ROOM * (len(whole) + OWN * len(texts))
    if wide or ends_with_nul(texts, whole):
        return np.array(texts, dtype=object)
    return np.array(texts, dtype=f"U{max(width, 1)}")


def ends_with_nul(texts: Sequence[str], whole: str | None = None) -> bool:
    """Whether one of the texts does; `whole` is what they are together."""
    return "\0" in ("".join(texts) if whole is None else whole) and any(text.endswith("\0") for text in texts)
