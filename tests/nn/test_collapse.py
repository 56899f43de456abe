"""Neural collapse by layer: what hooks gather is what features at hand give; the model is left as it was."""

import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from dmc import collapse as measures  # noqa: E402
from dmc.nn import DeepLoRA, collapse_by_layer  # noqa: E402

N, CLASSES = 90, 3


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (N,), generator=generator)
    inputs = 2 * torch.randn(CLASSES, 6, generator=generator)[labels] + torch.randn(N, 6, generator=generator)
    return inputs, labels


def batches(inputs, labels, size=25):
    return list(zip(inputs.split(size), labels.split(size), strict=True))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, CLASSES))


def test_as_features_at_hand(data):
    inputs, labels = data
    model = network()
    found = collapse_by_layer(model, batches(*data), classifier="3")
    assert list(found) == ["0", "1", "2", "3.input", "3"]
    with torch.no_grad():
        first = model[0](inputs)
        last = model[3](first.relu())
    for name, features in (("0", first), ("1", first.relu()), ("3", last)):
        np.testing.assert_allclose(found[name], measures.collapse(features.numpy(), labels.numpy()), rtol=1e-4)
    expected = measures.collapse(first.relu().numpy(), labels.numpy(), model[3].weight.detach().numpy())
    assert found["3.input"].nc3 == pytest.approx(expected.nc3, rel=1e-5)
    assert np.isnan(found["3"].nc3)
    assert found["2"] == found["1"]  # without dropout: the model is measured as it is used


def test_the_model_is_as_before(data):
    model = network()
    model[0].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    collapse_by_layer(model, batches(*data))
    assert [m.training for m in model.modules()] == [True, False, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    with pytest.raises(RuntimeError):
        collapse_by_layer(model, [(torch.ones(4, 5), torch.tensor([0, 1, 0, 1]))])
    assert not any(m._forward_hooks for m in model.modules())
    assert model.training


class Twice(nn.Module):
    """One activation used twice, outputs that are no features, several arguments."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.act = nn.Linear(6, 5), nn.Linear(5, 4), nn.Tanh()
        self.mean = Mean()

    def forward(self, x, scale=1.0):
        y = self.act(self.second(self.act(self.first(x * scale))))
        return y + self.mean(y)


class Mean(nn.Module):
    def forward(self, x):
        return x.mean()


def test_a_module_that_runs_twice_and_one_without_rows(data):
    torch.manual_seed(0)
    model = Twice()
    found = collapse_by_layer(model, batches(*data))
    assert list(found) == ["first", "act", "second", "act#2"]
    with torch.no_grad():
        inner = model.first(data[0]).tanh()
    expected = measures.collapse(inner.numpy(), data[1].numpy())
    np.testing.assert_allclose(found["act"][:5], expected[:5], rtol=1e-4)
    by_keyword = collapse_by_layer(model, [({"x": x, "scale": 2.0}, y) for x, y in batches(*data)], ["second"])
    by_place = collapse_by_layer(model, [((x, 2.0), y) for x, y in batches(*data)], ["second"])
    assert by_keyword["second"][:5] == by_place["second"][:5]
    with pytest.raises(
        ValueError, match=r"the output of layer 'mean' is of shape \(\) for 25 labels; choose layers with a row"
    ):
        collapse_by_layer(model, batches(*data), ["mean"])


def test_an_adapted_layer_is_measured_with_its_update(data):
    model = network()
    adapter = DeepLoRA(["0", "3"], 2, scale=0.5).attach(model)
    found = collapse_by_layer(model, batches(*data), classifier="3")
    assert list(found) == ["0", "1", "2", "3.input", "3"]
    adapter.merge()
    adapter.unload()
    merged = collapse_by_layer(model, batches(*data), classifier="3")
    for name, measured in found.items():
        np.testing.assert_allclose(measured, merged[name], rtol=1e-4)


def test_a_parametrised_layer_is_one(data):
    model = network()
    nn.utils.parametrizations.weight_norm(model[0])
    assert list(collapse_by_layer(model, batches(*data, size=8))) == ["0", "1", "2", "3"]


def test_what_was_asked_for_and_did_not_run_is_told(data):
    model = Twice()
    model.unused = nn.Linear(4, 4)
    with pytest.raises(ValueError, match="'unused' was not measured: the module did not run"):
        collapse_by_layer(model, batches(*data), ["first", "unused"])
    with pytest.raises(ValueError, match=r"'unused\.input' was not measured"):
        collapse_by_layer(model, batches(*data), classifier="unused")


def test_pooling():
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(20, 3, 4, 5, generator=generator), torch.arange(20) % 2
    tokens = torch.randn(20, 7, 3, generator=generator)
    same = nn.Sequential(nn.Identity())
    for x, pooled in ((images, images.mean((2, 3))), (tokens, tokens.mean(1))):
        expected = measures.collapse(pooled.numpy(), labels.numpy())
        found = collapse_by_layer(same, [(x, labels)], pooling="mean")["0"]
        np.testing.assert_allclose(found[:2], expected[:2], rtol=1e-4)
    flat = collapse_by_layer(same, [(images, labels)])["0"]
    np.testing.assert_allclose(flat[:2], measures.collapse(images.flatten(1).numpy(), labels.numpy())[:2], rtol=1e-4)
    first = collapse_by_layer(same, [(tokens, labels)], pooling=lambda output: output[:, 0])["0"]
    np.testing.assert_allclose(first[:2], measures.collapse(tokens[:, 0].numpy(), labels.numpy())[:2], rtol=1e-4)


def test_half_precision_and_scalars(data):
    inputs, labels = data
    model = nn.Sequential(nn.Linear(6, 1), nn.Flatten(0)).to(torch.bfloat16)
    found = collapse_by_layer(model, batches(inputs.bfloat16(), labels))
    assert found["1"].within_to_between == pytest.approx(found["0"].within_to_between, rel=1e-6)


def test_dead_layers_are_not_collapsed(data):
    """A layer whose outputs are all zero: NaN with a warning."""
    model = network()
    with torch.no_grad():
        model[0].bias.fill_(-100)
    with pytest.warns(UserWarning, match="all 90 feature vectors are the same"):
        found = collapse_by_layer(model, batches(*data), ["1"])
    assert np.isnan(found["1"].nc1)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda m, d: collapse_by_layer(m, d, ["fc"]),
            ValueError,
            "layers holds 'fc', which is not a module of the model; ",
        ),
        (lambda m, d: collapse_by_layer(m, d, "0"), TypeError, "layers is '0'; give a list of names"),
        (
            lambda m, d: collapse_by_layer(m, d, classifier="1"),
            ValueError,
            "not a linear layer of the model; there are '0'",
        ),
        (lambda m, d: collapse_by_layer(m, d, pooling="max"), ValueError, "pooling is 'max'; choose one of 'flatten'"),
        (lambda m, d: collapse_by_layer(m, d, pooling=torch.sum), ValueError, "layer '0': pooling made () of (25, 8)"),
        (lambda m, d: collapse_by_layer(m, [d[0][0]]), TypeError, "the loader yields Tensor; let it yield pairs"),
        (lambda m, d: collapse_by_layer(m, []), ValueError, "nothing was measured: the loader is empty"),
        (lambda m, d: collapse_by_layer(lambda x: x, d), TypeError, "model is function; give a torch.nn.Module"),
        (
            lambda m, d: collapse_by_layer(m, [(x, y[:, None]) for x, y in d]),
            ValueError,
            "labels have shape (25, 1); give one class for each sample",
        ),
        (
            lambda m, d: collapse_by_layer(m, [(x, 0 * y) for x, y in d]),
            ValueError,
            "layer '0': labels hold 1 class; separation needs two",
        ),
        (
            lambda m, d: collapse_by_layer(m, [(x * torch.nan, y) for x, y in d]),
            ValueError,
            "layer '0': features holds 200 values that are not finite",
        ),
    ],
)
def test_refused_in_words(data, call, error, words):
    with pytest.raises(error, match=re.escape(words)):
        call(network(), batches(*data))
