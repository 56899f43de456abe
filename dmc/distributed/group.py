"""Processes that communicate through torch.distributed: sums, exchanges, and errors if a process is lost."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import _arrays
from dmc._group import ALONE, Group

SMALL = 4096  # numbers that go whole to every process, who adds them: to cut them up would take another round


class LostProcess(ConnectionError):
    """A process of the group ended, or cannot be reached any more.

    Examples
    --------
    >>> from dmc.distributed import LostProcess
    >>> issubclass(LostProcess, ConnectionError)
    True
    """


class TorchGroup(Group):
    """The processes of a torch process group, CPU (gloo) or GPU (NCCL).

    Sums are made of exchanges alone: each process adds what all have of its piece, in float64 and in the order of the
    processes, and hands the sum to all. So they are the same bits everywhere, and cost twice the array's size times
    (size − 1)/size, which is the least that a sum can cost.

    Parameters
    ----------
    process_group : torch.distributed.ProcessGroup, optional
        Left out: the default one.

    Attributes
    ----------
    sent : int
        Bytes sent to other processes.
    """

    def __init__(self, process_group: Any = None) -> None:
        import torch
        import torch.distributed as dist

        self._dist, self._torch, self._group = dist, torch, process_group
        self.rank: int = dist.get_rank(process_group)
        self.size: int = dist.get_world_size(process_group)
        cuda = "nccl" in str(dist.get_backend(process_group))
        self.device: torch.device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")
        self.sent: int = 0

    def sum(self, array: Any) -> Any:
        if self.size == 1:
            return array
        tensor = _arrays.is_tensor(array)
        given = array if tensor else np.asarray(array)
        flat = _arrays.place(given, str(self.device)).reshape(-1)
        found = (self._sum_of_small(flat) if len(flat) <= SMALL else self._sum_of_large(flat)).reshape(given.shape)
        if tensor:
            return found.to(array.device)
        whole = found.cpu().numpy()
        return whole if isinstance(array, np.ndarray) else given.dtype.type(whole)

    def _sum_of_small(self, flat: Any) -> Any:
        return self._added(flat.repeat(self.size), [len(flat)] * self.size, [len(flat)] * self.size)

    def _sum_of_large(self, flat: Any) -> Any:
        lengths = [b - a for a, b in pairwise(len(flat) * p // self.size for p in range(self.size + 1))]
        own = [lengths[self.rank]] * self.size
        total = self._added(flat.contiguous(), lengths, own)
        return self._all_to_all(total.repeat(self.size), own, lengths)

    def _added(self, flat: Any, given: Sequence[int], taken: Sequence[int]) -> Any:
        """What all have for this process, added in float64 and in the order of the processes."""
        pieces = self._all_to_all(flat, given, taken).split(list(taken))
        exact = self._torch.float64 if flat.dtype.is_floating_point else flat.dtype
        total = pieces[0].to(exact, copy=True)
        for piece in pieces[1:]:
            total += piece
        return total.to(flat.dtype)

    def exchange(self, pieces: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        if len(pieces) != self.size:
            raise ValueError(f"there are {len(pieces)} pieces for {self.size} processes; give one for each")
        if self.size == 1:
            return list(pieces)
        given = [piece.nbytes for piece in pieces]
        one = [1] * self.size
        taken = self._all_to_all(self._torch.tensor(given, device=self.device), one, one).tolist()
        dtype = np.asarray(pieces[0]).dtype
        raw = np.concatenate([np.ascontiguousarray(piece).view(np.uint8) for piece in pieces])
        found = self._all_to_all(self._torch.from_numpy(raw).to(self.device), given, taken).cpu().numpy()
        ends = np.cumsum([0, *taken])
        return [found[a:b].view(dtype) for a, b in pairwise(ends)]

    def gather(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        return self.exchange([array] * self.size)

    def first(self, value: Any) -> Any:
        nothing = np.zeros(0, np.asarray(value).dtype)
        given = np.atleast_1d(np.asarray(value)).reshape(-1) if self.rank == 0 else nothing
        found = self.gather(given)[0].reshape(np.shape(value))
        return found if isinstance(value, np.ndarray) else type(value)(found)

    def _all_to_all(self, flat: Any, given: Sequence[int], taken: Sequence[int]) -> Any:
        """The one way in which processes talk: of a tensor so many numbers go to each, and so many come from each."""
        self.sent += (len(flat) - given[self.rank]) * flat.element_size()
        target = self._torch.empty(sum(taken), dtype=flat.dtype, device=self.device)
        with self._words_for_lost_processes():
            self._dist.all_to_all_single(target, flat, list(taken), list(given), group=self._group)
        return target

    @contextmanager
    def _words_for_lost_processes(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            late = "; or it is busy for longer, which a longer timeout allows" if _is_late(error) else ""
            raise LostProcess(
                f"process {self.rank} of {self.size} lost its connection to another one ({_reason(error)}); see what "
                f"that one printed, and start again: with a checkpoint the fit resumes where it was{late}"
            ) from error


def _reason(error: BaseException) -> str:
    """What a library says, without its place in the source and its advice."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"^\[\S+\] ?", "", first).split(". This is typically")[0].rstrip(".")


def _is_late(error: BaseException) -> bool:
    return "imed out" in str(error)


@contextmanager
def connected(
    rank: int | None = None,
    size: int | None = None,
    address: str | None = None,
    port: int | None = None,
    *,
    timeout: float = 300.0,
    life: int | None = None,
    backend: str = "gloo",
) -> Iterator[Group]:
    """Connect the processes of a launcher such as torchrun, for as long as the ``with`` block lasts.

    Parameters
    ----------
    rank : int, optional
        Number of this process. Default: RANK, which torchrun sets, or 0.
    size : int, optional
        Number of processes. Default: WORLD_SIZE, or 1.
    address : str, optional
        Host of process 0. Default: MASTER_ADDR, or 127.0.0.1.
    port : int, optional
        Port of process 0. Default: MASTER_PORT, or 29500.
    timeout : float
        Seconds without a word from another process after which it counts as lost.
    life : int, optional
        How often the processes were restarted; processes of different lives do not connect. Default: what torchrun
        says.
    backend : {"gloo", "nccl"}
        "nccl": one process per GPU.

    Yields
    ------
    Group
        The group; with one process, a group of that process alone, which needs no torch.

    Raises
    ------
    ImportError
        If there are several processes and torch is not installed.
    LostProcess
        If the others are not found within the timeout.

    Examples
    --------
    >>> from dmc.distributed import connected
    >>> with connected() as group:  # one process, as no launcher has started others
    ...     group.rank, group.size
    (0, 1)
    """
    if backend == "nccl":
        import torch

        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    rank = int(os.environ.get("RANK", 0)) if rank is None else rank
    size = int(os.environ.get("WORLD_SIZE", 1)) if size is None else size
    if size == 1:
        yield ALONE
        return
    try:
        import torch.distributed as dist
        from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]
    except ImportError:
        raise ImportError(
            "several processes communicate through PyTorch, which is not installed; run: pip install 'dmc[torch]'"
        ) from None
    address = address or os.environ.get("MASTER_ADDR", "127.0.0.1")
    port = int(os.environ.get("MASTER_PORT", 29500)) if port is None else port
    life = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) if life is None else life
    patience = timedelta(seconds=timeout)
    serves = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    try:
        of_all = _in_time(lambda: TCPStore(address, port, size, serves, patience, wait_for_workers=False), timeout)
        store = PrefixStore(f"life{life}", of_all)  # one that died may have left its words in the other's
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)
    except (RuntimeError, ValueError, TimeoutError) as error:
        _begin_anew(dist)
        raise LostProcess(
            f"process {rank} of {size} found no other process at {address}:{port} within {timeout:g} s "
            f"({_reason(error)}); check that all were started, and that the port is free and can be reached"
        ) from error
    try:
        yield TorchGroup()
    finally:
        dist.destroy_process_group()


def _begin_anew(dist: Any) -> None:
    """torch counts the groups of a process, and who has tried once more than others would never meet them: the end of a
    group of one sets the count back."""
    if not dist.is_initialized():
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        dist.destroy_process_group()


def _in_time(make: Callable[[], Any], timeout: float) -> Any:
    """What is made, if it is in time: a store waits for ever where something else than a store listens."""
    made: list[Any] = []
    errors: list[Exception] = []

    def attempt() -> None:
        try:
            made.append(make())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(timeout + 1)  # where nothing listens at all it has a time-out of its own, about this long
    if errors:
        raise errors[0]
    if not made:
        raise TimeoutError("there is no answer")
    return made[0]
