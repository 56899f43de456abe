"""The torch operators: against the other kernels, plain torch and finite differences; and refused in words."""

import gc
import re
import subprocess
import sys
from contextlib import ExitStack

import numpy as np
import pytest

import kernel_suite as suite

torch = pytest.importorskip("torch")

import torch_cases  # noqa: E402
from dmc import kernels  # noqa: E402
from dmc.inputs import observe  # noqa: E402
from dmc.kernels import torch_compiled, torch_operators  # noqa: E402
from dmc.observations import Observations  # noqa: E402

OPS = torch.ops.dmc
FUSED = OPS.masked_residual_grad.default


def tensors(case):
    """The arguments of the fused operator, sides that require a gradient."""
    left, right, *rest = torch_cases.tensors(case)
    return left.requires_grad_(), right.requires_grad_(), *rest


def plainly(*operators):
    """A context in which these operators run in plain torch."""
    stack = ExitStack()
    for operator in operators:
        stack.enter_context(operator.set_kernel_enabled("cpu", False))
    return stack


def small(weighted=False, dtype=np.float64, width=3, mask="empty rows and columns"):
    return tensors(suite.case(width, dtype, weighted, mask))


def test_both_orders_of_the_pattern():
    pattern = suite.case(2).pattern
    *_, order = torch_operators.pattern_tensors(pattern)
    rows = torch.from_numpy(pattern.rows.copy())
    assert torch.equal(rows[order], torch.from_numpy(pattern.by_column.indices))


@pytest.mark.parametrize("mask", suite.MASKS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", suite.DTYPES)
def test_as_the_reference(mask, weighted, dtype):
    case = suite.case(5, dtype, weighted, mask)
    left, right, *rest = tensors(case)
    reference = kernels.select("reference")
    tol = 1e-12 if dtype == np.float64 else 1e-4
    predicted = OPS.masked_product(left, right, *rest[:5])
    np.testing.assert_allclose(predicted.detach(), reference.masked_product(*case.inputs), rtol=tol, atol=tol)
    expected = kernels.residual_gradients(reference, *case)
    for got, want in zip(OPS.masked_residual_grad(left, right, *rest), expected, strict=True):
        assert got.dtype == left.dtype
        np.testing.assert_allclose(got.detach(), want, rtol=tol, atol=tol * np.abs(want).max())


@pytest.mark.parametrize("weighted", [False, True])
def test_plain_torch_and_the_core_agree(weighted):
    given = small(weighted)
    values = given[7]
    for operator, inputs in (
        (torch_operators.masked_product, given[:7]),
        (torch_operators.masked_sums, (values, *given[:7])),
        (torch_operators.masked_residual_grad, given),
    ):
        here = operator(*inputs)
        with plainly(operator):
            there = operator(*inputs)
        torch.testing.assert_close(here, there, rtol=1e-13, atol=1e-13)


def test_without_the_core():
    code = (
        "import sys; sys.modules['dmc._core'] = None\n"
        "import numpy as np, torch, dmc\n"
        "from dmc.kernels import torch_operators\n"
        "o = dmc.datasets.planted((9, 7), 2, .5).observations\n"
        "p = torch_operators.pattern_tensors(o.pattern)\n"
        "L, R = (torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in o.shape)\n"
        "t = map(torch.from_numpy, o.pattern.both_orders(o.values))\n"
        "loss, *_ = torch.ops.dmc.masked_residual_grad(L, R, *p, *t)\n"
        "plain = 0.5 * ((L @ R.T)[o.rows, o.cols] - torch.tensor(o.values)).square().sum()\n"
        "got, expected = (torch.autograd.grad(f, [L, R]) for f in (loss, plain))\n"
        "torch.testing.assert_close(got, expected)\n"
        "try: torch.ops.dmc.masked_product(L, R, p[0], p[1] + 7, *p[2:])\n"
        "except ValueError as error: print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "out of range for the 7 rows" in found.stdout


@pytest.mark.parametrize("weighted", [False, True])
def test_torch_finds_the_operators_sound(weighted):
    """With inputs that require a gradient: without them a broken backward pass goes unnoticed."""
    left, right, *rest = given = small(weighted)
    values = torch.rand(len(rest[1]), dtype=left.dtype, requires_grad=True)
    torch.library.opcheck(OPS.masked_product.default, (left, right, *rest[:5]))
    torch.library.opcheck(OPS.masked_sums.default, (values, left, right, *rest[:5]))
    torch.library.opcheck(FUSED, given)


@pytest.mark.parametrize("weighted", [False, True])
def test_derivatives_are_those_of_finite_differences(weighted):
    """First and second ones, through U·W_1·W_2·W_3·Vᵀ."""
    left, right, *rest = small(weighted, width=2)
    torch.manual_seed(0)
    chain = (left, *(torch.randn(2, 2, dtype=left.dtype, requires_grad=True) for _ in range(3)), right)

    def sides(U, W1, W2, W3, V):
        return U @ W1 @ W2 @ W3, V

    def fused(*chain):
        return OPS.masked_residual_grad(*sides(*chain), *rest)

    def product(*chain):
        return OPS.masked_product(*sides(*chain), *rest[:5])

    for f in (fused, product):
        assert torch.autograd.gradcheck(f, chain)
        assert torch.autograd.gradgradcheck(f, chain)
    values = torch.rand(len(rest[1]), dtype=left.dtype, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda *a: OPS.masked_sums(*a, *rest[:5]), (values, left, right))


@pytest.mark.parametrize("core", [True, False], ids=["core", "plain torch"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gathered", ["bfloat16", "float16"])
def test_each_pass_rounds_the_side_that_it_gathers(gathered, weighted, core):
    left, right, *rest = small(weighted, np.float32, width=20)
    half = getattr(torch, gathered)
    loss, d_left, _ = OPS.masked_residual_grad(left, right.to(half).float(), *rest)
    *_, d_right = OPS.masked_residual_grad(left.to(half).float(), right, *rest)
    with plainly(*(() if core else (torch_operators.masked_residual_grad,))):
        got = OPS.masked_residual_grad(left, right, *rest, gathered=gathered)
    torch_cases.agree(got, (loss, d_left, d_right))
    assert not torch.equal(got[1], OPS.masked_residual_grad(left, right, *rest)[1])  # something was rounded


def test_torch_finds_a_rounded_operator_sound():
    left, right, *rest = small(True, np.float32)
    torch.library.opcheck(FUSED, (left, right, *rest, "bfloat16"))
    torch.library.opcheck(FUSED, (left, right, *rest[:7]), {"gathered": "float16"})
    loss, d_left, d_right = OPS.masked_residual_grad(left, right, *rest, gathered="float16")
    (3 * loss).backward()
    assert torch.equal(left.grad, 3 * d_left)
    assert torch.equal(right.grad, 3 * d_right)


def test_a_second_derivative_along_one_side_only():
    left, right, *rest = small(True)
    observed = rest[1].long(), torch.repeat_interleave(rest[0].diff())
    cols, rows = observed

    def plain(left, right):
        residual = (left @ right.T)[rows, cols] - rest[5]
        return 0.5 * (rest[7] * residual * residual).sum()

    for f in (plain, lambda a, b: OPS.masked_residual_grad(a, b, *rest)[0]):
        (d_left,) = torch.autograd.grad(f(left, right), left, create_graph=True)
        second = torch.autograd.grad((d_left**3).sum(), [left, right])
        if f is plain:
            expected = second
    torch.testing.assert_close(second, expected, rtol=1e-11, atol=1e-11)


def test_layout_does_not_matter():
    left, right, *rest = small()
    expected = OPS.masked_residual_grad(left, right, *rest)
    transposed = left.detach().T.contiguous().T
    with_gaps = right.detach().repeat_interleave(2, 0)[::2]
    assert not transposed.is_contiguous()
    assert not with_gaps.is_contiguous()
    gaps = [torch.stack([a, a], 1)[:, 0] for a in rest]
    got = OPS.masked_residual_grad(transposed, with_gaps, *gaps)
    torch.testing.assert_close(got, expected, rtol=1e-14, atol=1e-14)


def test_half_precision_under_autocast():
    left, right, *rest = small(dtype=np.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        core = torch.eye(3)
        product = left @ core
        assert product.dtype == torch.bfloat16
        predicted = OPS.masked_product(product, right, *rest[:5])
        loss, *_ = OPS.masked_residual_grad(product, right, *rest)
        rounded = OPS.masked_residual_grad(product, right, *rest, gathered="float16")[0]
    torch.testing.assert_close(rounded, loss, rtol=1e-3, atol=0)
    assert predicted.dtype == loss.dtype == torch.float32
    loss.backward()
    expected = OPS.masked_residual_grad(left.bfloat16().float(), right, *rest)
    torch.testing.assert_close(loss, expected[0])
    assert left.grad.dtype == torch.float32


def test_indices_are_checked_again_after_they_were_written_to():
    left, right, *rest = small()
    OPS.masked_product(left, right, *rest[:5])
    rest[1] = rest[1].clone()
    OPS.masked_product(left, right, *rest[:5])
    rest[1][0] = len(right)
    with pytest.raises(ValueError, match=f"index {len(right)} is out of range for the {len(right)} rows"):
        OPS.masked_product(left, right, *rest[:5])
    with torch.inference_mode():
        rest[1] = rest[1].clone()
        with pytest.raises(ValueError, match="out of range"):
            OPS.masked_product(left, right, *rest[:5])
        rest[1][0] = 0
        OPS.masked_product(left, right, *rest[:5])


@pytest.mark.skipif("cpu" not in torch_operators.masked_product._backend_fns, reason="there is no compiled core")
def test_checked_indices_are_let_go_with_their_tensor():
    left, right, *rest = small()
    gc.collect()
    before = len(torch_compiled._made)
    OPS.masked_residual_grad(left, right, *rest)
    assert len(torch_compiled._made) == before + 2
    del rest
    gc.collect()
    assert len(torch_compiled._made) == before


def with_(given, **changed):
    names = ["left", "right", "row_pointers", "column_indices", "column_pointers", "row_indices", "column_order"]
    names += ["target_by_row", "target_by_column", "weights_by_row", "weights_by_column"]
    return [changed.get(name, a) for name, a in zip(names, given, strict=False)]


@pytest.mark.parametrize("core", [True, False], ids=["core", "plain torch"])
@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        (lambda g: {"left": g[0].half()}, TypeError, "left is torch.float16; make it torch.float32 or"),
        (lambda g: {"right": g[1].float()}, TypeError, "left is torch.float64 and right torch.float32; make them one"),
        (lambda g: {"left": g[0][1:]}, ValueError, "left has 12 rows; give 13, one for each row of the matrix"),
        (lambda g: {"right": g[1][1:]}, ValueError, "right has 10 rows; give 11, one for each column of the matrix"),
        (lambda g: {"right": g[1][:, 1:]}, ValueError, "right (11, 2); give two matrices of one width"),
        (lambda g: {"left": g[0][0]}, ValueError, "left has shape (3,)"),
        (lambda g: {"target_by_row": g[7][1:]}, ValueError, "give one value for each entry"),
        (lambda g: {"weights_by_column": g[10][:, None]}, ValueError, "weights_by_column has shape"),
        (lambda g: {"weights_by_column": None}, ValueError, "weights were given in one order only"),
        (lambda g: {"row_indices": g[5].float()}, TypeError, "row_indices is torch.float32; make it torch.int32 or"),
        (lambda g: {"row_pointers": g[2].int()}, TypeError, "row_pointers is torch.int32; make it torch.int64"),
        (
            lambda g: {"column_indices": g[3] - 2},
            ValueError,
            "index -1 is out of range for the 11 rows",
        ),
        (lambda g: {"row_indices": g[5] + 9}, ValueError, "is out of range for the 13 rows of the other factor"),
        (lambda g: {"row_pointers": g[2] + 1}, ValueError, "pointers"),
        (lambda g: {"row_pointers": g[2][None]}, ValueError, "row_pointers has shape (1, 14); give a vector"),
        (lambda g: {"right": g[1].to("meta")}, ValueError, "left is on cpu and right on meta; move them to one device"),
        (
            lambda g: {"column_indices": g[3].to("meta")},
            ValueError,
            "and the positions (column_indices) on meta",
        ),
        (lambda g: {"target_by_row": g[7].clone().requires_grad_()}, ValueError, "detach them, or write the loss"),
    ],
)
def test_refused_in_words(core, changes, error, words):
    given = small(weighted=True)
    operators = () if core else (torch_operators.masked_residual_grad, torch_operators.masked_product)
    with (
        plainly(*operators),
        pytest.raises(error, match=re.escape(words)),
    ):
        OPS.masked_residual_grad(*with_(given, **changes(given)))


@pytest.mark.parametrize(
    ("dtype", "gathered", "error", "words"),
    [
        (np.float32, "int8", ValueError, "gathered is 'int8'; choose one of 'bfloat16', 'float16'"),
        (
            np.float64,
            "float16",
            TypeError,
            "gathered is 'float16' and left torch.float64; only torch.float32",
        ),
    ],
)
def test_rounding_refused_in_words(dtype, gathered, error, words):
    left, right, *rest = small(dtype=dtype)
    for device in ("cpu", "meta"):
        given = [a.detach().to(device) for a in (left, right, *rest)]
        with pytest.raises(error, match=re.escape(words)):
            OPS.masked_residual_grad(*given, gathered=gathered)


def test_wide_indices():
    observed = observe(np.where(np.arange(12).reshape(3, 4) % 3 == 0, 1.0, np.nan))
    rp, ci, cp, ri, order = torch_operators.pattern_tensors(observed.pattern)
    L, R = torch.rand(3, 2), torch.rand(4, 2)
    narrow = OPS.masked_product(L, R, rp, ci, cp, ri, order)
    assert torch.equal(narrow, OPS.masked_product(L, R, rp, ci.long(), cp, ri, order.int()))


def test_nothing_observed():
    nothing = observe(np.full((2, 3), np.nan), allow_empty=True)
    pattern = torch_operators.pattern_tensors(nothing.pattern)
    L, R = torch.rand(2, 2, requires_grad=True), torch.rand(3, 2)
    for operators in ((), (torch_operators.masked_product, torch_operators.masked_sums)):
        with plainly(*operators):
            predicted = OPS.masked_product(L, R, *pattern)
            assert predicted.shape == (0,)
            assert not torch.autograd.grad(predicted.sum(), L)[0].any()


def test_read_only_positions_are_copied():
    observed = Observations.from_entries([0, 1], [1, 0], [1.0, 2.0])
    observed.pattern.by_row.indices.flags.writeable = False
    assert torch_operators.pattern_tensors(observed.pattern)[1].tolist() == [1, 0]
