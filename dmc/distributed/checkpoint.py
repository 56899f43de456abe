"""Snapshots in a folder that all processes see: written whole or not at all, and read by any number of processes."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import model_file
from dmc._group import N_PARTS, Share
from dmc._keeper import Keeper, Snapshot
from dmc.distributed.agreement import agreed

LATEST = "LATEST.json"
KIND = "Checkpoint"


class Checkpoint(Keeper):
    """The snapshots of a fit.

    A snapshot is a file of what all processes know, which the first one writes, and one file of each process for what
    it knows of its rows. `LATEST.json` names those that belong together; it is put in place when they are all there,
    and what was there before goes only then. So whoever is killed at any moment leaves a whole snapshot of each name.

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
        self.folder, self.share, self.group = Path(folder), share, share.group
        self._settings, self._digest = settings, digest
        self._names: dict[str, dict[str, Any]] = {}
        self._read: dict[str, Snapshot] = {}
        with agreed(self.group):
            if self.group.rank == 0:
                self._open()
        self._check_common()
        with agreed(self.group):
            found = self._latest()
            if found is not None:
                self._check(found)
                self._names = found["names"]
                self._read = {name: self._snapshot(name) for name in self._names}

    def _open(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"the checkpoint folder {self.folder} is a file; give a folder")
        self.folder.mkdir(parents=True, exist_ok=True)

    def _check_common(self) -> None:
        """That all processes see the folder of the first one."""
        token = self.group.first(np.frombuffer(secrets.token_bytes(8), np.uint8)).tobytes().hex()
        mark = self.folder / f"mark-{token}"
        with agreed(self.group):
            if self.group.rank == 0:
                mark.touch()
        seen = self.group.sum(np.array([float(mark.exists())]))[0]
        if self.group.rank == 0:
            mark.unlink(missing_ok=True)
        if seen < self.group.size:
            raise ValueError(
                f"{self.group.size - int(seen)} of {self.group.size} processes do not see the checkpoint folder "
                f"{self.folder} of the first one; give a folder on a disk that all machines share"
            )

    def _latest(self) -> dict[str, Any] | None:
        path = self.folder / LATEST
        try:
            found: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            raise ValueError(f"{path} is damaged; remove the folder, and the fit begins anew") from None
        return found

    def _check(self, found: dict[str, Any]) -> None:
        if found.get("data") != self._digest:
            raise ValueError(
                f"the checkpoint in {self.folder} is of other data; give these a folder of their own, or remove it"
            )
        theirs, ours = found.get("settings", {}), self._settings
        for name in sorted({*theirs, *ours}):
            if theirs.get(name) != ours.get(name):
                raise ValueError(
                    f"the checkpoint in {self.folder} was made with {name} = {theirs.get(name)!r}, and it is "
                    f"{ours.get(name)!r} now; fit as before, or give another folder"
                )

    def found(self, name: str) -> Snapshot | None:
        return self._read.get(name)

    def keep(self, name: str, snapshot: Snapshot) -> None:
        before = self._names.get(name)
        generation = 1 if before is None else before["generation"] + 1
        parts = self.group.gather(self.share.parts)
        record = {"generation": generation, "parts": [own.tolist() for own in parts]}
        with agreed(self.group):
            self._write(self._path(name, generation, self.group.rank), snapshot.of_rows, {"rows": self._rows()})
            if self.group.rank == 0:
                self._write(self._path(name, generation, None), snapshot.arrays, snapshot.numbers)
        self._names[name] = record
        with agreed(self.group):
            if self.group.rank == 0:
                self._point()
        if before is not None and self.group.rank == 0:
            for rank in (None, *range(len(before["parts"]))):
                self._path(name, before["generation"], rank).unlink(missing_ok=True)

    def _rows(self) -> dict[str, int]:
        return {str(part): int(rows) for part, rows in zip(self.share.parts, self.share.rows, strict=True)}

    def _write(self, path: Path, arrays: dict[str, NDArray[Any]], header: dict[str, Any]) -> None:
        try:
            model_file.save(path, KIND, arrays, header)
        except OSError as error:
            if not self.folder.is_dir():
                raise FileNotFoundError(
                    f"the checkpoint folder {self.folder} is gone; make it again, and start again"
                ) from None
            raise OSError(f"the checkpoint in {self.folder} cannot be written ({error.strerror or error})") from None

    def _point(self) -> None:
        path = self.folder / LATEST
        part = path.with_name(f"{LATEST}.part")
        try:
            part.write_text(json.dumps({"settings": self._settings, "data": self._digest, "names": self._names}))
            os.replace(part, path)
        except OSError as error:
            raise OSError(f"the checkpoint in {self.folder} cannot be written ({error.strerror or error})") from None

    def _path(self, name: str, generation: int, rank: int | None) -> Path:
        whose = "all" if rank is None else f"rows{rank}"
        return self.folder / f"{name.replace(' ', '-')}-{generation}-{whose}.safetensors"

    def _load(self, path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        try:
            return model_file.load(path, KIND)
        except FileNotFoundError:
            raise ValueError(
                f"the checkpoint in {self.folder} lacks {path.name}; bring the file back, or remove the folder, and "
                "the fit begins anew"
            ) from None

    def _snapshot(self, name: str) -> Snapshot:
        record = self._names[name]
        arrays, numbers = self._load(self._path(name, record["generation"], None))
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
            arrays, header = self._load(self._path(name, record["generation"], rank))
            rows = np.array([header["rows"][str(part)] for part in parts], np.int64)
            first = np.cumsum(rows) - rows
            for key, array in arrays.items():
                own = found.setdefault(key, np.zeros((self.share.count, *array.shape[1:]), array.dtype))
                for part, begin, count in zip(np.array(parts)[ours], first[ours], rows[ours], strict=True):
                    own[place[part] : place[part] + count] = array[begin : begin + count]
        return found
