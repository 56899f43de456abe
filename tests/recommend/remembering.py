"""A keeper in memory, that ends a fit after so many snapshots."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import ClassVar

import numpy as np

from dmc._keeper import Keeper


class Ended(Exception):
    """In the place of a kill."""


class Remembering(Keeper):
    """What is kept goes through JSON and copies, as through a file."""

    keeps = True
    of_sweeps: ClassVar = ("sweep", "step")

    def __init__(self, end_after=None):
        self.kept, self.end_after, self.count = {}, end_after, 0

    def found(self, name):
        return self.kept.get(name)

    def keep(self, name, snapshot):
        copied = ({key: np.array(array) for key, array in of.items()} for of in snapshot[1:])
        self.kept[name] = type(snapshot)(json.loads(json.dumps(snapshot.numbers)), *copied)
        self.count += name in self.of_sweeps
        if self.count == self.end_after:
            raise Ended


def again(fit, end_after):
    """A fit that was ended after so many sweeps, and went on; and how many sweeps were kept on the way."""
    first = Remembering(end_after)
    with suppress(Ended):
        fit(first)
    second = Remembering()
    second.kept = dict(first.kept)
    return fit(second), first.count + second.count
