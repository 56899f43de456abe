"""The masked product as torch operators: torch.ops.dmc.masked_product, masked_residual_grad and masked_sums.

    masked_product(left, right, *pattern) -> (observed,)                           p_e = left_i·right_j, e = (i, j)
    masked_sums(values, left, right, *pattern) -> (rows, k), (columns, k)          Σ_j v_e right_j and Σ_i v_e left_i
    masked_residual_grad(left, right, *pattern, target_by_row, target_by_column, weights_by_row?, weights_by_column?,
                         gathered?) -> loss, d_left, d_right                                as in `dmc.kernels`

with left (rows, k) and right (columns, k) of one dtype, float32 or float64 (half precision under autocast: cast to
float32), and the pattern's five tensors: row_pointers (rows + 1,) int64, column_indices (observed,) int32 or int64,
column_pointers (columns + 1,), row_indices (observed,), and column_order (observed,), the place in row order of each
entry in column order. `pattern_tensors` makes them. Values, predictions, targets and weights are (observed,).

gathered="bfloat16" or "float16" (float32 only): each of the two passes rounds the side that it gathers, which halves
the traffic; the loss is that of the pass over the rows.

Derivatives are made of these three operators again, so those of any order exist; rounding has none, and neither have
targets and weights. The operators themselves know backward mode and torch.vmap; `torch_functions` has them for
torch.func.grad and its relatives and for forward mode, in which torch takes an operator's derivative for zero.

Here are, in this order: plain torch for any device, the compiled kernels (`torch_compiled`) for the processor and GPUs,
and what belongs to no device. A CUDA graph may capture a call that was made once outside of one, with the same pattern;
it needs the pattern's tensors as long as it is replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from dmc import _arrays, _checks, _extensions
from dmc.kernels import reference, torch_compiled
from dmc.pattern import COLUMNS, ROWS, Pattern, SparseIndex

_PATTERN = "Tensor row_pointers, Tensor column_indices, Tensor column_pointers, Tensor row_indices, Tensor column_order"
N_PATTERN = 5


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
    rp, ci, cp, ri, order = (_arrays.place(array, pattern.device or "cpu") for array in arrays)
    return rp, ci, cp, ri, order


def line_tensors(pattern: Pattern, side: int) -> tuple[Tensor, Tensor]:
    """Pointers and indices of one side of a pattern of tensors, as the compiled passes take them."""
    pointers, indices = pattern.entries(side)
    return cast(Tensor, pointers), cast(Tensor, indices)


# Plain torch, any device -----------------------------------------------------------------------------------------


def _plain_product(left: Tensor, right: Tensor, *pattern: Tensor) -> Tensor:
    _check(left, right, pattern)
    return cast(Tensor, reference.masked_product(left, right, _pattern(left, right, pattern)))


def _plain_sums(values: Tensor, left: Tensor, right: Tensor, *pattern: Tensor) -> tuple[Tensor, Tensor]:
    _check(left, right, pattern, values=values)
    checked, by_column = _pattern(left, right, pattern), values.index_select(0, pattern[-1])
    of_rows = reference.weighted_sums(ROWS, right, checked, values)
    of_columns = reference.weighted_sums(COLUMNS, left, checked, by_column)
    return cast(Tensor, of_rows), cast(Tensor, of_columns)


def _plain_residual_grad(left: Tensor, right: Tensor, *rest: Tensor | str | None) -> tuple[Tensor, Tensor, Tensor]:
    pattern, by_entry, gathered = _parted(rest)
    _check(left, right, pattern, gathered, **by_entry._asdict())
    checked, half = _pattern(left, right, pattern), torch_compiled.HALVES.get(gathered or "", left.dtype)
    target, target_by_column, w, w_by_column = by_entry
    rows = left, right.to(half).to(right.dtype)
    columns = right, left.to(half).to(left.dtype)
    loss, d_left = reference.residual_gradient(ROWS, *rows, checked, target, w)
    _, d_right = reference.residual_gradient(COLUMNS, *columns, checked, target_by_column, w_by_column)
    return left.new_tensor(loss), cast(Tensor, d_left), cast(Tensor, d_right)


def _pattern(left: Tensor, right: Tensor, pattern: tuple[Tensor, ...]) -> Pattern:
    """What `pattern_tensors` took apart, its indices checked."""
    row_pointers, column_indices, column_pointers, row_indices, column_order = pattern
    torch_compiled.check_lines(row_pointers, column_indices, len(right))
    torch_compiled.check_lines(column_pointers, row_indices, len(left))
    found = Pattern((len(left), len(right)), SparseIndex(row_pointers, column_indices))
    made = {"by_column": SparseIndex(column_pointers, row_indices), "column_order": column_order}
    vars(found).update(made)  # in the place of the cached properties
    return found


masked_product = torch.library.custom_op(
    "dmc::masked_product",
    _plain_product,
    mutates_args=(),
    schema=f"(Tensor left, Tensor right, {_PATTERN}) -> Tensor",
)
masked_sums = torch.library.custom_op(
    "dmc::masked_sums",
    _plain_sums,
    mutates_args=(),
    schema=f"(Tensor values, Tensor left, Tensor right, {_PATTERN}) -> (Tensor, Tensor)",
)
masked_residual_grad = torch.library.custom_op(
    "dmc::masked_residual_grad",
    _plain_residual_grad,
    mutates_args=(),
    schema=f"(Tensor left, Tensor right, {_PATTERN}, Tensor target_by_row, Tensor target_by_column, "
    "Tensor? weights_by_row=None, Tensor? weights_by_column=None, str? gathered=None) -> (Tensor, Tensor, Tensor)",
)


# The compiled kernels ----------------------------------------------------------------------------------------------


_PASSES: dict[str, torch_compiled.Passes] = {}  # by the kind of device


def passes_for(own: Tensor, *indices: Tensor) -> torch_compiled.Passes | None:
    """The compiled kernels that serve such tensors; None where there are none."""
    passes = _PASSES.get(own.device.type)
    return passes if passes is not None and passes.serves(own, *indices) else None


def register(device: str, passes: torch_compiled.Passes) -> None:
    """Let compiled kernels serve one kind of device; what they do not take is left to plain torch."""
    _PASSES[device] = passes

    def product(left: Tensor, right: Tensor, *pattern: Tensor) -> Tensor:
        _check(left, right, pattern)
        row_pointers, column_indices, *_ = pattern
        if not passes.serves(left, column_indices):
            return _plain_product(left, right, *pattern)
        return passes.product(row_pointers, column_indices, left, right)

    def sums(values: Tensor, left: Tensor, right: Tensor, *pattern: Tensor) -> tuple[Tensor, Tensor]:
        _check(left, right, pattern, values=values)
        row_pointers, column_indices, column_pointers, row_indices, column_order = pattern
        if not passes.serves(left, column_indices, row_indices):
            return _plain_sums(values, left, right, *pattern)
        by_row = passes.sums(row_pointers, column_indices, right, values)
        return by_row, passes.sums(column_pointers, row_indices, left, values.index_select(0, column_order))

    def residual_grad(left: Tensor, right: Tensor, *rest: Tensor | str | None) -> tuple[Tensor | None, Tensor, Tensor]:
        pattern, by_entry, gathered = _parted(rest)
        _check(left, right, pattern, gathered, **by_entry._asdict())
        row_pointers, column_indices, column_pointers, row_indices, _ = pattern
        if not passes.serves(left, column_indices, row_indices):
            return _plain_residual_grad(left, right, *rest)
        target, target_by_column, w, w_by_column = by_entry
        loss, d_left = passes.gradient(row_pointers, column_indices, left, right, target, w, gathered, True)
        _, d_right = passes.gradient(
            column_pointers, row_indices, right, left, target_by_column, w_by_column, gathered, False
        )
        return loss, d_left, d_right

    masked_product.register_kernel(device, product)
    masked_sums.register_kernel(device, sums)
    masked_residual_grad.register_kernel(device, residual_grad)


if _extensions.core is not None:
    register("cpu", torch_compiled.core)
if _extensions.cuda is not None and torch.version.cuda is not None:  # a torch for ROCm says "cuda" too
    register("cuda", torch_compiled.cuda)


# What belongs to no device: arguments, shapes, derivatives, autocast ------------------------------------------------


class Functions(NamedTuple):
    """What derivatives are made of: the operators themselves, or what wraps them for torch.func."""

    product: Callable[..., Tensor]
    sums: Callable[..., tuple[Tensor, Tensor]]


_OPERATORS = Functions(masked_product, masked_sums)


class _ByEntry(NamedTuple):
    target_by_row: Tensor
    target_by_column: Tensor
    weights_by_row: Tensor | None = None
    weights_by_column: Tensor | None = None


def _parted(rest: tuple[Any, ...]) -> tuple[tuple[Tensor, ...], _ByEntry, str | None]:
    """What the fused operator is given after both sides: the pattern, what each entry has, and `gathered`."""
    by_entry = rest[N_PATTERN : N_PATTERN + 4]
    return rest[:N_PATTERN], _ByEntry(*by_entry), rest[-1] if len(rest) > N_PATTERN + 4 else None


def _check(
    left: Tensor,
    right: Tensor,
    pattern: tuple[Tensor, ...],
    gathered: str | None = None,
    **by_entry: Tensor | None,
) -> None:
    """Refuse tensors that do not belong together; the indices are checked where they are used."""
    _check_kinds(left, right, pattern, gathered, **by_entry)
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise ValueError(
            f"left has shape {tuple(left.shape)} and right {tuple(right.shape)}; give two matrices of one width"
        )
    row_pointers, column_indices, column_pointers, row_indices, column_order = pattern
    for name, side, pointers, line in (
        ("left", left, row_pointers, "row"),
        ("right", right, column_pointers, "column"),
    ):
        if pointers.ndim != 1:
            raise ValueError(f"{line}_pointers has shape {tuple(pointers.shape)}; give a vector")
        if len(pointers) != len(side) + 1:
            raise ValueError(
                f"{name} has {len(side)} rows; give {len(pointers) - 1}, one for each {line} of the matrix"
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


def _check_kinds(
    left: Tensor,
    right: Tensor,
    pattern: tuple[Tensor, ...],
    gathered: str | None = None,
    **by_entry: Tensor | None,
) -> None:
    """Devices and dtypes: all that is known of a fake tensor whose sizes are symbols."""
    if gathered is not None:
        _checks.choice(gathered, "gathered", tuple(torch_compiled.HALVES))
    values = {"left": left, "right": right, **{name: t for name, t in by_entry.items() if t is not None}}
    names = ("row_pointers", "column_indices", "column_pointers", "row_indices", "column_order")
    for name, tensor in {**values, **dict(zip(names, pattern, strict=True))}.items():
        if tensor.device != left.device:
            called = f"the positions ({name})" if name in names else name
            raise ValueError(f"left is on {left.device} and {called} on {tensor.device}; move them to one device")
    for name, tensor in values.items():
        if tensor.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"{name} is {tensor.dtype}; make it torch.float32 or torch.float64, or use torch.autocast")
        if tensor.dtype != left.dtype:
            raise TypeError(f"left is {left.dtype} and {name} {tensor.dtype}; make them one dtype")
    if gathered is not None and left.dtype != torch.float32:
        raise TypeError(f"gathered is {gathered!r} and left {left.dtype}; only torch.float32 is rounded: leave it out")
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
def _(left: Tensor, right: Tensor, *rest: Tensor | str | None) -> tuple[Tensor, Tensor, Tensor]:
    pattern, by_entry, gathered = _parted(rest)
    _check_kinds(left, right, pattern, gathered, **by_entry._asdict())
    return left.new_empty(()), left.new_empty(left.shape), right.new_empty(right.shape)


def keep_inputs(ctx: Any, inputs: tuple[Tensor, ...], output: object) -> None:
    ctx.save_for_backward(*inputs)


def product_backward(ctx: Any, d_observed: Tensor, functions: Functions | None = None) -> tuple[Tensor | None, ...]:
    functions = functions or _OPERATORS
    return *functions.sums(d_observed, *ctx.saved_tensors), *(None,) * N_PATTERN


def sums_backward(
    ctx: Any, d_by_row: Tensor, d_by_column: Tensor, functions: Functions | None = None
) -> tuple[Tensor | None, ...]:
    # <by_row, d_by_row> + <by_column, d_by_column> = Σ v (d_by_row_i·right_j + left_i·d_by_column_j)
    product, sums = functions or _OPERATORS
    values, left, right, *pattern = ctx.saved_tensors
    d_values = product(d_by_row, right, *pattern) + product(left, d_by_column, *pattern)
    return d_values, *sums(values, d_by_row, d_by_column, *pattern), *(None,) * N_PATTERN


def keep_gradients(ctx: Any, inputs: tuple[Tensor | str | None, ...], output: tuple[Tensor, ...]) -> None:
    refuse_differentiated_targets(ctx.needs_input_grad[2:])
    ctx.save_for_backward(*inputs[:-1], *output[1:])  # all but `gathered`, which is no tensor
    ctx.set_materialize_grads(False)  # a second derivative that nobody asks for is None, and costs nothing


def refuse_differentiated_targets(differentiated: Iterable[bool]) -> None:
    """Of what the fused loss is given after both sides, nothing may be differentiated."""
    if any(differentiated):
        raise ValueError(
            "a target or its weights require a gradient, which the fused loss does not have; detach them, or write the "
            "loss with the predictions of the masked product"
        )


def loss_backward(
    ctx: Any,
    d_loss: Tensor | None,
    dd_left: Tensor | None,
    dd_right: Tensor | None,
    functions: Functions | None = None,
) -> tuple[Tensor | None, ...]:
    left, right, *rest, d_left, d_right = ctx.saved_tensors
    by_left = by_right = None
    if d_loss is not None:
        by_left, by_right = d_loss * d_left, d_loss * d_right
    if dd_left is not None or dd_right is not None:  # d_left and d_right were differentiated in their turn
        dd_left = torch.zeros_like(left) if dd_left is None else dd_left
        dd_right = torch.zeros_like(right) if dd_right is None else dd_right
        more_left, more_right = hessian_product(left, right, tuple(rest), dd_left, dd_right, functions)
        by_left = more_left if by_left is None else by_left + more_left
        by_right = more_right if by_right is None else by_right + more_right
    return by_left, by_right, *(None,) * (N_PATTERN + len(_ByEntry._fields) + 1)


def hessian_product(
    left: Tensor,
    right: Tensor,
    rest: tuple[Tensor | None, ...],
    along_left: Tensor,
    along_right: Tensor,
    functions: Functions | None = None,
) -> tuple[Tensor, Tensor]:
    """The derivative of the fused loss's gradient along a direction; `rest`: the pattern and what each entry has."""
    product, sums = functions or _OPERATORS
    pattern, by_entry, _ = _parted(rest)
    residual = product(left, right, *pattern) - by_entry.target_by_row
    along = product(along_left, right, *pattern) + product(left, along_right, *pattern)
    if by_entry.weights_by_row is not None:
        residual, along = by_entry.weights_by_row * residual, by_entry.weights_by_row * along
    by_left, by_right = sums(along, left, right, *pattern)
    more_left, more_right = sums(residual, along_left, along_right, *pattern)
    return by_left + more_left, by_right + more_right


def one_by_one(operator: Callable[..., Tensor | tuple[Tensor, ...]]) -> Callable[..., tuple[Any, Any]]:
    """A rule for torch.vmap: the operator on each of a batch, which has as many passes over the entries."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, Any]:
        if not info.batch_size:
            raise ValueError("torch.vmap got an empty batch; give at least one element")
        batches = [None if dim is None else value.unbind(dim) for value, dim in zip(inputs, in_dims, strict=True)]
        outputs = [
            operator(*(value if batch is None else batch[i] for value, batch in zip(inputs, batches, strict=True)))
            for i in range(info.batch_size)
        ]
        if isinstance(outputs[0], Tensor):
            return torch.stack(outputs), 0  # type: ignore[arg-type]
        parts = tuple(torch.stack(part) for part in zip(*outputs, strict=True))
        return parts, (0,) * len(parts)

    return rule


masked_product.register_autograd(product_backward, setup_context=keep_inputs)
masked_sums.register_autograd(sums_backward, setup_context=keep_inputs)
masked_residual_grad.register_autograd(loss_backward, setup_context=keep_gradients)

for _operator in (masked_product, masked_sums, masked_residual_grad):
    _operator.register_vmap(one_by_one(_operator))
    for _device in ("cpu", "cuda"):
        _operator.register_autocast(_device, torch.float32)
