"""What one process meets, all learn: an error in one of them ends all of them, and only one has something to say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from dmc._group import Group
from dmc.distributed.group import LostProcess


class ElsewhereError(Exception):
    """An error of another process, who tells of it: whoever prints errors may keep silent about this one.

    It is also of the class of the error there, and has its message.
    """


class ElsewhereFileNotFoundError(ElsewhereError, FileNotFoundError): ...


class ElsewhereOSError(ElsewhereError, OSError): ...


class ElsewhereImportError(ElsewhereError, ImportError): ...


class ElsewhereMemoryError(ElsewhereError, MemoryError): ...


class ElsewhereTypeError(ElsewhereError, TypeError): ...


class ElsewhereValueError(ElsewhereError, ValueError): ...


class ElsewhereRuntimeError(ElsewhereError, RuntimeError): ...


# From the narrow to the wide, and in the end whatever else there is.
KINDS: tuple[tuple[type[Exception], type[ElsewhereError]], ...] = (
    (FileNotFoundError, ElsewhereFileNotFoundError),
    (OSError, ElsewhereOSError),
    (ImportError, ElsewhereImportError),
    (MemoryError, ElsewhereMemoryError),
    (TypeError, ElsewhereTypeError),
    (ValueError, ElsewhereValueError),
    (Exception, ElsewhereRuntimeError),
)


@contextmanager
def agreed(group: Group) -> Iterator[None]:
    """A block that fails in all processes if it fails in one: that one raises its error, the others an
    `ElsewhereError`. Where several fail, the first of them tells.

    The end of the block is collective: all processes have to come to it, so within it they may talk to each other
    only where none can have failed before. A lost process is not told of, as it could not be.

    Parameters
    ----------
    group : Group
    """
    try:
        yield
    except LostProcess:
        raise
    except Exception as error:
        _raise_first(group, error)
    else:
        _raise_first(group, None)


def _raise_first(group: Group, error: Exception | None) -> None:
    own = None
    if error is not None and not isinstance(error, ElsewhereError):
        own = [next(i for i, (kind, _) in enumerate(KINDS) if isinstance(error, kind)), str(error)]
    try:
        told = everyone(group, own)
    except LostProcess:
        if error is not None:
            raise error from None  # which may well be why the others are gone, or at least is what is known
        raise
    first = next((rank for rank, one in enumerate(told) if one is not None), None)
    if error is not None and first in (None, group.rank):
        raise error
    if first is not None:
        kind, message = told[first]
        raise KINDS[kind][1](message) from error


def everyone(group: Group, told: Any) -> list[Any]:
    """What each process says, in their order: anything that JSON holds."""
    said = group.gather(np.frombuffer(json.dumps(told).encode(), np.uint8))
    return [json.loads(one.tobytes()) for one in said]
