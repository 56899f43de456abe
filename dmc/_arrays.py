"""Where arrays live: NumPy's in the host's memory (device None), or torch's tensors on a device ("cpu", "cuda", …)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

Device = str | None
KINDS = ("cpu", "cuda")


class Array(Protocol):
    """What NumPy's arrays and torch's tensors have in common, of any shape and dtype.

    What arithmetic gives is Any: neither library's types tell a number from an array. What is not here (`device`,
    `numpy.ndarray.astype`, `torch.Tensor.to`) goes through this module or through array_api_compat's namespace.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def dtype(self) -> Any: ...  # NumPy's or torch's: see `numpy_dtype`
    @property
    def itemsize(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def T(self) -> Any: ...

    # Methods that are overloaded in NumPy, and so match no one signature.
    @property
    def __array__(self) -> Callable[..., NDArray[Any]]: ...  # so that NumPy's functions take it
    @property
    def all(self) -> Callable[..., Any]: ...
    @property
    def any(self) -> Callable[..., Any]: ...
    @property
    def max(self) -> Callable[..., Any]: ...
    @property
    def mean(self) -> Callable[..., Any]: ...
    @property
    def min(self) -> Callable[..., Any]: ...
    @property
    def reshape(self) -> Callable[..., Any]: ...
    @property
    def sum(self) -> Callable[..., Any]: ...

    def __len__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...
    def __setitem__(self, key: Any, value: Any, /) -> None: ...
    def __float__(self) -> float: ...
    def __int__(self) -> int: ...
    def __bool__(self) -> bool: ...

    def __neg__(self) -> Any: ...
    def __abs__(self) -> Any: ...
    def __invert__(self) -> Any: ...
    def __add__(self, other: Any, /) -> Any: ...
    def __radd__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __rsub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __rmul__(self, other: Any, /) -> Any: ...
    def __truediv__(self, other: Any, /) -> Any: ...
    def __rtruediv__(self, other: Any, /) -> Any: ...
    def __floordiv__(self, other: Any, /) -> Any: ...
    def __pow__(self, other: Any, /) -> Any: ...
    def __matmul__(self, other: Any, /) -> Any: ...
    def __rmatmul__(self, other: Any, /) -> Any: ...
    def __eq__(self, other: object, /) -> Any: ...
    def __ne__(self, other: object, /) -> Any: ...
    def __lt__(self, other: Any, /) -> Any: ...
    def __le__(self, other: Any, /) -> Any: ...
    def __gt__(self, other: Any, /) -> Any: ...
    def __ge__(self, other: Any, /) -> Any: ...


def of(array: Any) -> Device:
    """The device of an array, as torch names it; None for NumPy."""
    return None if isinstance(array, (np.ndarray, np.generic)) else str(array.device)


@overload
def place(array: Any, device: None) -> NDArray[Any]: ...
@overload
def place(array: Any, device: Device) -> Any: ...
def place(array: Any, device: Device) -> Any:
    """The array on a device; itself if it is there, else a copy. Derivatives end here."""
    if isinstance(array, (np.ndarray, np.generic)):
        if device is None:
            return array
        import torch

        # torch takes no negative strides, and warns of arrays that must not be written to
        plain = array.flags.writeable and min(array.strides, default=0) >= 0
        return torch.from_numpy(array if plain else array.copy()).to(device)
    if getattr(array, "requires_grad", False):
        array = array.detach()
    return array.cpu().numpy() if device is None else array.to(device)


def numpy_dtype(dtype: Any) -> np.dtype[Any]:
    """NumPy's name of a dtype, which may be torch's."""
    return np.dtype(str(dtype).removeprefix("torch."))


def is_tensor(value: object) -> bool:
    """Whether it is one of torch's tensors; torch is not loaded for the question."""
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach")


def checked(device: object) -> Device:
    """A device that is there, as torch names it; None passes.

    Raises
    ------
    ImportError
        If torch is not installed.
    ValueError
        If it is another device than these, or one that this machine does not have.
    """
    if device is None:
        return None
    try:
        import torch
    except ImportError:
        raise ImportError(
            f"device is {str(device)!r} and PyTorch is not installed; run: pip install 'dmc[torch]'"
        ) from None
    kind, _, number = str(device).partition(":")
    if kind not in KINDS or (number and not number.isdigit()):
        raise ValueError(f"device is {str(device)!r}; choose 'cpu' or 'cuda' (with a number if need be: 'cuda:1')")
    try:
        where = torch.empty(0, device=str(device)).device  # with its number: cuda is cuda:0
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0].partition(". ")[0].rstrip(".")
        raise ValueError(f"device is {str(device)!r} and torch says: {reason}; see `dmc doctor`") from None
    return str(where)


@contextmanager
def words_for_full_memory(device: Device) -> Iterator[None]:
    """A context in which a device that has no room left raises a MemoryError of one sentence."""
    if device is None:
        yield
        return
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        asked = str(error).partition("Tried to allocate ")[2].partition(". ")[0]
        raise MemoryError(
            f"{device} has no room for {asked or 'another array'}; free what other programs hold there, use float32 or "
            "a smaller rank, or compute on the host (leave device out)"
        ) from error
