"""The compiled kernels on tensors: the CUDA side run without a GPU, against the core's."""

import gc
from types import SimpleNamespace

import numpy as np
import pytest

import kernel_suite as suite
from cuda_stand_in import Seen

torch = pytest.importorskip("torch")

from dmc import _extensions  # noqa: E402
from dmc.kernels import torch_compiled, torch_operators  # noqa: E402
from dmc.observations import Observations  # noqa: E402
from torch_cases import agree, tensors  # noqa: E402

OPS = torch.ops.dmc
pytestmark = pytest.mark.skipif(_extensions.core is None, reason="there is no compiled core to compare with")


class OnTensors:
    """The stand-in's module as dmc._cuda: it takes tensors of the processor for those of a GPU."""

    def __init__(self, module):
        self.module = module
        self.waits = 0

    def wait(self):
        self.waits += 1

    def __getattr__(self, name):
        found = getattr(self.module, name)
        if name not in ("Lines", "masked_product", "residual_gradient"):
            return found
        return lambda *given: found(*(Seen(a.numpy()) if isinstance(a, torch.Tensor) else a for a in given))


@pytest.fixture
def gpu(cuda_stand_in, monkeypatch):
    """The CUDA kernels serve the processor's tensors: gives their module."""
    here = OnTensors(cuda_stand_in)
    stream = SimpleNamespace(cuda_stream=0, synchronize=here.wait)
    monkeypatch.setattr(_extensions, "cuda", here)
    monkeypatch.setattr(_extensions, "cuda_missing", None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    # Small enough for a small pattern to have light, heavy and long lines: a stand-in thread is slow.
    monkeypatch.setattr(torch_compiled, "SEGMENT", 4)
    monkeypatch.setattr(torch_compiled, "LIGHT", 2)
    torch_compiled._cuda_runs.cache_clear()
    torch_operators.register("cpu", torch_compiled.cuda)
    yield here
    torch_operators.register("cpu", torch_compiled.core)
    torch_compiled._cuda_runs.cache_clear()


def on_both(operator, *given):
    """What the core answers, and what the CUDA kernels do; to be called with these in place."""
    torch_operators.register("cpu", torch_compiled.core)
    expected = operator(*given)
    torch_operators.register("cpu", torch_compiled.cuda)
    return operator(*given), expected


@pytest.mark.parametrize("width", [1, 7, 8, 20, 64, 128, 200])
@pytest.mark.parametrize("dtype", suite.DTYPES)
def test_cuda_kernels_agree_with_the_core(dtype, width, gpu):
    case = suite.case(width, dtype, weighted=True)
    left, right, *rest = tensors(case)
    agree(*on_both(OPS.masked_product, left, right, *rest[:5]))
    agree(*on_both(OPS.masked_residual_grad, left, right, *rest))
    if width in (7, 64):
        agree(*on_both(OPS.masked_residual_grad, left, right, *rest[:7]))
        agree(*on_both(OPS.masked_sums, rest[5], left, right, *rest[:5]))


@pytest.mark.parametrize("gathered", ["bfloat16", "float16"])
@pytest.mark.parametrize("width", [1, 8, 20, 200])
def test_rounded_forms_agree_with_the_core(width, gathered, gpu):
    left, right, *rest = tensors(suite.case(width, np.float32, weighted=width == 20))
    weights = rest[7:] or (None, None)
    got, expected = on_both(OPS.masked_residual_grad, left, right, *rest[:7], *weights, gathered)
    agree(got, expected)
    half = getattr(torch, gathered)
    by_right = OPS.masked_residual_grad(left, right.to(half).float(), *rest)
    by_left = OPS.masked_residual_grad(left.to(half).float(), right, *rest)
    agree(got, (*by_right[:2], by_left[2]))


def test_lines_of_several_segments(gpu, monkeypatch):
    """With the lengths of the product: a row of 1,100 entries is cut in three, and columns are light."""
    monkeypatch.setattr(torch_compiled, "SEGMENT", 512)
    monkeypatch.setattr(torch_compiled, "LIGHT", 64)
    rng = np.random.default_rng(0)
    rows, cols = np.r_[np.full(1100, 1), [0, 3, 3]], np.r_[np.arange(1100), [5, 0, 7]]
    observed = Observations.from_entries(rows, cols, rng.standard_normal(1103).astype(np.float32), (5, 1101))
    pattern = torch_operators.pattern_tensors(observed.pattern)
    targets = [torch.tensor(a) for a in observed.pattern.both_orders(observed.values)]
    left, right = (torch.from_numpy(rng.standard_normal((n, 6)).astype(np.float32)) for n in observed.shape)
    agree(*on_both(OPS.masked_residual_grad, left, right, *pattern, *targets))
    agree(*on_both(OPS.masked_product, left, right, *pattern))


@pytest.mark.parametrize("seed", range(5))
def test_segments_hold_every_entry_once(seed, monkeypatch):
    monkeypatch.setattr(torch_compiled, "SEGMENT", 8)
    monkeypatch.setattr(torch_compiled, "LIGHT", 12)  # light lines may be long ones too
    torch.manual_seed(seed)
    lengths = torch.randint(0, 40, (30,)) * (torch.rand(30) < 0.7)
    pointers = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    light, heavy, long_lines, n_partials = torch_compiled._segments(pointers)
    segments = torch.cat([light, heavy])
    line, first, last, partial = segments.T
    assert all(part.dtype == torch.int64 and part.is_contiguous() for part in (light, heavy, long_lines))
    assert (last - first <= 8).all()
    covered = torch.cat([torch.arange(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True)])
    assert torch.equal(covered.sort()[0], torch.arange(int(pointers[-1])))
    assert ((pointers[line] <= first) & (last <= pointers[line + 1])).all()
    assert set(line.tolist()) == set(range(30))
    assert (lengths[light[:, 0]] <= 12).all()
    assert (lengths[heavy[:, 0]] > 12).all()
    assert ((light[:, 2] - light[:, 1]).diff() <= 0).all()  # the groups of a warp end together
    for i, start, count in long_lines.tolist():
        mine = segments[line == i]
        mine = mine[mine[:, 1].argsort()]  # sums are added up in the order of the entries
        assert mine[:, 3].tolist() == list(range(start, start + count))
    assert (partial >= 0).sum() == n_partials == long_lines[:, 2].sum()
    assert long_lines[:, 0].tolist() == (lengths > 8).nonzero()[:, 0].tolist()


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (2, 3)])
def test_nothing_observed(shape, gpu):
    m, n = shape
    pattern = [torch.zeros(m + 1, dtype=torch.int64), torch.zeros(0, dtype=torch.int32)]
    pattern += [torch.zeros(n + 1, dtype=torch.int64), torch.zeros(0, dtype=torch.int32), torch.zeros(0).long()]
    left, right, target = torch.rand(m, 2), torch.rand(n, 2), torch.rand(0)
    loss, d_left, d_right = OPS.masked_residual_grad(left, right, *pattern, target, target)
    assert loss == 0
    assert not d_left.any()
    assert not d_right.any()
    assert OPS.masked_product(left, right, *pattern).shape == (0,)


def test_torch_finds_the_cuda_functions_sound(gpu):
    """Autograd, fake tensors and what inductor does, with the CUDA kernels below."""
    left, right, *rest = tensors(suite.case(2, np.float32, weighted=True))
    given = left.requires_grad_(), right.requires_grad_(), *rest
    torch.library.opcheck(OPS.masked_residual_grad.default, (*given, "bfloat16"))
    torch.library.opcheck(OPS.masked_product.default, given[:7])


def test_layout_does_not_matter(gpu):
    left, right, *rest = tensors(suite.case(8, np.float32, weighted=True))
    room = torch.empty(right.numel() + 1)
    beside = room[1:].view(right.shape).copy_(right)  # not at a multiple of 16 bytes
    assert beside.data_ptr() % 16
    gaps = [torch.stack([a, a], 1)[:, 0] for a in rest]
    got = OPS.masked_residual_grad(left.T.contiguous().T, beside, *gaps)
    agree(got, OPS.masked_residual_grad(left, right, *rest))


def refuse(*_):
    raise AssertionError("the CUDA kernels were called")


@pytest.mark.parametrize("why", ["too wide", "int64 indices", "an obstacle"])
def test_plain_torch_serves_what_the_kernels_do_not_take(why, gpu, monkeypatch):
    case = suite.case(257 if why == "too wide" else 3, index=np.int64 if why == "int64 indices" else np.int32)
    left, right, *rest = tensors(case)
    if why == "an obstacle":
        monkeypatch.setenv("STAND_IN_CAPABILITY", "75")
    monkeypatch.setattr(gpu, "masked_product", refuse, raising=False)
    monkeypatch.setattr(gpu, "residual_gradient", refuse, raising=False)
    agree(*on_both(OPS.masked_product, left, right, *rest[:5]))
    agree(*on_both(OPS.masked_sums, rest[5], left, right, *rest[:5]))
    agree(*on_both(OPS.masked_residual_grad, left, right, *rest))


def test_a_plan_is_made_once_and_let_go_with_its_pattern(gpu, monkeypatch):
    made = []
    segments = torch_compiled._segments
    monkeypatch.setattr(torch_compiled, "_segments", lambda pointers: made.append(1) or segments(pointers))
    left, right, *rest = tensors(suite.case(3))
    gc.collect()
    before = len(torch_compiled._made)
    for _ in range(2):
        OPS.masked_residual_grad(left, right, *rest)
        OPS.masked_product(left, right, *rest[:5])
    assert len(made) == 2  # one for each order
    assert gpu.waits == 2  # another stream may be the next to use them
    # Indices that share memory with NumPy or were written to are looked at again.
    rest[1] = rest[1].clone()
    OPS.masked_product(left, right, *rest[:5])
    rest[1][0] = len(right)
    with pytest.raises(ValueError, match=f"index {len(right)} is out of range for the {len(right)} rows"):
        OPS.masked_product(left, right, *rest[:5])
    assert len(made) == 3
    del rest
    gc.collect()
    assert len(torch_compiled._made) == before


def test_pointers_are_checked(gpu):
    left, right, *rest = tensors(suite.case(3))
    rest[0] = rest[0].flip(0)
    with pytest.raises(ValueError, match=r"pointers start at \d+ and end at 0; they have to go from 0"):
        OPS.masked_product(left, right, *rest[:5])


def test_a_capture_needs_a_plan(gpu, monkeypatch):
    left, right, *rest = tensors(suite.case(3))
    OPS.masked_product(left, right, *rest[:5])
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    OPS.masked_product(left, right, *rest[:5])  # its plan is there
    with pytest.raises(RuntimeError, match="a CUDA graph is being captured and these indices are new"):
        OPS.masked_residual_grad(left, right, *rest)


def test_another_stream_keeps_the_memory_of_the_plan(gpu, monkeypatch):
    left, right, *rest = tensors(suite.case(3))
    OPS.masked_product(left, right, *rest[:5])
    kept = []
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: kept.append(stream.cuda_stream))
    OPS.masked_product(left, right, *rest[:5])
    assert not kept
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=7))
    monkeypatch.setattr(gpu, "masked_product", lambda *given: kept.append(given[-1]), raising=False)
    OPS.masked_product(left, right, *rest[:5])
    assert kept == [7, 7, 7, 7, 7]  # four arrays, and the launch


def test_obstacles_of_torch_itself(gpu, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    assert torch_compiled.cuda_obstacle().reason == f"torch {torch.__version__} is a build without CUDA"
    monkeypatch.setenv("STAND_IN_DEVICES", "0")
    assert torch_compiled.cuda_obstacle().reason == "the NVIDIA driver finds no GPU"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert torch_compiled.cuda_obstacle().reason == "the NVIDIA driver finds no GPU"
    monkeypatch.delenv("STAND_IN_DEVICES")
    assert torch_compiled.cuda_obstacle() is None
