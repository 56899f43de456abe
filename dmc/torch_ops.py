"""The masked product as torch operators: torch.ops.dmc.masked_product, masked_residual_grad and masked_sums.

    masked_product(left, right, *pattern) -> (observed,)                           p_e = left_i·right_j, e = (i, j)
    masked_sums(values, left, right, *pattern) -> (rows, k), (columns, k)          Σ_j v_e right_j and Σ_i v_e left_i
    masked_residual_grad(left, right, *pattern, target_by_row, target_by_column,
                         weights_by_row?, weights_by_column?) -> loss, d_left, d_right     as in `dmc.kernels`

with left (rows, k) and right (columns, k) of one dtype, float32 or float64 (half precision under autocast: cast to
float32), and the pattern's five tensors: row_pointers (rows + 1,) int64, column_indices (observed,) int32 or int64,
column_pointers (columns + 1,), row_indices (observed,), and column_order (observed,), the place in row order of each
entry in column order. `pattern_tensors` makes them. Values, predictions, targets and weights are (observed,).

Derivatives are made of these three operators again, so those of any order exist. By targets and weights there are none.

Here are, in this order: plain torch for any device, the compiled core for the processor, and what belongs to no device.
A further device registers its kernels by ``masked_product.register_kernel("cuda")`` and so on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import TensorWeakRef, WeakTensorKeyDictionary

from dmc import _compiled, _devices
from dmc.observations import Pattern

CHUNK = 1 << 18  # entries at a time in plain torch: bounds the (entries, width) temporaries

_PATTERN = "Tensor row_pointers, Tensor column_indices, Tensor column_pointers, Tensor row_indices, Tensor column_order"
_N_PATTERN = 5


def pattern_tensors(pattern: Pattern) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A pattern as the operators take it; shares the pattern's memory.

    Parameters
    ----------
    pattern : Pattern

    Returns
    -------
    row_pointers, column_indices, column_pointers, row_indices, column_order : tensors
        On the pattern's device; int64 pointers and order, indices as the pattern has them.
    """
    arrays = (*pattern.by_row, *pattern.by_column, pattern.column_order)
    rp, ci, cp, ri, order = (_devices.place(array, pattern.device or "cpu") for array in arrays)
    return rp, ci, cp, ri, order


# Plain torch, any device -----------------------------------------------------------------------------------------


@torch.library.custom_op(
    "dmc::masked_product", mutates_args=(), schema=f"(Tensor left, Tensor right, {_PATTERN}) -> Tensor"
)
def masked_product(left: Tensor, right: Tensor, *pattern: Tensor) -> Tensor:
    """(observed,) predictions in row order."""
    _check(left, right, pattern)
    rows, cols = _positions(left, right, pattern)
    parts = [(left[i] * right[j]).sum(1) for i, j in zip(rows.split(CHUNK), cols.split(CHUNK), strict=True)]
    return torch.cat(parts)


@torch.library.custom_op(
    "dmc::masked_sums",
    mutates_args=(),
    schema=f"(Tensor values, Tensor left, Tensor right, {_PATTERN}) -> (Tensor, Tensor)",
)
def masked_sums(values: Tensor, left: Tensor, right: Tensor, *pattern: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, k) Σ_j v_e right_j and (columns, k) Σ_i v_e left_i: what gradients by left and right are made of."""
    _check(left, right, pattern, values=values)
    rows, cols = _positions(left, right, pattern)
    by_row, by_column = left.new_zeros(left.shape), right.new_zeros(right.shape)
    for v, i, j in zip(values.split(CHUNK), rows.split(CHUNK), cols.split(CHUNK), strict=True):
        by_row.index_add_(0, i, v[:, None] * right[j])
        by_column.index_add_(0, j, v[:, None] * left[i])
    return by_row, by_column


@torch.library.custom_op(
    "dmc::masked_residual_grad",
    mutates_args=(),
    schema=f"(Tensor left, Tensor right, {_PATTERN}, Tensor target_by_row, Tensor target_by_column, "
    "Tensor? weights_by_row=None, Tensor? weights_by_column=None) -> (Tensor, Tensor, Tensor)",
)
def masked_residual_grad(left: Tensor, right: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    """½ Σ w r² of r = left_i·right_j − target, and its gradients by left (rows, k) and right (columns, k)."""
    pattern, by_entry = _parted(rest)
    _check(left, right, pattern, **by_entry._asdict())
    residual = masked_product(left, right, *pattern) - by_entry.target_by_row
    weighted = residual if by_entry.weights_by_row is None else by_entry.weights_by_row * residual
    loss = 0.5 * (weighted * residual).sum(dtype=torch.float64)
    return loss.to(left.dtype), *masked_sums(weighted, left, right, *pattern)


def _positions(left: Tensor, right: Tensor, pattern: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """(observed,) row and column of each entry in row order, int64."""
    row_pointers, column_indices, column_pointers, row_indices, _ = pattern
    for pointers, indices, lines in (
        (row_pointers, column_indices, len(right)),
        (column_pointers, row_indices, len(left)),
    ):
        counts = pointers.diff()
        if pointers[0] != 0 or pointers[-1] != len(indices) or (counts < 0).any():
            raise ValueError(
                f"pointers run from {pointers[0]} to {pointers[-1]}; let them ascend from 0 to {len(indices)}"
            )
        for worst in (indices.min(), indices.max()) if len(indices) else ():
            if not 0 <= worst < lines:
                raise ValueError(f"index {worst} is out of range for {lines} lines of the other side")
    return torch.repeat_interleave(row_pointers.diff()), column_indices.long()


# The compiled core, on the processor -----------------------------------------------------------------------------


class _Checked(NamedTuple):
    """What the core made of a tensor of indices, and what it was made from."""

    entries: Any
    pointers: TensorWeakRef
    stamp: tuple[int, int, int]  # lines of the other side, and how often each tensor had been written to


# The core checks every index when it makes its entries, and cuts them into pieces of work: once for each plan.
_entries_of = WeakTensorKeyDictionary()


def _entries(pointers: Tensor, indices: Tensor, other_lines: int) -> Any:
    # A tensor made in inference mode does not count how often it is written to, and is checked each time.
    counted = not (pointers.is_inference() or indices.is_inference())
    stamp = (other_lines, pointers._version, indices._version) if counted else (other_lines, -1, -1)
    found = _entries_of.get(indices) if counted else None
    if found is not None and found.stamp == stamp and found.pointers() is pointers:
        return found.entries
    kind = _compiled.core.Entries if indices.dtype == torch.int32 else _compiled.core.WideEntries
    # _array detaches: the entries hold the memory, not the tensor that they are kept under.
    entries = kind(_array(pointers), _array(indices), other_lines)
    if counted:
        _entries_of[indices] = _Checked(entries, TensorWeakRef(pointers), stamp)
    return entries


def _array(tensor: Tensor) -> np.ndarray:
    """The tensor's memory as an array; copied only if it has gaps."""
    return tensor.detach().contiguous().numpy()


def _product_in_core(left: Tensor, right: Tensor, *pattern: Tensor) -> Tensor:
    _check(left, right, pattern)
    entries = _entries(pattern[0], pattern[1], len(right))
    run = _compiled.core.masked_product
    return torch.from_numpy(run(entries, _array(left), _array(right), torch.get_num_threads()))


def _sums_in_core(values: Tensor, left: Tensor, right: Tensor, *pattern: Tensor) -> tuple[Tensor, Tensor]:
    _check(left, right, pattern, values=values)
    row_pointers, column_indices, column_pointers, row_indices, column_order = pattern
    by_column = values.index_select(0, column_order)

    def sums(entries: Any, own: Tensor, other: Tensor, v: Tensor) -> Tensor:
        # Against a side that is zero the residual is minus the target, and its gradient Σ v other.
        zero = _array(own.new_zeros(own.shape))
        run = _compiled.core.residual_gradient
        return torch.from_numpy(run(entries, zero, _array(other), _array(-v), None, torch.get_num_threads())[1])

    return (
        sums(_entries(row_pointers, column_indices, len(right)), left, right, values),
        sums(_entries(column_pointers, row_indices, len(left)), right, left, by_column),
    )


def _residual_grad_in_core(left: Tensor, right: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    pattern, by_entry = _parted(rest)
    _check(left, right, pattern, **by_entry._asdict())
    row_pointers, column_indices, column_pointers, row_indices, _ = pattern
    L, R = _array(left), _array(right)
    target, target_by_column, weights, weights_by_column = (None if a is None else _array(a) for a in by_entry)
    run, threads = _compiled.core.residual_gradient, torch.get_num_threads()
    loss, d_left = run(_entries(row_pointers, column_indices, len(R)), L, R, target, weights, threads)
    columns = _entries(column_pointers, row_indices, len(L))
    _, d_right = run(columns, R, L, target_by_column, weights_by_column, threads)
    return torch.tensor(loss, dtype=left.dtype), torch.from_numpy(d_left), torch.from_numpy(d_right)


if _compiled.core is not None:
    masked_product.register_kernel("cpu", _product_in_core)
    masked_sums.register_kernel("cpu", _sums_in_core)
    masked_residual_grad.register_kernel("cpu", _residual_grad_in_core)


# What belongs to no device: arguments, shapes, derivatives, autocast ------------------------------------------------


class _ByEntry(NamedTuple):
    target_by_row: Tensor
    target_by_column: Tensor
    weights_by_row: Tensor | None = None
    weights_by_column: Tensor | None = None


def _parted(rest: tuple[Any, ...]) -> tuple[tuple[Tensor, ...], _ByEntry]:
    return rest[:_N_PATTERN], _ByEntry(*rest[_N_PATTERN:])


def _check(left: Tensor, right: Tensor, pattern: tuple[Tensor, ...], **by_entry: Tensor | None) -> None:
    """Refuse tensors that do not belong together; the indices are checked where they are used."""
    _check_kinds(left, right, pattern, **by_entry)
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise ValueError(
            f"left has shape {tuple(left.shape)} and right {tuple(right.shape)}; give two matrices of one width"
        )
    row_pointers, column_indices, column_pointers, row_indices, column_order = pattern
    for name, side, pointers, lines in (
        ("left", left, row_pointers, "rows"),
        ("right", right, column_pointers, "columns"),
    ):
        if pointers.ndim != 1 or len(pointers) != len(side) + 1:
            raise ValueError(
                f"{name} has {len(side)} lines and the pattern pointers of shape {tuple(pointers.shape)}, those of "
                f"{len(pointers) - 1} {lines}; give one line for each of the {lines}"
            )
    given = {"row_indices": row_indices, "column_order": column_order, **by_entry}
    for name, tensor in given.items():
        if tensor is not None and (column_indices.ndim != 1 or tensor.shape != column_indices.shape):
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)} and column_indices {tuple(column_indices.shape)}; "
                "give one value for each entry"
            )
    if (by_entry.get("weights_by_row") is None) != (by_entry.get("weights_by_column") is None):
        raise ValueError("weights were given in one order only; give them by row and by column")


def _check_kinds(left: Tensor, right: Tensor, pattern: tuple[Tensor, ...], **by_entry: Tensor | None) -> None:
    """Devices and dtypes: all that is known of a fake tensor whose sizes are symbols."""
    values = {"left": left, "right": right, **{name: t for name, t in by_entry.items() if t is not None}}
    names = ("row_pointers", "column_indices", "column_pointers", "row_indices", "column_order")
    for name, tensor in {**values, **dict(zip(names, pattern, strict=True))}.items():
        if tensor.device != left.device:
            raise ValueError(f"left is on {left.device} and {name} on {tensor.device}; move them to one device")
    for name, tensor in values.items():
        if tensor.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"{name} is {tensor.dtype}; make it torch.float32 or torch.float64, or use torch.autocast")
        if tensor.dtype != left.dtype:
            raise TypeError(f"left is {left.dtype} and {name} {tensor.dtype}; make them one dtype")
    for name, tensor in zip(names, pattern, strict=True):
        allowed = (torch.int64,) if "pointers" in name else (torch.int32, torch.int64)
        if tensor.dtype not in allowed:
            raise TypeError(f"{name} is {tensor.dtype}; make it {' or '.join(map(str, allowed))}")


@masked_product.register_fake
def _(left: Tensor, right: Tensor, *pattern: Tensor) -> Tensor:
    _check_kinds(left, right, pattern)
    return left.new_empty(pattern[1].shape)


@masked_sums.register_fake
def _(values: Tensor, left: Tensor, right: Tensor, *pattern: Tensor) -> tuple[Tensor, Tensor]:
    _check_kinds(left, right, pattern, values=values)
    return left.new_empty(left.shape), right.new_empty(right.shape)


@masked_residual_grad.register_fake
def _(left: Tensor, right: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    pattern, by_entry = _parted(rest)
    _check_kinds(left, right, pattern, **by_entry._asdict())
    return left.new_empty(()), left.new_empty(left.shape), right.new_empty(right.shape)


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _product_backward(ctx: Any, d_observed: Tensor) -> tuple[Tensor | None, ...]:
    return *masked_sums(d_observed, *ctx.saved_tensors), *(None,) * _N_PATTERN


def _sums_backward(ctx: Any, d_by_row: Tensor, d_by_column: Tensor) -> tuple[Tensor | None, ...]:
    # <by_row, d_by_row> + <by_column, d_by_column> = Σ v (d_by_row_i·right_j + left_i·d_by_column_j)
    values, left, right, *pattern = ctx.saved_tensors
    d_values = masked_product(d_by_row, right, *pattern) + masked_product(left, d_by_column, *pattern)
    return d_values, *masked_sums(values, d_by_row, d_by_column, *pattern), *(None,) * _N_PATTERN


def _keep_gradients(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    if any(ctx.needs_input_grad[2:]):
        raise ValueError(
            "a target or its weights require a gradient, which the fused loss does not have; detach them, or write the "
            "loss with the predictions of the masked product"
        )
    ctx.save_for_backward(*inputs, *output[1:])
    ctx.set_materialize_grads(False)  # a second derivative that nobody asks for is None, and costs nothing


def _loss_backward(
    ctx: Any, d_loss: Tensor | None, dd_left: Tensor | None, dd_right: Tensor | None
) -> tuple[Tensor | None, ...]:
    left, right, *rest, d_left, d_right = ctx.saved_tensors
    pattern, by_entry = _parted(tuple(rest))
    by_left = by_right = None
    if d_loss is not None:
        by_left, by_right = d_loss * d_left, d_loss * d_right
    if dd_left is not None or dd_right is not None:  # d_left and d_right were differentiated in their turn
        dd_left = torch.zeros_like(left) if dd_left is None else dd_left
        dd_right = torch.zeros_like(right) if dd_right is None else dd_right
        residual = masked_product(left, right, *pattern) - by_entry.target_by_row
        along = masked_product(dd_left, right, *pattern) + masked_product(left, dd_right, *pattern)
        if by_entry.weights_by_row is not None:
            residual, along = by_entry.weights_by_row * residual, by_entry.weights_by_row * along
        terms = (masked_sums(along, left, right, *pattern), masked_sums(residual, dd_left, dd_right, *pattern))
        for more_left, more_right in terms:
            by_left = more_left if by_left is None else by_left + more_left
            by_right = more_right if by_right is None else by_right + more_right
    return by_left, by_right, *(None,) * (_N_PATTERN + len(by_entry))


masked_product.register_autograd(_product_backward, setup_context=_keep_inputs)
masked_sums.register_autograd(_sums_backward, setup_context=_keep_inputs)
masked_residual_grad.register_autograd(_loss_backward, setup_context=_keep_gradients)

for _operator in (masked_product, masked_sums, masked_residual_grad):
    for _device in ("cpu", "cuda"):
        _operator.register_autocast(_device, torch.float32)
