"""The torch operators on a GPU; what can be is run on the processor as well. On the GPU alone: pytest -m gpu."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import gpu_at_hand
import kernel_suite as suite

torch = pytest.importorskip("torch")

from dmc import kernels  # noqa: E402
from dmc.inputs import observe  # noqa: E402
from dmc.kernels import torch_compiled, torch_operators  # noqa: E402
from dmc.nn import CompressedFactorization, MaskedProduct  # noqa: E402
from dmc.observations import Observations  # noqa: E402
from torch_cases import agree, tensors  # noqa: E402

OPS = torch.ops.dmc
WIDTHS = (1, 2, 7, 8, 9, 16, 20, 31, 32, 33, 64, 100, 128, 129, 200, 256)
ROUNDED = ("bfloat16", "float16")


@pytest.fixture
def gpu():
    if gpu_at_hand.missing():
        pytest.skip(gpu_at_hand.missing())
    return "cuda"


def reference(case):
    """Product, loss and gradients in float64, as tensors of the case's dtype."""
    left, right, pattern, target, weights = case
    orders = [type(target)(*(a.astype(np.float64) for a in both)) if both else None for both in (target, weights)]
    wide = suite.Case(left.astype(np.float64), right.astype(np.float64), pattern, *orders)
    return [
        torch.as_tensor(a, dtype=torch.from_numpy(left).dtype) for a in suite.answers(kernels.select("reference"), wide)
    ]


def huge(dtype, width):
    """A row of 100,000 entries, between rows of a few or none."""
    rng = np.random.default_rng(width)
    rows = np.r_[np.full(100_000, 3), np.repeat([1, 6], 40), np.arange(8, 60)]
    cols = np.r_[np.arange(100_000), rng.choice(100_001, 40, False), rng.choice(100_001, 40, False), np.full(52, 5)]
    observed = Observations.from_entries(rows, cols, rng.standard_normal(len(rows)).astype(dtype), (61, 100_001))
    sides = (rng.standard_normal((n, width)).astype(dtype) for n in observed.shape)
    weights = observed.pattern.both_orders(rng.random(len(rows)).astype(dtype))
    return suite.Case(*sides, observed.pattern, observed.pattern.both_orders(observed.values), weights)


def check(case, device):
    """All three operators against the reference."""
    product, *fused = reference(case)
    left, right, *rest = tensors(case, device)
    got = OPS.masked_product(left, right, *rest[:5]), *OPS.masked_residual_grad(left, right, *rest)
    assert all(a.device.type == device for a in got)
    agree(got, (product, *fused))
    zero = torch.zeros_like(left), torch.zeros_like(right)
    # Σ v other is what the gradients are of, against a prediction of 0 and a target of −v.
    by_row, by_column = -rest[5], -rest[6]
    sums = OPS.masked_sums(rest[5], left, right, *rest[:5])
    agree(sums[:1], OPS.masked_residual_grad(zero[0], right, *rest[:5], by_row, by_column)[1:2])
    agree(sums[1:], OPS.masked_residual_grad(left, zero[1], *rest[:5], by_row, by_column)[2:])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", suite.DTYPES)
def test_operators_agree_with_the_reference(dtype, width, device):
    check(suite.case(width, dtype, weighted=width % 2 == 0), device)


@pytest.mark.parametrize("mask", suite.ODD)
@pytest.mark.parametrize("dtype", suite.DTYPES)
def test_odd_patterns(dtype, mask, device):
    check(suite.case(20, dtype, weighted=True, mask=mask), device)


@pytest.mark.parametrize("width", [8, 20, 256])
@pytest.mark.parametrize("dtype", suite.DTYPES)
def test_a_row_of_100_000_entries_among_empty_ones(dtype, width, device):
    check(huge(dtype, width), device)


@pytest.mark.gpu
def test_the_kernels_serve_and_not_plain_torch(gpu):
    """All else would hold without them too."""
    left, right, *rest = tensors(suite.case(20, np.float32), gpu)
    assert torch_compiled.cuda.serves(left, rest[1], rest[3])
    before = len(torch_compiled._made)
    OPS.masked_residual_grad(left, right, *rest)
    assert len(torch_compiled._made) == before + 2
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch_operators, "_plain_product", None)  # plain torch cannot be reached
        patched.setattr(torch_operators, "_plain_sums", None)
        OPS.masked_sums(rest[5], left, right, *rest[:5])
        OPS.masked_product(left, right, *rest[:5])


@pytest.mark.parametrize("kind", ["wide factors", "int64 indices"])
def test_plain_torch_has_the_rest(kind, device):
    check(suite.case(300) if kind == "wide factors" else suite.case(5, index=np.int64), device)


@pytest.mark.parametrize("gathered", ROUNDED)
@pytest.mark.parametrize("width", [1, 8, 20, 64, 200, 256])
def test_each_pass_rounds_the_side_that_it_gathers(width, gathered, device):
    left, right, *rest = tensors(suite.case(width, np.float32, weighted=True), device)
    half = getattr(torch, gathered)
    loss, d_left, _ = OPS.masked_residual_grad(left, right.to(half).float(), *rest)
    *_, d_right = OPS.masked_residual_grad(left.to(half).float(), right, *rest)
    agree(OPS.masked_residual_grad(left, right, *rest, gathered=gathered), (loss, d_left, d_right))


@pytest.mark.parametrize("gathered", [None, *ROUNDED])
def test_results_are_bitwise_the_same_in_every_run(gathered, device):
    left, right, *rest = tensors(huge(np.float32, 20), device)
    first = OPS.masked_residual_grad(left, right, *rest, gathered=gathered)
    product = OPS.masked_product(left, right, *rest[:5])
    for _ in range(5):
        rest[1], rest[3] = rest[1].clone(), rest[3].clone()  # with another plan, too
        assert all(map(torch.equal, OPS.masked_residual_grad(left, right, *rest, gathered=gathered), first))
        assert torch.equal(OPS.masked_product(left, right, *rest[:5]), product)


def test_what_is_not_finite_stays_visible(device):
    for bad in (float("nan"), float("inf")):
        for gathered in (None, *ROUNDED):
            left, right, *rest = tensors(suite.case(20, np.float32, mask="all observed"), device)
            right[1, 2] = bad
            loss, d_left, _ = OPS.masked_residual_grad(left, right, *rest, gathered=gathered)
            assert not loss.isfinite()
            assert not d_left.isfinite().any()


def test_float16_keeps_its_smallest_and_largest_numbers(device):
    left, right, *rest = tensors(suite.case(8, np.float32, mask="single entry"), device)
    exact = torch.tensor([2.0**-24, 3 * 2.0**-24, 2.0**-14, 65504.0, -65504.0, -(2.0**-24), 0.0, 1.0], device=device)
    right[6] = exact
    left[3] = torch.eye(8)[7]  # the prediction is 1, and the gradient what was gathered
    rest[5].zero_()
    got = OPS.masked_residual_grad(left, right, *rest, gathered="float16")
    assert torch.equal(got[1][3], exact)


def test_out_of_range_is_refused(device):
    left, right, *rest = tensors(suite.case(3), device)
    rest[1] = rest[1] + 3
    with pytest.raises(ValueError, match="is out of range for the 11 rows of the other factor"):
        OPS.masked_product(left, right, *rest[:5])


def test_nothing_observed(device):
    pattern = torch_operators.pattern_tensors(observe(np.full((2, 3), np.nan), allow_empty=True).pattern)
    left, right, none = torch.rand(2, 2), torch.rand(3, 2), torch.rand(0)
    given = [a.to(device) for a in (left, right, *pattern, none, none)]
    loss, d_left, d_right = OPS.masked_residual_grad(*given)
    assert (float(loss), float(d_left.abs().sum()), float(d_right.abs().sum())) == (0, 0, 0)


# What torch does with the operators -------------------------------------------------------------------------------


def test_torch_finds_the_operators_sound(device):
    left, right, *rest = tensors(suite.case(3, np.float32, weighted=True), device)
    left.requires_grad_()
    right.requires_grad_()
    values = torch.rand(len(rest[1]), device=device, requires_grad=True)
    torch.library.opcheck(OPS.masked_product.default, (left, right, *rest[:5]))
    torch.library.opcheck(OPS.masked_sums.default, (values, left, right, *rest[:5]))
    torch.library.opcheck(OPS.masked_residual_grad.default, (left, right, *rest))
    torch.library.opcheck(OPS.masked_residual_grad.default, (left, right, *rest), {"gathered": "bfloat16"})


def test_derivatives_are_those_of_finite_differences(device):
    left, right, *rest = tensors(suite.case(2, weighted=True), device)
    torch.manual_seed(0)
    chain = [left, *(torch.randn(2, 2, dtype=left.dtype, device=device) for _ in range(3)), right]
    for factor in chain:
        factor.requires_grad_()

    def fused(U, W1, W2, W3, V):
        return OPS.masked_residual_grad(U @ W1 @ W2 @ W3, V, *rest)

    # The operators add up in a fixed order, but the products around them need not.
    assert torch.autograd.gradcheck(fused, chain, nondet_tol=1e-10)
    assert torch.autograd.gradgradcheck(fused, chain, nondet_tol=1e-10)


def compressed(device):
    """A network, its plan and what it is to fit."""
    rng = np.random.default_rng(0)
    observed = observe(rng.standard_normal((40, 30)).astype(np.float32), rng.random((40, 30)) < 0.4)
    model = CompressedFactorization(observed.shape, 3, depth=3, scale=1e-1, observations=observed, biases=True)
    return model.to(device), MaskedProduct(observed).to(device), torch.tensor(observed.values).to(device)


@pytest.mark.filterwarnings("ignore")  # inductor and Triton have warnings of their own
def test_compiled_without_a_graph_break(device):
    if device == "cuda":
        pytest.importorskip("triton", reason="inductor has no Triton to compile for a GPU with")
    model, plan, target = compressed(device)

    def loss():
        return model.loss(plan, target)

    expected = torch.autograd.grad(loss(), list(model.parameters()))
    run = torch.compile(loss, fullgraph=True, backend="inductor" if device == "cuda" else "aot_eager")
    for _ in range(2):
        value = run()
        got = torch.autograd.grad(value, list(model.parameters()))
    torch.testing.assert_close(value, loss())
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


def test_training_lowers_the_loss(device):
    model, plan, target = compressed(device)
    optimiser = torch.optim.SGD(model.parameter_groups(1e-3))
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = model.loss(plan, target)
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    assert losses[-1] < losses[0]


def test_half_precision_under_autocast(device):
    left, right, *rest = tensors(suite.case(3, np.float32), device)
    left.requires_grad_()
    with torch.autocast(device, dtype=torch.bfloat16):
        product = left @ torch.eye(3, device=device)
        assert product.dtype == torch.bfloat16
        predicted = OPS.masked_product(product, right, *rest[:5])
        loss, *_ = OPS.masked_residual_grad(product, right, *rest)
    assert predicted.dtype == loss.dtype == torch.float32
    loss.backward()
    torch.testing.assert_close(loss, OPS.masked_residual_grad(left.bfloat16().float(), right, *rest)[0])
    assert left.grad.dtype == torch.float32


# What only a GPU has: streams, graphs, its memory, its sanitizer -----------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("planned", [True, False], ids=["planned before", "planned on the stream"])
def test_work_goes_to_the_callers_stream(planned, gpu):
    """What it reads is written late, on a side stream that nothing else waits for."""
    left, right, *rest = tensors(suite.case(20, np.float32), gpu)
    expected = OPS.masked_residual_grad(2 * left, right, *rest)
    rest = rest if planned else [a.clone() for a in rest]
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        late = torch.zeros_like(left)
        torch.cuda._sleep(200_000_000)  # cycles: about a tenth of a second
        late.copy_(2 * left)
        got = OPS.masked_residual_grad(late, right, *rest)
    stream.synchronize()
    assert all(map(torch.equal, got, expected))
    # The plan that was made there is ready for the stream that comes next.
    assert all(map(torch.equal, OPS.masked_residual_grad(2 * left, right, *rest), expected))


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_nobody_waits_for_the_device_once_the_plan_is_there(gpu):
    left, right, *rest = tensors(suite.case(20, np.float32, weighted=True), gpu)
    for debugging in ("default", "error"):  # the first round makes the plans; then torch refuses to wait
        torch.cuda.set_sync_debug_mode(debugging)
        try:
            OPS.masked_residual_grad(left, right, *rest)
            OPS.masked_residual_grad(left, right, *rest, gathered="bfloat16")
            OPS.masked_sums(rest[5], left, right, *rest[:5])
            OPS.masked_product(left, right, *rest[:5])
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("gathered", [None, *ROUNDED])
def test_a_cuda_graph_captures_the_fused_operator(gathered, gpu):
    left, right, *rest = tensors(huge(np.float32, 20), gpu)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            OPS.masked_residual_grad(left, right, *rest, gathered=gathered)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = OPS.masked_residual_grad(left, right, *rest, gathered=gathered)
    for _ in range(3):
        left.copy_(torch.randn_like(left))
        right.mul_(-0.5)
        graph.replay()
        assert all(map(torch.equal, captured, OPS.masked_residual_grad(left, right, *rest, gathered=gathered)))


@pytest.mark.gpu
def test_a_capture_with_a_new_pattern_is_refused_and_harmless(gpu):
    left, right, *rest = tensors(suite.case(3), gpu)
    torch.cuda.synchronize()

    def capture():
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            left.mul_(1)  # a graph of nothing is warned of
            OPS.masked_residual_grad(left, right, *rest)

    with pytest.raises(RuntimeError, match="a CUDA graph is being captured and these indices are new"):
        capture()
    check(suite.case(3), gpu)


@pytest.mark.gpu
def test_memory_that_is_missing_is_torchs_own_error_and_nothing_else_fails(gpu):
    m = 2_000_000
    rows = np.arange(0, m, 1000)
    observed = Observations.from_entries(rows, rows % 7, np.ones(len(rows), np.float32), (m, 7))
    pattern = [a.to(gpu) for a in torch_operators.pattern_tensors(observed.pattern)]
    left, right = torch.rand(m, 20, device=gpu), torch.rand(7, 20, device=gpu)
    expected = OPS.masked_product(left, right, *pattern).clone()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    room = torch.cuda.memory_reserved() + 2**25  # less than the copy in the kernels' width takes
    torch.cuda.set_per_process_memory_fraction(room / torch.cuda.get_device_properties(0).total_memory)
    try:
        with pytest.raises(torch.cuda.OutOfMemoryError):
            OPS.masked_product(left, right, *pattern)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert torch.equal(OPS.masked_product(left, right, *pattern), expected)


@pytest.mark.gpu
def test_memory_is_given_back(gpu):
    left, right, *rest = tensors(huge(np.float32, 20), gpu)
    OPS.masked_residual_grad(left, right, *rest)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(10):
        OPS.masked_residual_grad(left, right, *rest)
    assert torch.cuda.memory_allocated() == before


@pytest.mark.gpu
def test_tensors_decide_the_device_and_not_the_current_one(gpu):
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU; this takes two")
    assert torch.cuda.current_device() == 0
    left, right, *rest = tensors(suite.case(20, np.float32), "cuda:1")
    loss, d_left, _ = OPS.masked_residual_grad(left, right, *rest)
    assert loss.device == d_left.device == left.device
    agree([loss, d_left], reference(suite.case(20, np.float32))[1:3])


SMALL_RUN = """
import sys, numpy as np, torch, kernel_suite as suite
from torch_cases import tensors
import dmc.kernels.torch_operators
ops = torch.ops.dmc
for mask, width, dtype in [("empty rows and columns", 8, np.float32), ("empty rows and columns", 20, np.float64),
                           ("one row", 200, np.float32), ("one long row", 32, np.float32)]:
    left, right, *rest = tensors(suite.case(width, dtype, True, mask), sys.argv[1])
    forms = [None] if dtype == np.float64 else [None, "bfloat16", "float16"]
    for gathered in forms:
        loss, *_ = ops.masked_residual_grad(left, right, *rest, gathered=gathered)
    ops.masked_product(left, right, *rest[:5])
    ops.masked_sums(rest[5], left, right, *rest[:5])
print("done", float(loss) > 0)
"""


def small_run(device, *before):
    # Without its cache of memory torch leaves the bounds of arrays to the sanitizer.
    paths = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1", "PYTHONPATH": paths}
    command = [*before, sys.executable, "-c", SMALL_RUN, device]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_small_run_runs(device):
    run = small_run(device)
    assert run.stdout == "done True\n", run.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_the_sanitizer_finds_nothing(tool, gpu):
    homes = [os.path.join(os.environ[name], "bin") for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    path = os.pathsep.join([*homes, os.environ.get("PATH", os.defpath), "/usr/local/cuda/bin"])
    sanitizer = shutil.which("compute-sanitizer", path=path)
    if sanitizer is None:
        pytest.skip("there is no compute-sanitizer; it comes with the CUDA toolkit")
    ours = ("--kernel-regex", "kns=dmc", "--report-api-errors", "no")  # torch's own are not looked at
    run = small_run(gpu, sanitizer, "--tool", tool, "--error-exitcode", "9", *ours)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "done True" in run.stdout
