"""The compiled kernels on tensors: dmc._core on the processor, dmc._cuda on a GPU, each as one `Passes`.

A pass goes over the entries line by line: pointers (lines + 1,) int64, indices (observed,) of the other side, own
(lines, k) and other (other_lines, k). What the kernels need to know of the entries is made once for each pair of
pointers and indices, and kept as long as the indices live; only then are indices checked, and the device waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeVar, cast

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.weak import TensorWeakRef, WeakTensorKeyDictionary

from dmc import _extensions
from dmc._extensions import Entries, Obstacle
from dmc.pattern import SparseIndex, plain

T = TypeVar("T")
HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}  # forms to which the gathered side may be rounded

# Lines are cut into segments of so many entries, the work of a warp; up to LIGHT of them are left to a few threads.
SEGMENT = 512
LIGHT = 64


class Passes(NamedTuple):
    """One kind of device.

    ``serves(own, *indices)``: whether the kernels take such arguments, which are of the dtypes that the operators take;
    ``product(pointers, indices, own, other)``: (observed,) own_i·other_j; ``gradient(pointers, indices, own, other,
    target, weights, gathered, with_loss)``: () ½ Σ w r² (None if not wanted) and (lines, k) Σ w r other_j, target None:
    all zero; ``sums(pointers, indices, other, coefficients)``: (lines, k) Σ c other_j, None: all one.
    """

    serves: Callable[..., bool]
    product: Callable[..., Tensor]
    gradient: Callable[..., tuple[Tensor | None, Tensor]]
    sums: Callable[..., Tensor]


def check_lines(pointers: Tensor, indices: Tensor, other_lines: int) -> None:
    """Refuse entries that lie outside of the matrix; waits for the device, once."""
    facts = [pointers[0], pointers[-1], (pointers.diff() < 0).any()]
    if len(indices):
        facts += [indices.min(), indices.max()]
    first, last, falls, *extremes = torch.stack([fact.long() for fact in facts]).tolist()
    if first != 0 or last != len(indices) or falls:
        raise ValueError(
            f"pointers start at {first} and end at {last}; they have to go from 0 to {len(indices)} without decreasing"
        )
    for worst in extremes:
        if not 0 <= worst < other_lines:
            raise ValueError(f"index {worst} is out of range for the {other_lines} rows of the other factor")


# What is made of the entries once ---------------------------------------------------------------------------------


class _Made(NamedTuple):
    plan: object
    pointers: TensorWeakRef
    stamp: tuple[object, ...]  # the maker, lines of the other side, and how often each tensor had been written to


_made = WeakTensorKeyDictionary()  # by the indices; a plan holds their memory, but not the tensor it is kept under


def _plan(make: Callable[[Tensor, Tensor, int], T], pointers: Tensor, indices: Tensor, other_lines: int) -> T:
    # A tensor made in inference mode does not count how often it is written to, and is checked each time.
    if pointers.is_inference() or indices.is_inference():
        return make(pointers.detach(), indices.detach().contiguous(), other_lines)
    stamp = (make, other_lines, pointers._version, indices._version)
    found = _made.get(indices)
    if found is None or found.stamp != stamp or found.pointers() is not pointers:
        plan = make(pointers.detach(), indices.detach().contiguous(), other_lines)
        found = _made[indices] = _Made(plan, TensorWeakRef(pointers), stamp)
    return cast(T, found.plan)


# The processor ----------------------------------------------------------------------------------------------------


def _core_plan(pointers: Tensor, indices: Tensor, other_lines: int) -> Entries:
    return SparseIndex(_array(pointers), _array(indices)).compiled(other_lines)


def _array(tensor: Tensor) -> NDArray[Any]:
    """The tensor's memory as an array; copied only if it has gaps or is not aligned."""
    return plain(tensor.detach().contiguous().numpy())


def _core_serves(own: Tensor, *indices: Tensor) -> bool:
    return True


def _core_product(pointers: Tensor, indices: Tensor, own: Tensor, other: Tensor) -> Tensor:
    entries = _plan(_core_plan, pointers, indices, len(other))
    run = _extensions.core.masked_product
    return torch.from_numpy(run(entries, _array(own), _array(other), torch.get_num_threads()))


def _core_gradient(
    pointers: Tensor,
    indices: Tensor,
    own: Tensor,
    other: Tensor,
    target: Tensor | None,
    weights: Tensor | None,
    gathered: str | None,
    with_loss: bool,
) -> tuple[Tensor | None, Tensor]:
    entries = _plan(_core_plan, pointers, indices, len(other))
    if gathered == "float16":  # a form that the core does not have: rounded, and gathered in full
        other = other.half().float()
    run = _extensions.core.residual_gradient_bfloat16 if gathered == "bfloat16" else _extensions.core.residual_gradient
    by_entry = (None if a is None else _array(a) for a in (target, weights))
    loss, d_own = run(entries, _array(own), _array(other), *by_entry, torch.get_num_threads())
    return torch.tensor(loss, dtype=own.dtype) if with_loss else None, torch.from_numpy(d_own)


def _core_sums(pointers: Tensor, indices: Tensor, other: Tensor, coefficients: Tensor | None) -> Tensor:
    entries = _plan(_core_plan, pointers, indices, len(other))
    c = None if coefficients is None else _array(coefficients)
    return torch.from_numpy(_extensions.core.weighted_sums(entries, _array(other), c, torch.get_num_threads()))


core = Passes(_core_serves, _core_product, _core_gradient, _core_sums)


# A GPU ------------------------------------------------------------------------------------------------------------


class _CudaPlan(NamedTuple):
    lines: Entries
    n_segments: int
    n_partials: int
    tensors: tuple[Tensor, ...]
    stream: int  # on which they were made


def _cuda_plan(pointers: Tensor, indices: Tensor, other_lines: int) -> _CudaPlan:
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            "a CUDA graph is being captured and these indices are new to the kernels, which have to check them first; "
            "call the operator once before the capture, with the same tensors"
        )
    check_lines(pointers, indices, other_lines)
    light, heavy, long_lines, n_partials = _segments(pointers)
    lines = _extensions.cuda.Lines(indices, light, heavy, long_lines, len(pointers) - 1, other_lines, n_partials)
    stream = torch.cuda.current_stream()
    stream.synchronize()  # another stream may be the next to use it, and could not know what to wait for
    tensors = (indices, light, heavy, long_lines)
    return _CudaPlan(lines, len(light) + len(heavy), n_partials, tensors, stream.cuda_stream)


def _segments(pointers: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """Light and heavy segments, long lines, and how many sums these have: as csrc/masked_product_cuda.h has them."""
    length = pointers.diff()
    of_line = length.add(SEGMENT - 1).div(SEGMENT, rounding_mode="floor").clamp(min=1)
    line = torch.repeat_interleave(of_line)
    before = of_line.cumsum(0) - of_line
    place = torch.arange(len(line), device=line.device) - before[line]
    first = pointers[:-1][line] + SEGMENT * place
    last = torch.minimum(first + SEGMENT, pointers[1:][line])
    many = of_line > 1
    of_many = many[line]
    partial = torch.where(of_many, of_many.cumsum(0) - 1, -1)
    segments = torch.stack([line, first, last, partial], 1)
    is_light = length[line] <= LIGHT
    light, heavy = segments[is_light], segments[~is_light]
    # Groups of a warp go on until the longest of theirs ends: neighbours are to be of a length.
    light = light[torch.argsort(light[:, 2] - light[:, 1], descending=True, stable=True)]
    counts = of_line[many]
    long_lines = torch.stack([many.nonzero()[:, 0], counts.cumsum(0) - counts, counts], 1)
    return light, heavy, long_lines, int(of_many.sum())


def _prepared(pointers: Tensor, indices: Tensor, other: Tensor) -> tuple[_CudaPlan, int]:
    """The plan, and the current stream of the current device, to launch on."""
    plan = _plan(_cuda_plan, pointers, indices, len(other))
    stream = torch.cuda.current_stream()
    if stream.cuda_stream != plan.stream:
        for tensor in plan.tensors:  # its memory is not given away before this stream is through with it
            tensor.record_stream(stream)
    return plan, stream.cuda_stream


def _filled(side: Tensor, dtype: torch.dtype) -> Tensor:
    """A side in a width that the kernels have, by columns of zeros; a copy unless it is so already."""
    side = side.detach().to(dtype)
    width = side.shape[1]
    more = next(w for w in _extensions.cuda.WIDTHS if w >= width) - width
    side = torch.nn.functional.pad(side, (0, more)) if more else side.contiguous()
    return side.clone() if side.data_ptr() % 16 else side  # 16 bytes are gathered at a time


@cache
def _cuda_runs(device: int) -> bool:
    return _extensions.cuda_obstacle(device) is None


def _cuda_serves(own: Tensor, *indices: Tensor) -> bool:
    return (
        own.shape[1] <= _extensions.cuda.WIDTHS[-1]
        and all(i.dtype == torch.int32 for i in indices)
        and _cuda_runs(max(own.get_device(), 0))
    )


def _cuda_product(pointers: Tensor, indices: Tensor, own: Tensor, other: Tensor) -> Tensor:
    out = own.new_empty(indices.shape)
    form = str(own.dtype).removeprefix("torch.")
    with torch.cuda.device_of(own):
        plan, stream = _prepared(pointers, indices, other)
        _extensions.cuda.masked_product(
            plan.lines, _filled(own, own.dtype), _filled(other, own.dtype), form, out, stream
        )
    return out


def _cuda_gradient(
    pointers: Tensor,
    indices: Tensor,
    own: Tensor,
    other: Tensor,
    target: Tensor | None,
    weights: Tensor | None,
    gathered: str | None,
    with_loss: bool,
) -> tuple[Tensor | None, Tensor]:
    form = gathered or str(own.dtype).removeprefix("torch.")
    own_filled = _filled(own, own.dtype)
    other_filled = _filled(other, HALVES.get(form, own.dtype))
    if form == "bfloat16":
        other_filled = other_filled.view(torch.int16)  # the array interface has no name for bfloat16
    d_own = torch.empty_like(own_filled)
    loss = own.new_empty((), dtype=torch.float64) if with_loss else None
    target = other.new_zeros(indices.shape) if target is None else target
    by_entry = (None if a is None else a.detach().contiguous() for a in (target, weights))
    with torch.cuda.device_of(own):
        plan, stream = _prepared(pointers, indices, other)
        losses = own.new_empty(plan.n_segments + _extensions.cuda.LOSS_SUMS, dtype=torch.float64)
        partials = own.new_empty(plan.n_partials, own_filled.shape[1])
        _extensions.cuda.residual_gradient(
            plan.lines, own_filled, other_filled, form, *by_entry, d_own, loss, losses, partials, stream
        )
    d_own = d_own[:, : own.shape[1]].contiguous()
    return None if loss is None else loss.to(own.dtype), d_own


def _cuda_sums(pointers: Tensor, indices: Tensor, other: Tensor, coefficients: Tensor | None) -> Tensor:
    """By the gradient, which is all that the GPU has: against a side of zeros the residual is minus the target."""
    own = other.new_zeros((len(pointers) - 1, other.shape[1]))
    target = other.new_full(indices.shape, -1) if coefficients is None else -coefficients
    return _cuda_gradient(pointers, indices, own, other, target, None, None, False)[1]


cuda = Passes(_cuda_serves, _cuda_product, _cuda_gradient, _cuda_sums)


def cuda_obstacle(device: int = 0) -> Obstacle | None:
    """Why the CUDA kernels do not serve torch here, and what to do; None where they do."""
    if torch.version.cuda is None:
        return _extensions.cuda_obstacle(device) or Obstacle(
            f"torch {torch.__version__} is a build without CUDA", "install one with CUDA: see pytorch.org/get-started"
        )
    return _extensions.cuda_obstacle(device)
