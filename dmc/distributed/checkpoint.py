"""Snapshots in a folder that all processes see: written whole or not at all, and read by any number of processes."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _container, model_file
from dmc._contents import list_of, measured, record, table_of, text, whole
from dmc._group import N_PARTS, Group, Share
from dmc._keeper import Keeper, Snapshot
from dmc._whole_file import in_a_sentence, reason, remove_leftovers, whole_file
from dmc.distributed.agreement import agreed, refuse_unseen

LATEST = "LATEST.json"
KIND = "Checkpoint"
SNAPSHOT = re.compile(r"[a-z-]+-\d+-[0-9a-f]{8}-(all|rows\d+)\.safetensors(\.part)?")  # what `_path` names
ANEW = "remove the folder to start from the beginning"
RECORD = record({"generation": whole(1), "life": text, "parts": list_of(list_of(whole(0, N_PARTS - 1)))})
POINTER = record({"settings": table_of(measured), "data": text, "life": text, "names": table_of(RECORD)})
OF_ROWS = record({"rows": table_of(whole())})


class Checkpoint(Keeper):
    """The snapshots of a fit.

    A snapshot is a file of what all processes know, which the first one writes, and one file of each process for what
    it knows of its rows. `LATEST.json` names those that belong together; it is put in place when they are all there,
    and what was there before goes only then. So whoever is killed at any moment leaves a whole snapshot of each name.

    It names the processes' life, too, of which the last one that began owns the folder: those that are still at work
    for an earlier one, or for another fit, end when they come to write.

    Parameters
    ----------
    folder : path
        On a disk that all processes see; made, if it is not there.
    share : Share
        The rows of this process.
    settings : dict
        Of the fit, as JSON holds them: a checkpoint of other ones is refused.
    digest : str
        Of the data, for the same reason.

    Raises
    ------
    ValueError
        If what is in the folder is of other settings or data, or incomplete; if processes do not see the same folder.
    OSError
        If it cannot be written.
    """

    keeps = True

    def __init__(self, folder: str | os.PathLike[str], share: Share, settings: dict[str, Any], digest: str) -> None:
        self.folder: Path = Path(folder)
        self.share: Share = share
        self.group: Group = share.group
        self._settings, self._digest = settings, digest
        self._life = self.group.first(np.frombuffer(secrets.token_bytes(4), np.uint8)).tobytes().hex()
        self._names: dict[str, dict[str, Any]] = {}
        self._before: dict[str, dict[str, Any]] = {}  # what is there from processes that are no more
        with agreed(self.group):
            if self.group.rank == 0:
                self._open()
        refuse_unseen(self.folder, "checkpoint", self.group)
        with agreed(self.group):
            found = self._latest()
            if found is not None:
                self._check(found)
                self._names = found["names"]
                self._before = dict(self._names)
                for name in self._before:  # what is damaged is told now, and not kept: it may be large
                    self._snapshot(name)
        with agreed(self.group):
            if self.group.rank == 0:
                with self._words_for_failure():
                    self._point()
                self._clean()

    def _open(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"the checkpoint folder {self.folder} is a file; give a folder")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"the checkpoint folder {self.folder} cannot be made ({error.strerror})") from None

    def _latest(self) -> dict[str, Any] | None:
        path = self.folder / LATEST
        try:
            found: dict[str, Any] = _container.parsed(path.read_bytes())
            POINTER("contents", found)
            paths = [self._path(name, of_one, None) for name, of_one in found["names"].items()]
        except FileNotFoundError:
            return None
        except ValueError:
            raise ValueError(f"{path} is damaged; {ANEW}") from None
        if not all(named.parent == self.folder and SNAPSHOT.fullmatch(named.name) for named in paths):
            raise ValueError(f"{path} is damaged: it names something that is not a snapshot; {ANEW}")
        return found

    def _check(self, found: dict[str, Any]) -> None:
        if found["data"] != self._digest:
            raise ValueError(f"the checkpoint in {self.folder} belongs to other data; use another folder, or remove it")
        theirs, ours = found["settings"], self._settings
        for name in sorted({*theirs, *ours}):
            if theirs.get(name) != ours.get(name):
                raise ValueError(
                    f"the checkpoint in {self.folder} was made with {name} = {theirs.get(name)!r}, and it is "
                    f"{ours.get(name)!r} now; fit as before, or give another folder"
                )

    @property
    def resumes(self) -> bool:
        """Whether there was something to go on from."""
        return bool(self._before)

    def found(self, name: str) -> Snapshot | None:
        if name not in self._before or self._before[name] is not self._names[name]:
            return None
        with agreed(self.group):
            return self._snapshot(name)

    @contextmanager
    def believing(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, ArithmeticError) as error:
            told = f"the checkpoint in {self.folder} is damaged ({type(error).__name__}: {error}); {ANEW}"
            raise ValueError(told) from None

    def keep(self, name: str, snapshot: Snapshot) -> None:
        before = self._names.get(name)
        generation = 1 if before is None else before["generation"] + 1
        parts = self.group.gather(self.share.parts)
        record = {"generation": generation, "life": self._life, "parts": [own.tolist() for own in parts]}
        with agreed(self.group), self._words_for_failure():
            model_file.save(self._path(name, record, self.group.rank), KIND, snapshot.of_rows, {"rows": self._rows()})
            if self.group.rank == 0:
                model_file.save(self._path(name, record, None), KIND, snapshot.arrays, snapshot.numbers)
        self._names[name] = record
        with agreed(self.group):
            if self.group.rank == 0:
                with self._words_for_failure():
                    self._refuse_others()
                    self._point()
        if before is not None and self.group.rank == 0:
            for rank in (None, *range(len(before["parts"]))):
                self._path(name, before, rank).unlink(missing_ok=True)

    def _rows(self) -> dict[str, int]:
        return {str(part): int(rows) for part, rows in zip(self.share.parts, self.share.rows, strict=True)}

    def _refuse_others(self) -> None:
        found = self._latest()
        if found is None:
            raise FileNotFoundError
        if found["life"] != self._life:
            raise ValueError(
                f"another fit has begun with the checkpoint folder {self.folder}; wait for it, or give each its own "
                "folder"
            )

    def _point(self) -> None:
        told = {"settings": self._settings, "data": self._digest, "life": self._life, "names": self._names}
        with whole_file(self.folder / LATEST) as file:
            file.write(json.dumps(told).encode())

    @contextmanager
    def _words_for_failure(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise FileNotFoundError(
                    f"the checkpoint folder {self.folder} has been removed; create it again, and start again"
                ) from None
            raise in_a_sentence(error, f"the checkpoint in {self.folder} cannot be written ({reason(error)})") from None

    def _clean(self) -> None:
        """Remove what processes that were killed had written and not named."""
        named = {
            self._path(name, record, rank)
            for name, record in self._names.items()
            for rank in (None, *range(len(record["parts"])))
        }
        remove_leftovers(self.folder)
        for path in self.folder.iterdir():
            if path not in named and SNAPSHOT.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def _path(self, name: str, record: dict[str, Any], rank: int | None) -> Path:
        whose = "all" if rank is None else f"rows{rank}"
        life = f"{record['generation']}-{record['life']}"
        return self.folder / f"{name.replace(' ', '-')}-{life}-{whose}.safetensors"

    def _load(self, path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        try:
            return model_file.load(path, KIND)
        except FileNotFoundError:
            raise ValueError(
                f"the checkpoint in {self.folder} lacks {path.name}; bring the file back, or {ANEW}"
            ) from None
        except ValueError:
            raise ValueError(f"{path} is damaged; {ANEW}") from None

    def _snapshot(self, name: str) -> Snapshot:
        record = self._names[name]
        arrays, numbers = self._load(self._path(name, record, None))
        return Snapshot(numbers, arrays, self._of_rows(name, record))

    def _of_rows(self, name: str, record: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """What was kept of the own rows, by whichever processes had them."""
        place = np.full(N_PARTS, -1)
        place[self.share.parts] = self.share.ends[:-1]
        found: dict[str, NDArray[Any]] = {}
        for rank, parts in enumerate(record["parts"]):
            ours = np.isin(parts, self.share.parts)
            if not ours.any() and found:
                continue
            path = self._path(name, record, rank)
            arrays, header = self._load(path)
            try:
                OF_ROWS("header", header)
                rows = np.array([header["rows"][str(part)] for part in parts], np.int64)
                first = np.cumsum(rows) - rows
                for key, array in arrays.items():
                    own = found.setdefault(key, np.zeros((self.share.count, *array.shape[1:]), array.dtype))
                    for part, begin, count in zip(np.array(parts)[ours], first[ours], rows[ours], strict=True):
                        own[place[part] : place[part] + count] = array[begin : begin + count]
            except (ValueError, KeyError, IndexError):
                raise ValueError(f"{path} is damaged: it is not of these rows; {ANEW}") from None
        return found
