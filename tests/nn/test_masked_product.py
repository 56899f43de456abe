"""The masked product as a torch module: against the whole product, in models, compiled, and in a loader's workers."""

import copy
import re
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from dmc.nn import MaskedProduct  # noqa: E402
from masked_cases import planted, shuffled, sides  # noqa: E402


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_loaded_on_demand_only():
    code = (
        "import sys, dmc\n"
        "assert 'nn' in dir(dmc) and 'torch' not in sys.modules\n"
        "dmc.nn.MaskedProduct; print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True"


def test_where_torch_is_missing():
    code = "import sys; sys.modules['torch'] = None\nimport dmc\ntry: dmc.nn\nexcept ImportError as e: print(e)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "run: pip install 'dmc[torch]'" in found.stdout


@pytest.mark.parametrize("as_tensors", [False, True])
def test_the_order_of_the_entries_is_kept(as_tensors):
    observed = planted()
    rows, cols, target = shuffled(observed)
    if as_tensors:
        rows, cols = torch.from_numpy(rows), torch.from_numpy(cols)
    product = MaskedProduct.from_entries(rows, cols, observed.shape)
    left, right = sides(observed.shape)
    weights = torch.rand(len(target), dtype=torch.float64)
    plain = (left @ right.T)[rows, cols]
    torch.testing.assert_close(product(left, right), plain, rtol=1e-13, atol=1e-13)
    for w in (None, weights):
        loss = product.loss(left, right, target, w)
        expected = 0.5 * ((1 if w is None else w) * (plain - target) ** 2).sum()
        torch.testing.assert_close(loss, expected, rtol=1e-13, atol=0)
        got, wanted = (torch.autograd.grad(f, [left, right], retain_graph=True) for f in (loss, expected))
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    out = torch.randn(len(target), dtype=torch.float64)
    got, wanted = (torch.autograd.grad(f @ out, [left, right]) for f in (product(left, right), plain))
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_of_observations():
    observed = planted()
    product = MaskedProduct(observed)
    left, right = sides(observed.shape)
    assert torch.equal(
        product(left, right), MaskedProduct.from_entries(observed.rows, observed.cols, observed.shape)(left, right)
    )
    assert repr(product) == f"MaskedProduct(30×20, {observed.n_observed} observed)"


class Larger(torch.nn.Module):
    """A model that makes one side of the product from features."""

    def __init__(self, features, observed):
        super().__init__()
        self.tower = torch.nn.Sequential(torch.nn.Linear(features, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        self.columns = torch.nn.Embedding(observed.shape[1], 3)
        self.product = MaskedProduct.from_entries(*shuffled(observed)[:2], observed.shape)

    def forward(self, features, target):
        return (self.product(self.tower(features), self.columns.weight) - target).square().mean()


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_whole(dynamic):
    observed = planted()
    model, features = Larger(5, observed), torch.randn(30, 5)
    target = shuffled(observed)[2].float()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    losses = [f(features, target) for f in (model, compiled)]
    gradients = [torch.autograd.grad(loss, list(model.parameters())) for loss in losses]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients)


def test_copies_and_files(tmp_path):
    observed = planted()
    model, target = Larger(5, observed), shuffled(observed)[2].float()
    features = torch.randn(30, 5)
    expected = model(features, target)
    assert torch.equal(copy.deepcopy(model)(features, target), expected)
    assert not any("product" in name for name in model.state_dict())
    torch.save(model.state_dict(), tmp_path / "state.pt")
    other = Larger(5, observed)
    assert not torch.equal(other(features, target), expected)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(other(features, target), expected)
    double = copy.deepcopy(model).double()
    assert double.product.column_indices.dtype == torch.int32
    torch.testing.assert_close(double(features.double(), target.double()).float(), expected)
    moved = MaskedProduct(observed).to("meta")
    assert moved(*(a.to("meta") for a in sides(observed.shape))).shape == (observed.n_observed,)


class Blocks(torch.utils.data.Dataset):
    """Losses, computed in the worker."""

    def __init__(self, product, left, right):
        self.product, self.left, self.right = product, left, right

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return (i + 1) * self.product(self.left, self.right).sum()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_in_the_workers_of_a_loader():
    observed = planted((300, 200))
    product = MaskedProduct(observed)
    left, right = (a.detach() for a in sides(observed.shape, 32))
    total = product(left, right).sum()  # threads have been at work before the fork
    loader = torch.utils.data.DataLoader(
        Blocks(product, left, right), num_workers=2, multiprocessing_context="fork", timeout=60
    )
    torch.testing.assert_close(torch.cat(list(loader)), total * torch.arange(1, 5))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda p, L, R, t: MaskedProduct.from_entries([0, 30], [0, 1], (30, 20)),
            ValueError,
            "row index 30 is out of",
        ),
        (lambda p, L, R, t: MaskedProduct.from_entries([0, 0], [1, 1]), ValueError, "repeats a position"),
        (lambda p, L, R, t: MaskedProduct.from_entries([0, 1], [1]), ValueError, "rows has 2, cols has 1"),
        (lambda p, L, R, t: MaskedProduct.from_entries(["a"], [1]), TypeError, "give integers"),
        (lambda p, L, R, t: p(L[1:], R), ValueError, "left has 29 rows"),
        (lambda p, L, R, t: p(L, R.half()), TypeError, "right is torch.float16"),
        (lambda p, L, R, t: p.loss(L, R, t[1:]), ValueError, "target has shape (239,); give (240,), one for each"),
        (lambda p, L, R, t: p.loss(L, R, t, t[:, None]), ValueError, "weights has shape (240, 1); give (240,)"),
        (
            lambda p, L, R, t: p.loss(L, R, t.float()),
            TypeError,
            "left is torch.float64 and target torch.float32; give both in one dtype",
        ),
        (lambda p, L, R, t: p.loss(L, R, t, t.clone().requires_grad_()), ValueError, "require a gradient"),
        (lambda p, L, R, t: p(L.to("meta"), R), ValueError, "left is on meta and"),
        (lambda p, L, R, t: p.loss(L, R, t.numpy()), TypeError, "target is a ndarray; give a torch tensor"),
        (lambda p, L, R, t: p(L.detach().numpy(), R), TypeError, "left is a ndarray; give a torch tensor"),
        (lambda p, L, R, t: MaskedProduct(t), TypeError, "or use MaskedProduct.from_entries(rows, cols, shape)"),
        (lambda p, L, R, t: MaskedProduct.from_entries([0, 0], [1, 1]), ValueError, "give each position once"),
    ],
)
def test_refused_in_words(call, error, words):
    observed = planted()
    left, right = sides(observed.shape)
    with pytest.raises(error, match=re.escape(words)):
        call(MaskedProduct(observed), left, right, torch.tensor(observed.values))
