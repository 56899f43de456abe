"""The operators as functions: forward mode and every transform of torch.func, against plain torch."""

import numpy as np
import pytest

import kernel_suite as suite

torch = pytest.importorskip("torch")

from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap  # noqa: E402

import torch_cases  # noqa: E402
from dmc.kernels import torch_functions, torch_operators  # noqa: E402

N_PATTERN = torch_operators.N_PATTERN
# torch's own forward mode scripts its decompositions when it is first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")


@pytest.fixture(params=[False, True], ids=["plain", "weighted"])
def given(request):
    """Both sides, the fused function's other arguments, and the rows and columns of the entries."""
    torch.manual_seed(0)
    left, right, *rest = torch_cases.tensors(suite.case(2, np.float64, request.param, "empty rows and columns"))
    rows = torch.repeat_interleave(rest[0].diff())
    return left, right, rest, (rows, rest[1].long())


def both(given):
    """The loss by the fused function, and by plain torch."""
    _, _, rest, (rows, cols) = given
    target = rest[N_PATTERN]
    w = rest[N_PATTERN + 2] if len(rest) > N_PATTERN + 2 else torch.ones_like(target)

    def fused(left, right):
        return torch_functions.masked_residual_grad(left, right, *rest)[0]

    def plain(left, right):
        return 0.5 * (w * ((left @ right.T)[rows, cols] - target) ** 2).sum()

    return fused, plain


def products(given):
    """The predictions by the masked product, and by plain torch."""
    _, _, rest, (rows, cols) = given
    return (
        lambda left, right: torch_functions.masked_product(left, right, *rest[:N_PATTERN]),
        lambda left, right: (left @ right.T)[rows, cols],
    )


def batch(*sides):
    return tuple(torch.stack([side, side.flip(0), -2 * side]) for side in sides)


TRANSFORMS = {
    "grad": lambda f, a, b: grad(lambda a, b: f(a, b).square().sum(), (0, 1))(a, b),
    "grad of grad": lambda f, a, b: grad(lambda a: grad(lambda b: f(a, b).pow(3).sum())(b).square().sum())(a),
    "vjp": lambda f, a, b: vjp(f, a, b)[1](torch.ones_like(f(a, b))),
    "jvp": lambda f, a, b: jvp(f, (a, b), (torch.ones_like(a), b)),
    "jvp along one side": lambda f, a, b: jvp(lambda b: f(a, b), (b,), (b,)),
    "jacrev": lambda f, a, b: jacrev(f, (0, 1))(a, b),
    "jacfwd": lambda f, a, b: jacfwd(f)(a, b),
    "hessian": lambda f, a, b: hessian(lambda a, b: f(a, b).pow(2).sum(), (0, 1))(a, b),
    "reverse over forward": lambda f, a, b: jacrev(jacfwd(lambda b: f(a, b).pow(2).sum()))(b),
    "vmap": lambda f, a, b: vmap(f)(*batch(a, b)),
    "vmap along the last axis": lambda f, a, b: vmap(lambda a: f(a, b), in_dims=2)(torch.stack([a, 2 * a], 2)),
    "vmap of grad": lambda f, a, b: vmap(grad(lambda a: f(a, b).square().sum()))(*batch(a)),
    "grad of vmap": lambda f, a, b: grad(lambda b: vmap(lambda a: f(a, b))(*batch(a)).square().sum())(b),
    "vmap of vmap": lambda f, a, b: vmap(lambda a: vmap(lambda b: f(a, b))(*batch(b)))(*batch(a)),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("functions", [both, products], ids=["loss", "product"])
def test_transforms(given, functions, transform):
    ours, plain = (TRANSFORMS[transform](f, *given[:2]) for f in functions(given))
    torch.testing.assert_close(ours, plain, rtol=1e-11, atol=1e-11)


def test_of_the_values_and_of_the_gradients(given):
    left, right, rest, (rows, cols) = given
    values = rest[N_PATTERN]

    def plain_sums(v, a, b):
        return (
            torch.zeros_like(a).index_add(0, rows, v[:, None] * b[cols]),
            torch.zeros_like(b).index_add(0, cols, v[:, None] * a[rows]),
        )

    def ours(v, a, b):
        return torch_functions.masked_sums(v, a, b, *rest[:N_PATTERN])

    for transform in (lambda f: jacrev(f, (0, 1)), lambda f: jacfwd(f, (0, 2)), lambda f: jacfwd(jacrev(f, 2), 0)):
        got, wanted = (transform(f)(values, left, right) for f in (ours, plain_sums))
        torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-11)
    fused, plain = both(given)
    got = jacfwd(lambda a: torch_functions.masked_residual_grad(a, right, *rest)[2])(left)
    torch.testing.assert_close(got, jacfwd(grad(plain, 1))(left, right), rtol=1e-11, atol=1e-11)
    many = torch.stack([rest[N_PATTERN], 3 * rest[N_PATTERN]])  # a batch of targets, seen by both orders
    order = rest[N_PATTERN - 1].long()
    by_target = vmap(
        lambda t: torch_functions.masked_residual_grad(
            left, right, *rest[:N_PATTERN], t, t[order], *rest[N_PATTERN + 2 :]
        )[0]
    )(many)
    torch.testing.assert_close(by_target[0], fused(left, right), rtol=1e-12, atol=0)


def test_forward_and_backward_mode_without_transforms(given):
    left, right, *_ = given
    inputs = [side.clone().requires_grad_() for side in (left, right)]
    for functions in (both, products):
        ours = functions(given)[0]
        assert torch.autograd.gradcheck(ours, inputs, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(ours, inputs, check_fwd_over_rev=True)


def test_half_precision_under_autocast():
    left, right, *rest = torch_cases.tensors(suite.case(3, np.float32, False, "empty rows and columns"))
    left.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = left @ torch.eye(3)
        assert half.dtype == torch.bfloat16
        predicted = torch_functions.masked_product(half, right, *rest[:N_PATTERN])
        loss = torch_functions.masked_residual_grad(half, right, *rest)[0]
    assert predicted.dtype == loss.dtype == torch.float32
    (loss + predicted.sum()).backward()
    assert left.grad.dtype == torch.float32
    assert left.grad.any()


@pytest.mark.parametrize("place", [N_PATTERN, N_PATTERN + 1])
def test_targets_are_not_differentiated(given, place):
    left, right, rest, _ = given

    def loss(target):
        return torch_functions.masked_residual_grad(left, right, *rest[:place], target, *rest[place + 1 :])[0]

    for derivative in (grad(loss), lambda t: jvp(loss, (t,), (t,))):
        with pytest.raises(ValueError, match="which the fused loss does not have; detach them, or write the loss"):
            derivative(rest[place])


def test_the_operators_themselves_are_mapped(given):
    """torch.vmap of torch.ops.dmc goes by the rule: torch's own loop would warn, and a warning is an error here."""
    left, right, rest, _ = given
    pattern = rest[:N_PATTERN]
    got = vmap(lambda a: torch.ops.dmc.masked_product(a, right, *pattern))(*batch(left))
    assert torch.equal(got[1], torch.ops.dmc.masked_product(left.flip(0), right, *pattern))
    losses, d_left, _ = vmap(lambda a: torch.ops.dmc.masked_residual_grad(a, right, *rest))(*batch(left))
    assert losses.shape == (3,)
    assert torch.equal(d_left[0], torch.ops.dmc.masked_residual_grad(left, right, *rest)[1])


def test_an_empty_batch_is_refused(given):
    left, right, rest, _ = given
    for product in (torch_functions.masked_product, torch.ops.dmc.masked_product):
        with pytest.raises(ValueError, match=r"torch\.vmap got an empty batch"):
            vmap(lambda a, product=product: product(a, right, *rest[:N_PATTERN]))(left[None][:0])
