"""Errors that all processes share: if one of them fails, all fail, and only one has something to say."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from dmc._group import Group
from dmc._whole_file import DAY
from dmc.distributed.group import LostProcess

MARK = re.compile(r"mark-[0-9a-f]{16}")


class ElsewhereError(Exception):
    """An error of another process, which reports it; whoever prints errors may skip this one.

    Each one is also an instance of the other error's class (ValueError, OSError, …) and has its message.

    Examples
    --------
    >>> from dmc.distributed import ElsewhereError
    >>> issubclass(ElsewhereError, Exception)
    True
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


def is_mark(path: Path) -> bool:
    """Whether it is what `refuse_unseen` puts into a folder, and leaves there if it is killed."""
    return MARK.fullmatch(path.name) is not None


def _remove_old_marks(folder: Path) -> None:
    for path in filter(is_mark, folder.iterdir()):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > DAY:
                path.unlink()


def refuse_unseen(folder: Path, what: str, group: Group) -> None:
    """Raise in all processes if one of them does not see the folder of the first one, which is there.

    Parameters
    ----------
    folder : path
    what : str
        What the folder is for.
    group : Group
    """
    token = group.first(np.frombuffer(secrets.token_bytes(8), np.uint8)).tobytes().hex()
    mark = folder / f"mark-{token}"
    with agreed(group):
        if group.rank == 0:
            _remove_old_marks(folder)
            mark.touch()
    unseen = group.size - int(group.sum(np.array([float(mark.exists())]))[0])
    with agreed(group):
        if group.rank == 0:
            mark.unlink(missing_ok=True)
            if unseen:
                raise ValueError(
                    f"{unseen} of {group.size} processes do not see the {what} folder {folder} of the first one; give "
                    "all the same folder, on a disk that all machines share"
                )
