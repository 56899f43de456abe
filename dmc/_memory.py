"""When memory is full: a MemoryError in words, with a size, from every public method."""

from __future__ import annotations

import functools
import mmap
import os
import sys
import threading
from collections.abc import Callable
from types import FunctionType, TracebackType
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

# What other libraries say in exceptions of another class: the dynamic linker, torch, pybind11.
_OTHER_WORDS = (
    "failed to map segment",
    "cannot allocate memory",
    "can't allocate memory",
    "not enough memory",
    "error return without exception set",
    "could not allocate",
    "can't start new thread",
)
_MOST = 32  # callers with a buffer: OpenBLAS has room for at least 50, its own threads' among them, and then complains
_BUFFER = 40 << 20  # bytes of which OpenBLAS's buffer is one: 32.7 MB in the builds 0.3.30 and 0.3.31 for x86-64


class words:
    """A context in which a full memory is a MemoryError of one sentence with a size."""

    def __enter__(self) -> None:
        self._handled = sys.exc_info()[1]  # by the caller, who may call because of it: no cause of what follows
        try:
            _callers.enter()
        except Exception as error:
            raise translated(error) or error from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        _callers.leave()
        if error is not None and (told := translated(error, self._handled)) is not None:
            raise told from error


def in_words(function: Callable[P, T]) -> Callable[P, T]:
    """The function, in `words`."""

    @functools.wraps(function)
    def call(*args: P.args, **settings: P.kwargs) -> T:
        with words():
            return function(*args, **settings)

    return call


def methods_in_words(kind: type[T]) -> type[T]:
    """The class, with each public method of dmc's in `words`."""
    for name in dir(kind):
        owner = next(base for base in kind.__mro__ if name in vars(base))
        found: Any = vars(owner)[name]
        if name.startswith("_") or not owner.__module__.startswith("dmc."):
            continue
        if isinstance(found, FunctionType):
            setattr(kind, name, in_words(found))
        elif isinstance(found, classmethod):
            setattr(kind, name, classmethod(in_words(found.__func__)))
    return kind


def translated(error: BaseException, handled: BaseException | None = None) -> MemoryError | None:
    """The MemoryError to raise instead of an exception; None: that is about something else, or says enough.

    What led to an error is looked at as far back as to the one that was being `handled` when the call began.
    """
    text = str(error).strip()
    if isinstance(error, MemoryError):
        if any(map(str.isdigit, text)):
            return None
        what = "there is no room left in memory" if text in ("", "std::bad_alloc") else text.rstrip(".")
        return MemoryError(f"{what}; {_figures()}")
    if isinstance(error, (ImportError, RuntimeError, SystemError)):
        found = next((e for e in _chain(error, handled) if _of_memory(e)), None)
        if found is not None:
            said = " ".join(str(found).split())
            return MemoryError(f"there is no room left in memory ({said or type(found).__name__}); {_figures()}")
    return None


def _of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(part in text for part in _OTHER_WORDS)


def _chain(error: BaseException | None, end: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error is not end and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _figures() -> str:
    """What the process has of what it may have."""
    try:
        import resource

        with open("/proc/self/statm") as file:
            held = int(file.read().split()[0]) * resource.getpagesize() >> 20
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            return f"the process holds {held:,} MB of address space and may hold {limit >> 20:,} (RLIMIT_AS)"
        left = os.sysconf("SC_AVPHYS_PAGES") * resource.getpagesize() >> 20
        return f"the process holds {held:,} MB of address space, and the machine has {left:,} MB free"
    except (ImportError, OSError, ValueError, MemoryError):  # not on Linux, or full to the brim
        return "0 MB are left"


class _Callers:
    """Threads inside public methods, each of which may want a buffer of OpenBLAS's.

    OpenBLAS ends the process when it finds no room for a buffer. It keeps those it has: so it is made to have one for
    each thread before a method begins, where there is room.
    """

    def __init__(self) -> None:
        self._ready: dict[tuple[str, ...], int] = {}  # buffers, by the modules that had brought a BLAS
        self._here = threading.local()
        self.forget_threads()

    def forget_threads(self) -> None:
        """All but this one, which may be inside a method that a callback forked from."""
        self._lock, self._inside = threading.Lock(), int(getattr(self._here, "depth", 0) > 0)

    def enter(self) -> None:
        depth = getattr(self._here, "depth", 0)
        if not depth:
            with self._lock:
                brought = tuple(name for name in ("numpy", "scipy.linalg") if name in sys.modules)
                wanted = min(self._inside + 1, _MOST)
                if self._ready.get(brought, 0) < wanted:
                    _keep_buffers(wanted)
                    self._ready[brought] = wanted
                self._inside += 1
        self._here.depth = depth + 1

    def leave(self) -> None:
        self._here.depth -= 1
        if not self._here.depth:
            with self._lock:
                self._inside -= 1


def _keep_buffers(count: int) -> None:
    """Have each OpenBLAS in the process keep so many buffers.

    Raises
    ------
    MemoryError
        If there is no room for them.
    """
    from threadpoolctl import ThreadpoolController

    for library in ThreadpoolController().lib_controllers:
        take = getattr(library.dynlib, "blas_memory_alloc", None)
        give = getattr(library.dynlib, "blas_memory_free", None)
        if library.internal_api != "openblas" or take is None or give is None:
            continue
        import ctypes

        take.restype, take.argtypes, give.restype, give.argtypes = (
            ctypes.c_void_p,
            [ctypes.c_int],
            None,
            [ctypes.c_void_p],
        )
        taken = []
        try:
            for _ in range(count):
                _check_room(_BUFFER)
                taken.append(take(0))
        finally:
            for buffer in taken:
                give(buffer)


def _check_room(size: int) -> None:
    try:
        mmap.mmap(-1, size).close()
    except (OSError, MemoryError):
        raise MemoryError(
            f"there is no room in memory for the {size >> 20} MB that BLAS needs to start; {_figures()}"
        ) from None


_callers = _Callers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_callers.forget_threads)
