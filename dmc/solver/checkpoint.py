"""A file from which a long fit resumes after it was killed, or ended by Ctrl-C."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dmc import _checks, model_file
from dmc._keeper import Fit, Keeper, Keeping, Snapshot
from dmc._warn import warn
from dmc._whole_file import beside, in_a_sentence, refuse_unwritable, resolved
from dmc.solver.kept_phases import Memory
from dmc.solver.kept_state import Arrays
from dmc.solver.solution import StepInfo

try:
    import fcntl
except ImportError:  # not on every system, and then nobody is told of two fits with one file
    fcntl = None  # type: ignore[assignment]

KIND = "Checkpoint"
SEEN = "callbacks"  # the name of what they have seen
SPARING = 50  # times what a copy, or a write, takes: so long until the next, which costs a fit 2 % for each at most
REMEDY = "resume that one, give this fit another path, or remove the file"


class Checkpoint(Keeping):
    """Keep a long fit in a file, from which it resumes after it was killed, or ended by Ctrl-C.

    Pass it among the ``callbacks`` of `dmc.solve`, `dmc.MatrixCompletion`, `dmc.TensorCompletion` or `dmc.Recommender`,
    and run the same program again. If the file holds the same fit (the same data and settings, by the same version of
    dmc), the fit resumes from there and gives the result of an uninterrupted run, bit by bit on the same machine. Steps
    and seconds continue to count, and callbacks with ``state_dict()`` and ``load_state_dict(state)``, such as those of
    `dmc.callbacks` that record something, continue with what they had recorded.

    The file is written whole or not at all: at intervals, at the end, and at Ctrl-C. It stays when the fit has ended by
    itself: the same program, run again, then has its result at once, while a fit of other data or settings begins anew
    and replaces the file. A file of a fit that has *not* ended is never replaced by that of another fit. Remove it when
    you no longer need it.

    If the file cannot be written (a full disk), a warning says so and the fit goes on; writing is tried again later.

    Parameters
    ----------
    path : path
        Of the file. One fit at a time: a second one with the same path is refused while the first is running.
    seconds : float
        Least interval between two writes; longer where writing would take more than a fiftieth of the time. 0 writes at
        every call.

    Attributes
    ----------
    resumed : bool
        Whether the last fit resumed from the file.

    Raises
    ------
    ValueError, TypeError, OSError
        By the fit, at its beginning: if the file is damaged, not a checkpoint, or of another fit; if the state of a
        step rule or callback cannot be kept; if the file cannot be written there.

    Notes
    -----
    `dmc.solve` may resume with a larger `max_steps`, or another `tol`. A `TimeLimit` counts the seconds before the
    interruption, too. A step rule of your own has to keep what it remembers in the state that it returns, and not in
    itself. Fits in several processes have ``dmc.distributed.Recommender.fit(…, checkpoint=folder)``.

    Examples
    --------
    >>> import dmc, tempfile, pathlib
    >>> observed = dmc.datasets.planted((30, 20), 2, 0.8).observations
    >>> problem, start = dmc.MaskedLeastSquares(observed), dmc.initial.spectral(observed, 2)
    >>> folder = tempfile.TemporaryDirectory()
    >>> checkpoint = dmc.callbacks.Checkpoint(pathlib.Path(folder.name) / "fit.checkpoint")
    >>> part = dmc.solve(problem, start, dmc.steps.Adam(), max_steps=20, tol=0, callbacks=[checkpoint])
    >>> whole = dmc.solve(problem, start, dmc.steps.Adam(), max_steps=50, tol=0, callbacks=[checkpoint])
    >>> checkpoint.resumed, whole.n_steps
    (True, 50)
    >>> whole.value == dmc.solve(problem, start, dmc.steps.Adam(), max_steps=50, tol=0).value
    True
    >>> folder.cleanup()
    """

    name = "checkpoint"

    def __init__(self, path: str | os.PathLike[str], seconds: float = 60.0) -> None:
        self.path: Path = Path(path)
        self.seconds: float = _checks.real(seconds, "seconds", 0)
        self.resumed: bool = False
        self._at_work = 0

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r}, seconds={self.seconds:g})"

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_at_work": 0}

    def __call__(self, info: StepInfo) -> bool:
        """Do nothing: the fit itself provides what is kept."""
        if not self._at_work:
            raise ValueError(
                f"this fit keeps no checkpoints and cannot resume from {self.path}; leave the Checkpoint out of its "
                "callbacks"
            )
        return False

    @contextmanager
    def of(self, fit: Fit, callbacks: Sequence[object]) -> Iterator[Keeper]:
        path = _writable(self.path)
        with _alone(path):
            keeper = _File(path, self.seconds, fit, callbacks)
            self.resumed = keeper.resumes
            self._at_work = self._at_work + 1
            try:
                yield keeper
            finally:
                self._at_work -= 1
                keeper.close()


def _writable(path: Path) -> Path:
    """The path with links followed, if a file can be written there."""
    try:
        refuse_unwritable(path)
        return Path(resolved(path))
    except (OSError, ValueError) as error:
        told = f"no checkpoint can be kept: {error}"
        raise (in_a_sentence(error, told) if isinstance(error, OSError) else ValueError(told)) from None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Lock the file for one fit at a time. The lock of a killed process is released with it, and its file reused."""
    lock = Path(beside(path, "lock"))
    try:
        held = _opened(lock, path)
    except OSError as error:
        raise OSError(f"the checkpoint {path} cannot be written ({error.strerror}); give another path") from None
    try:
        yield
    finally:
        with suppress(OSError):  # of a disk that is read-only by now, which costs no fit
            lock.unlink()  # before it is given free: else somebody else's would be removed
        os.close(held)


def _opened(lock: Path, path: Path) -> int:
    """The lock file, locked, if it still has the name."""
    while True:
        held = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            if fcntl is not None:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            raise ValueError(
                f"another fit is using the checkpoint {path}; wait for it, or give each fit its own path"
            ) from None
        except OSError:  # a disk that knows no locks
            return held
        if _same(held, lock):
            return held
        os.close(held)


def _same(held: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(held), os.stat(lock))
    except FileNotFoundError:
        return False


@dataclass(frozen=True)
class _Kept:
    """A snapshot: its numbers as JSON, and its arrays as they lie in memory."""

    numbers: str
    arrays: dict[str, list[Any]]
    of_rows: dict[str, list[Any]]
    stored: dict[str, NDArray[Any]] = field(repr=False)

    @classmethod
    def of(cls, snapshot: Snapshot) -> _Kept:
        arrays = Arrays()
        of_all, of_rows = (
            {key: list(arrays.add(array)) for key, array in part.items()}
            for part in (snapshot.arrays, snapshot.of_rows)
        )
        return cls(json.dumps(snapshot.numbers), of_all, of_rows, arrays.stored)

    def snapshot(self) -> Snapshot:
        arrays = Arrays(self.stored)
        parts = [{key: arrays.made(told) for key, told in part.items()} for part in (self.arrays, self.of_rows)]
        return Snapshot(json.loads(self.numbers), *parts)


class _File(Keeper):
    """The snapshots of one fit, in memory and, at intervals, in a file."""

    keeps = alone = True

    def __init__(self, path: Path, seconds: float, fit: Fit, callbacks: Sequence[object]) -> None:
        self._path, self._seconds, self._fit, self._memory = path, seconds, fit, Memory(callbacks)
        self._kept: dict[str, _Kept] = {}
        self._finished = self._was_finished = self._changed = False
        if path.exists():
            self._open()
        self._before = dict(self._kept)
        seen = self.found(SEEN)
        if seen is not None:
            with self.believing():
                self._memory.load(seen)
        now = time.monotonic()
        self._next_copy, self._next_write = now, now + seconds

    @property
    def resumes(self) -> bool:
        """Whether there was something to resume from."""
        return bool(self._before)

    @property
    def due(self) -> bool:
        return time.monotonic() >= self._next_copy

    def found(self, name: str) -> Snapshot | None:
        kept = self._before.get(name)
        if kept is None or self._kept.get(name) is not kept:
            return None
        with self.believing():
            return kept.snapshot()

    def keep(self, name: str, snapshot: Snapshot) -> None:
        self.keep_together({name: snapshot})

    def keep_together(self, snapshots: Mapping[str, Snapshot]) -> None:
        began = time.monotonic()
        snapshots = {**snapshots, SEEN: self._memory.snapshot()}
        self._kept |= {name: _Kept.of(snapshot) for name, snapshot in snapshots.items()}
        self._changed = True
        now = time.monotonic()
        self._next_copy = now + (SPARING * (now - began) if self._seconds else 0)
        if now >= self._next_write:
            self._write()

    def finish(self) -> None:
        self._finished = True
        self._changed |= not self._was_finished and bool(self._kept)

    def close(self) -> None:
        """Write what is not in the file yet."""
        if self._changed:
            self._write()

    def _write(self) -> None:
        began = time.monotonic()
        arrays = {f"{name}/{key}": one for name, kept in self._kept.items() for key, one in kept.stored.items()}
        names = {name: [kept.numbers, kept.arrays, kept.of_rows] for name, kept in self._kept.items()}
        header = {"version": _version(), "finished": self._finished, "data": self._fit.data}
        header |= {"settings": self._fit.settings, "names": names}
        try:
            model_file.save(self._path, KIND, arrays, header)
        except (OSError, MemoryError, ValueError) as error:  # the last of a path that names a pipe by now
            number = getattr(error, "errno", None)
            reason = os.strerror(number) if number else str(error) or "no memory"
            warn(
                f"the checkpoint {self._path} cannot be written ({reason}); the fit continues, the previous checkpoint "
                "stays, and writing is tried again later"
            )
        else:
            self._changed = False
        now = time.monotonic()
        self._next_write = now + (max(self._seconds, SPARING * (now - began)) if self._seconds else 0)

    def _open(self) -> None:
        with self.believing():
            arrays, header = model_file.load(self._path, KIND)
            told = header["version"], header["settings"], header["data"]
            if not self._is_ours(*told, finished=bool(header["finished"])):
                return
            for name, (numbers, own, of_rows) in header["names"].items():
                stored = {key.rpartition("/")[2]: one for key, one in arrays.items() if key.rpartition("/")[0] == name}
                self._kept[name] = _Kept(numbers, own, of_rows, stored)
            self._was_finished = bool(header["finished"])

    def _is_ours(self, version: str, settings: dict[str, Any], data: str, *, finished: bool) -> bool:
        """Whether the file is of this fit. A file of another fit is replaced if that has ended, else an error."""
        what = f"the checkpoint {self._path} belongs to an unfinished fit"
        ours = json.loads(json.dumps(self._fit.settings))
        differing = [name for name in settings | ours if settings.get(name) != ours.get(name)]
        if not differing and version == _version() and data == self._fit.data:
            return True
        if finished:
            return False
        if differing:
            name = differing[0]
            told = f"{what}, with {name} = {settings.get(name)}, which is {ours.get(name)} here"
            raise _Another(f"{told}; {REMEDY}")
        if data != self._fit.data:
            raise _Another(f"{what} of other data; {REMEDY}")
        raise _Another(
            f"{what}, made by dmc {version}, and this is {_version()}; finish it with that version, or remove the file"
        )

    @contextmanager
    def believing(self) -> Iterator[None]:
        try:
            yield
        except _Another as error:
            raise ValueError(str(error)) from None
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, ArithmeticError):
            raise ValueError(
                f"{self._path} is not a checkpoint, or is damaged; give another path, or remove it to start from the "
                "beginning"
            ) from None


def _version() -> str:
    from dmc import __version__  # which takes a while to find

    return __version__


class _Another(ValueError):
    """Raised if the file is of another fit."""
