"""Titles of items, from a file such as MovieLens' u.item, movies.dat or movies.csv."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dmc.recommend.tables.vocabulary import Vocabulary

DELIMITERS = ("::", "|", "\t", ",", ";")


def names(items: Vocabulary, path: str | os.PathLike[str] | None = None) -> NDArray[np.str_]:
    """What to call each item: its title, or its id where there is none.

    Parameters
    ----------
    items : Vocabulary
    path : path, optional
        A file with an item's id and its title in the first two fields of each line, in UTF-8 or Latin-1; fields are
        separated by ``|``, ``::``, tabs, commas or semicolons, whichever comes first in its first line. Left out: ids.

    Returns
    -------
    (items,) text

    Raises
    ------
    OSError, ValueError
        If the file is not there, a line has no title, or none of the items is in it.
    """
    found = [readable(str(id)) for id in items.ids.tolist()]
    if path is None:
        return np.asarray(found, dtype=str)
    ids, titles = zip(*_read(Path(path)), strict=True)
    positions = items.positions(np.asarray(ids, dtype=str))
    if (positions < 0).all():
        raise ValueError(
            f"{path} has a title for none of the model's items, such as {found[0]!r}; its first field has to be the "
            "item's id"
        )
    for position, title in zip(positions.tolist(), titles, strict=True):
        if position >= 0:
            found[position] = readable(title)
    return np.asarray(found, dtype=str)


def readable(text: str) -> str:
    """Text that can be shown: bytes that were no UTF-8 as Latin-1, and spaces for what cannot be printed."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "surrogateescape").decode("latin-1")
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _read(path: Path) -> Iterator[tuple[str, str]]:
    """The first two fields of each line that is not blank."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give a file of item ids and titles")
    try:
        lines = path.read_text("utf-8-sig", "surrogateescape").splitlines()
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}; check the path") from None
    first = next((line for line in lines if line.strip()), "")
    present = [delimiter for delimiter in DELIMITERS if delimiter in first]
    if not present:
        raise ValueError(f"{path} holds no titles; give an item's id and its title in each line, as in 1|Toy Story")
    delimiter = min(present, key=first.index)
    rows: Iterable[list[str]]
    if delimiter in ",;":
        rows = csv.reader(lines, delimiter=delimiter)
    else:
        rows = (line.split(delimiter) if line.strip() else [] for line in lines)
    for number, row in enumerate(rows, 1):
        if len(row) == 1:
            raise ValueError(f"line {number} of {path} has no title; give an item's id and its title in each line")
        if row:
            yield row[0].strip(), row[1].strip()
