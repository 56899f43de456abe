"""Four ways to fine-tune: what is trained and what is not, the model back as it was, and refusals in words."""

import copy
import re

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from dmc.nn import DeepLoRA, FullTuning, LayerTuning, LinearProbe, SkipConnectionTuning  # noqa: E402

WAYS = {
    "probe": lambda: LinearProbe("head"),
    "layer": lambda: LayerTuning("blocks.1", "head"),
    "skip": lambda: SkipConnectionTuning("blocks.1", "head"),
    "full": FullTuning,
}


class Model(nn.Module):
    """Blocks with normalisation, a layer of another width, a head."""

    def __init__(self, width=6, n_classes=3):
        super().__init__()
        torch.manual_seed(0)
        self.narrow = nn.Linear(width, 4)
        self.wide = nn.Linear(4, width)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width)) for _ in range(3))
        self.head = nn.Linear(width, n_classes)

    def forward(self, x):
        x = x + self.wide(self.narrow(x))
        for block in self.blocks:
            x = x + block(x).relu()
        return self.head(x)


@pytest.fixture
def model():
    made = Model()
    made.wide.requires_grad_(False)
    return made


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(30, 6, generator=generator), torch.arange(30) % 3


def train(model, way, batch, steps=5):
    optimiser = torch.optim.Adam(way.parameters(), lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        optimiser.step()
    return loss


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("name", WAYS)
def test_only_what_is_trained_moves_and_unload_puts_all_back(model, batch, name):
    before, wanted = state(model), [p.requires_grad for p in model.parameters()]
    way = WAYS[name]().attach(model)
    prefixes = {"probe": ("head.",), "layer": ("blocks.1.", "head."), "full": ("",)}
    prefixes["skip"] = prefixes["layer"]
    train(model, way, batch)
    after = state(model)
    for key, value in after.items():
        assert torch.equal(value, before[key]) != key.startswith(prefixes[name]), key
    learnt = way.state_dict()
    assert set(learnt) == {key for key in before if key.startswith(prefixes[name])}
    assert way.n_parameters == sum(v.numel() for k, v in model.named_parameters() if k.startswith(prefixes[name]))
    assert way.share == pytest.approx(way.n_parameters / sum(p.numel() for p in model.parameters()))
    way.unload()
    assert list(state(model)) == list(before)
    assert all(torch.equal(value, before[key]) for key, value in state(model).items())
    assert [p.requires_grad for p in model.parameters()] == wanted
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert vars(model).keys() == vars(Model()).keys()


@pytest.mark.parametrize("name", WAYS)
def test_what_was_learnt_loads_into_a_fresh_model(model, batch, name):
    way = WAYS[name]().attach(model)
    train(model, way, batch)
    model.eval()
    expected = model(batch[0])
    other = Model()
    fresh = WAYS[name]().attach(other)
    assert not torch.allclose(other.eval()(batch[0]), expected)
    fresh.load_state_dict({name: value.clone() for name, value in way.state_dict().items()})
    torch.testing.assert_close(other(batch[0]), expected, rtol=0, atol=0)


def test_the_layer_is_added_to_the_features(model, batch):
    model.eval()
    with torch.no_grad():
        x = batch[0] + model.wide(model.narrow(batch[0]))
        outputs = []
        for block in model.blocks:
            outputs.append(block(x))
            x = x + outputs[-1].relu()
        plain, expected = model.head(x), model.head(x + outputs[1])
        torch.testing.assert_close(model(batch[0]), plain)
        way = SkipConnectionTuning("blocks.1", "head").attach(model)
        torch.testing.assert_close(model(batch[0]), expected)
        way.unload()
        torch.testing.assert_close(model(batch[0]), plain)


def test_a_projection_between_widths(model, batch):
    torch.manual_seed(1)
    model.train()
    model.blocks[2].eval()
    way = SkipConnectionTuning("narrow", "head").attach(model, batch[0])
    assert [m.training for m in model.blocks] == [True, True, False]
    weight = way.projection.weight.detach().clone()
    torch.testing.assert_close(weight.T @ weight, torch.eye(4))
    assert set(way.state_dict()) == {
        "narrow.weight",
        "narrow.bias",
        "head.weight",
        "head.bias",
        "skip_projection",
    }
    assert way.n_parameters == 4 * 6 + 4 + 6 * 3 + 3 + 6 * 4
    train(model, way, batch)
    assert not torch.equal(way.projection.weight, weight)
    assert any(p is way.projection.weight for p in model.parameters())  # so that it goes where the model goes
    model.double()
    assert model(batch[0].double()).dtype == torch.float64
    model.float()
    model.eval()
    other = Model().eval()
    fresh = SkipConnectionTuning("narrow", "head").attach(other, batch[0])
    fresh.load_state_dict(way.state_dict())
    torch.testing.assert_close(other(batch[0]), model(batch[0]))
    way.unload()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert list(model.state_dict()) == list(Model().state_dict())


class Tokens(nn.Module):
    """A transformer's manners: blocks that return tuples of (batch, tokens, k), a head on the first token."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.block, self.head = Block(), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.block(x)[0][:, 0])


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(5, 5)

    def forward(self, x):
        return self.dense(x), None


def test_tokens_are_pooled():
    model, x = Tokens(), torch.randn(3, 4, 5)
    with torch.no_grad():
        hidden = model.block(x)[0]
        for pooling, pooled in ((lambda output: output[:, 0], hidden[:, 0]), ("mean", hidden.mean(1))):
            way = SkipConnectionTuning("block", "head", pooling).attach(model)
            torch.testing.assert_close(model(x), model.head.forward(hidden[:, 0] + pooled))
            way.unload()
    SkipConnectionTuning("block", "head", "flatten").attach(model)
    with pytest.raises(ValueError, match=re.escape("puts out (3, 20) and head 'head' takes (3, 5); give inputs")):
        model(x)


def test_a_copy_goes_its_own_way(model, batch):
    way = SkipConnectionTuning("blocks.1", "head").attach(model)
    model.eval()
    expected = model(batch[0])
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.head.weight.zero_()
        twin.head.bias.zero_()
    assert not twin(batch[0]).any()
    torch.testing.assert_close(model(batch[0]), expected)
    way.unload()
    assert twin.head._forward_pre_hooks


def test_frozen_normalisation_is_back_in_its_mode_after_each_pass(model, batch):
    model.train()
    way = LinearProbe("head").attach(model)
    mean = model.blocks[0][1].running_mean.clone()
    with pytest.raises(RuntimeError):
        model.blocks[0][1](batch[0][:, :2])
    model(batch[0])
    assert torch.equal(model.blocks[0][1].running_mean, mean)
    assert all(module.training for module in model.modules())
    way.unload()
    model(batch[0])  # as the next way finds it
    assert not torch.equal(model.blocks[0][1].running_mean, mean)


def test_layers_that_were_replaced_meanwhile(model, batch):
    way = LayerTuning("wide", "head").attach(model)
    adapter = DeepLoRA(["wide"], 2).attach(model)
    with pytest.raises(ValueError, match="was added or removed since attach; first remove whatever replaced layers"):
        way.unload()
    adapter.unload()
    way.unload()
    assert not model.wide.weight.requires_grad
    assert model.head.weight.requires_grad


def test_a_copy_after_half_a_pass(model, batch):
    SkipConnectionTuning("blocks.1", "head").attach(model)
    model.blocks[1](batch[0])
    copy.deepcopy(model)(batch[0])


def test_a_head_that_is_tied_to_what_is_frozen_is_told():
    model = nn.ModuleDict({"embedding": nn.Embedding(10, 6), "head": nn.Linear(6, 10)})
    model["head"].weight = model["embedding"].weight
    with pytest.warns(UserWarning, match=r"embedding\.weight is the same parameter as one of head, and so is trained"):
        LinearProbe("head").attach(model)


def test_a_layer_whose_output_has_lost_its_gradient_is_told(model, batch):
    SkipConnectionTuning("blocks.1", "head").attach(model)
    inner = model.blocks[1].forward

    def without(x):
        with torch.no_grad():
            return inner(x)

    model.blocks[1].forward = without
    with pytest.warns(UserWarning, match=r"the output of layer 'blocks\.1' carries no gradient"):
        model(batch[0])


def test_compiled(model, batch):
    SkipConnectionTuning("blocks.1", "head").attach(model)
    compiled = torch.compile(model, backend="aot_eager")
    torch.testing.assert_close(compiled(batch[0]), model(batch[0]))  # normalisation that is frozen, too
    assert all(module.training for module in model.modules())
    model.eval()
    torch.testing.assert_close(compiled(batch[0]), model(batch[0]))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m, x: LinearProbe("top").attach(m), ValueError, "'top' is not a module of the model; there are"),
        (lambda m, x: LayerTuning("blocks.9", "head").attach(m), ValueError, "'blocks.9' is not a module of the model"),
        (lambda m, x: LayerTuning("blocks", "blocks.1").attach(m), ValueError, "are one inside the other; choose two"),
        (lambda m, x: LayerTuning("head", "head").attach(m), ValueError, "are one inside the other"),
        (lambda m, x: LinearProbe("act").attach(nn.ModuleDict({"act": nn.ReLU()})), ValueError, "has no parameters to"),
        (lambda m, x: LinearProbe("head").attach(lambda x: x), TypeError, "model is function; give a torch.nn.Module"),
        (lambda m, x: LinearProbe("head").unload(), ValueError, "this LinearProbe is not attached to a model; call"),
        (lambda m, x: FullTuning().state_dict(), ValueError, "this FullTuning is not attached to a model"),
        (
            lambda m, x: (FullTuning().attach(m), LinearProbe("head").attach(m)),
            ValueError,
            "the model is being tuned by a FullTuning; unload that first",
        ),
        (
            lambda m, x: LinearProbe("head").attach(m).load_state_dict({"head.weight": torch.ones(3, 6)}),
            ValueError,
            "state: 'head.bias' is missing; give the state_dict of a LinearProbe of the same modules",
        ),
        (
            lambda m, x: (
                LinearProbe("head")
                .attach(m)
                .load_state_dict({"head.weight": torch.ones(3, 6), "head.bias": torch.ones(2)})
            ),
            ValueError,
            "state: 'head.bias' has shape (2,) and the model's (3,)",
        ),
        (lambda m, x: SkipConnectionTuning("narrow", "head", "max"), ValueError, "pooling is 'max'; choose one of"),
        (
            lambda m, x: (SkipConnectionTuning("narrow", "head").attach(m), m(x)),
            ValueError,
            "layer 'narrow' puts out (30, 4) and head 'head' takes (30, 6); give inputs to attach, for a projection",
        ),
        (
            lambda m, x: (SkipConnectionTuning("blocks.1", "narrow").attach(m), m(x)),
            ValueError,
            "head 'narrow' ran before layer 'blocks.1'; choose a layer that comes before it",
        ),
        (
            lambda m, x: (SkipConnectionTuning("blocks.1", "head").attach(m), m.blocks[1](x), m.head(input=x)),
            ValueError,
            "head 'head' is called with keyword arguments only; let the model",
        ),
    ],
)
def test_refused_in_words(model, batch, call, error, words):
    with pytest.raises(error, match=re.escape(words)):
        call(model, batch[0])


def test_what_does_not_fit_leaves_the_model_as_it_was(model, batch):
    """Where attach refuses, by a batch, nothing stays."""
    before = [p.requires_grad for p in model.parameters()]
    with pytest.raises(ValueError, match="ran before layer"):
        SkipConnectionTuning("blocks.1", "narrow").attach(model, batch[0])
    assert [p.requires_grad for p in model.parameters()] == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    with pytest.raises(ValueError, match="is attached already; unload it"):
        LinearProbe("head").attach(model).attach(Model())
