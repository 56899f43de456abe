"""A model in a folder: one file for each process's users, and a list of the files that is written last."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from dmc._group import N_PARTS, Group
from dmc._whole_file import TEMPORARY, in_a_sentence, reason, remove_leftovers, whole_file
from dmc.distributed import hashing
from dmc.distributed.agreement import agreed, is_mark, refuse_unseen
from dmc.recommend import shards, storage
from dmc.recommend.recommender import Recommender
from dmc.recommend.tables.vocabulary import as_column, as_ids


def write(own: Recommender, folder: str | os.PathLike[str], group: Group) -> None:
    """The models of all processes; see `dmc.distributed.Recommender.save`."""
    where = Path(folder)
    prepare(where, group)
    token = group.first(np.frombuffer(secrets.token_bytes(4), np.uint8)).tobytes().hex()
    names = [f"users-{token}-{rank:05d}.dmc" for rank in range(group.size)]
    try:
        with agreed(group), _words_for_failure(where):
            own.save(where / names[group.rank])
        of_all = [found.tolist() for found in group.gather(np.unique(hashing.parts(own.users_.ids)))]
        with agreed(group), _words_for_failure(where):
            if group.rank == 0:
                _put(where, {name: parts for name, parts in zip(names, of_all, strict=True) if parts})
    except BaseException:
        with suppress(OSError):
            if not (where / shards.LIST).exists() or names[group.rank] not in shards.listed(where):
                (where / names[group.rank]).unlink(missing_ok=True)
        raise


def prepare(folder: Path, group: Group) -> None:
    """Make the folder of a model, if it is not there; see `write` for what it raises, before there is a model."""
    with agreed(group):
        if group.rank == 0:
            _refuse_others(folder)
            with _words_for_failure(folder):
                folder.mkdir(parents=True, exist_ok=True)
    refuse_unseen(folder, "output", group)


@contextmanager
def _words_for_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise in_a_sentence(error, f"the model cannot be written into {folder} ({reason(error)})") from None


def _put(folder: Path, files: dict[str, list[int]]) -> None:
    """The list of the files; those of the model before, and of writers that did not come to an end, go."""
    with whole_file(folder / shards.LIST) as file:
        file.write(json.dumps({"format": shards.FORMAT, "version": shards.VERSION, "files": files}).encode())
    remove_leftovers(folder)
    for path in folder.glob("users-*.dmc*"):
        if path.name not in files:
            path.unlink(missing_ok=True)


def _refuse_others(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, and a model of several processes is a folder; give another path")
    foreign = folder.exists() and any(map(_is_foreign, folder.iterdir()))
    if foreign and not (folder / shards.LIST).exists():
        raise ValueError(f"the folder {folder} holds other things than a model; give one that is empty, or new")


def _is_foreign(path: Path) -> bool:
    return not (path.match("users-*.dmc*") or TEMPORARY.fullmatch(path.name) or is_mark(path))


def load(folder: str | os.PathLike[str], users: Any = None) -> Recommender:
    """Read a model that several processes wrote, whole or only the files that have some users.

    Parameters
    ----------
    folder : path
        Written by `dmc.distributed.Recommender.save`.
    users : id or sequence of ids, optional
        Read only the files that contain these users, or would contain them. A service for many users can so answer for
        each of them in a process that has read one file (`file_of`).

    Returns
    -------
    dmc.Recommender
        The fitted model.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such model, or it is damaged.

    Examples
    --------
    >>> import os, tempfile
    >>> import dmc.distributed, pyarrow
    >>> ratings = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5.0, 3.0, 4.0, 2.0]}
    >>> rec = dmc.distributed.Recommender().fit([pyarrow.RecordBatch.from_pydict(ratings)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rec.save(os.path.join(folder, "model"))
    ...     dmc.distributed.load(os.path.join(folder, "model"), users="ann").users_.ids.tolist()
    ['ann', 'bob']
    """
    where = Path(folder)
    if users is None:
        return Recommender.load(where)
    names = sorted(set(file_of(where, users)))
    return Recommender._serving(*storage.read([where / name for name in names], False))


def file_of(folder: str | os.PathLike[str], users: Any) -> list[str]:
    """Return which file of a saved model contains each of some users, or would contain them if they were known.

    Parameters
    ----------
    folder : path
        Written by `dmc.distributed.Recommender.save`.
    users : id or sequence of ids
        Of any users.

    Returns
    -------
    list of str
        For each user the name of a file in the folder.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such model, or its list of files is damaged.

    Examples
    --------
    >>> import os, tempfile
    >>> import dmc.distributed, pyarrow
    >>> ratings = {"user": ["ann", "ann", "bob", "bob"], "item": ["a", "b", "a", "c"], "rating": [5.0, 3.0, 4.0, 2.0]}
    >>> rec = dmc.distributed.Recommender().fit([pyarrow.RecordBatch.from_pydict(ratings)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rec.save(os.path.join(folder, "model"))
    ...     len(dmc.distributed.file_of(os.path.join(folder, "model"), ["ann", "zoe"]))
    2
    """
    files = shards.listed(Path(folder))
    names = np.array(list(files))
    number = np.arange(N_PARTS) % len(names)  # of parts in which nobody is
    for i, parts in enumerate(files.values()):
        number[parts] = i
    given = [users] if np.ndim(users) == 0 else users
    found: list[str] = names[number[hashing.parts(as_ids(as_column(given, "users"), "users"))]].tolist()
    return found


def are_paths(source: Any) -> bool:
    """Whether these are paths, and not rows; nothing is no rows."""
    if isinstance(source, (str, os.PathLike)):
        return True
    return isinstance(source, Sequence) and bool(source) and isinstance(source[0], (str, os.PathLike))


def rows_of(source: Any) -> Iterable[Any]:
    """The record batches of what was given as rows; an Arrow table has some."""
    if hasattr(source, "to_batches"):
        source = source.to_batches()
    if not isinstance(source, Iterable):
        raise TypeError(f"the source is {source!r}; give paths of Parquet files, or Arrow record batches")
    return source
