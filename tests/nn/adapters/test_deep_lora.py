"""Adapters: attached, trained, merged, taken off, several, copied, compiled, in half precision, in two processes."""

import copy
import gc
import re
import warnings
import weakref

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from adapted_models import Conv1D, Encoder, batch, dealt, train  # noqa: E402
from dmc.nn import DeepLoRA  # noqa: E402
from processes import run_processes  # noqa: E402

KINDS = {
    "deep": {},
    "four layers": {"layers": 4},
    "compressed": {"start": "compressed", "rank": 4},
    "LoRA as peft": {"layers": 2, "start": "kaiming"},
    "LoRA, A normal": {"layers": 2, "start": "normal"},
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def attached(model, kind="deep", targets=("query", "value"), **more):
    adapter = DeepLoRA(targets, **{"rank": 3, **KINDS[kind], **more})
    if adapter.start != "compressed":
        return adapter.attach(model)
    x, y = batch()
    return adapter.attach(model, lambda: nn.functional.mse_loss(model(x), y))


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_life(kind):
    model, (x, _) = Encoder(), batch()
    model.embed.weight.requires_grad_(False)  # which has to stay so
    keys, layers = list(model.state_dict()), dict(model.named_modules())
    required = {name: p.requires_grad for name, p in model.named_parameters()}
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    before = model(x).detach()

    adapter = attached(model, kind)
    assert sorted(adapter.updates) == [f"blocks.{i}.{name}" for i in (0, 1) for name in ("query", "value")]
    torch.testing.assert_close(model(x), before, rtol=0, atol=1e-5)
    trainable = {id(p) for p in model.parameters() if p.requires_grad}
    assert trainable == {id(p) for p in adapter.parameters()}

    losses = train(model, adapter.parameter_groups(1e-2, 0.5), steps=150)
    assert losses[-1] < 0.97 * losses[0]
    assert all(
        torch.equal(p, weights[name.replace(".layer", "")])
        for name, p in model.named_parameters()
        if ".updates" not in name
    )
    trained = model(x).detach()
    assert (trained - before).abs().max() > 0.01

    adapter.merge()
    torch.testing.assert_close(model(x), trained, rtol=0, atol=1e-5)
    adapter.unmerge()
    assert torch.equal(model(x), trained)

    adapter.unload()
    assert list(model.state_dict()) == keys
    assert dict(model.named_modules()) == layers
    assert {name: p.requires_grad for name, p in model.named_parameters()} == required
    assert torch.equal(model(x), before)
    assert DeepLoRA.of(model) == {}
    assert attached(model, kind).model is model  # and all over again


def test_what_is_merged_stays_after_unload():
    model, (x, _) = Encoder(), batch()
    keys, required = list(model.state_dict()), [p.requires_grad for p in model.parameters()]
    adapter = attached(model)
    train(model, adapter.parameter_groups(1e-2))
    trained = model(x).detach()
    adapter.merge()
    adapter.unload()
    assert list(model.state_dict()) == keys
    assert [p.requires_grad for p in model.parameters()] == required
    torch.testing.assert_close(model(x).detach(), trained, rtol=0, atol=1e-5)


def test_an_update_is_scaled_by_alpha_over_rank():
    plain, scaled = (attached(Encoder(), alpha=alpha, scale=0.5) for alpha in (None, 6.0))
    for name, update in plain.updates.items():
        torch.testing.assert_close(scaled.updates[name].dense(), 2 * update.dense())
        torch.testing.assert_close(
            scaled.singular_values()[name], 2 * torch.linalg.svdvals(update.dense().double())[:3]
        )


@pytest.mark.parametrize("kind", ["deep", "compressed", "LoRA as peft"])
def test_gradients_are_those_of_the_dense_update(kind):
    model, (x, y) = Encoder().double(), [t.double() for t in batch()]
    other = copy.deepcopy(model)
    adapter = DeepLoRA(["query"], **{"rank": 4, **KINDS[kind], "scale": 0.5, "alpha": 2.0})
    adapter.attach(model, (lambda: nn.functional.mse_loss(model(x), y)) if kind == "compressed" else None)
    nn.functional.mse_loss(model(x), y).backward()
    got = {f"{name}.{key}": p.grad for name, of in adapter.updates.items() for key, p in of.named_parameters()}

    factors = {key: p.detach().clone().requires_grad_() for key, p in adapter.state_dict().items()}
    for name, layer in ((f"blocks.{i}.query", other.blocks[i]["query"]) for i in (0, 1)):
        W = factors[f"{name}.U"]
        for k in range(len(adapter.updates[name].cores)):
            W = W @ factors[f"{name}.cores.{k}"]
        change = 2.0 / 4 * W @ factors[f"{name}.V"]
        weight, bias = layer.weight.detach() + change, layer.bias
        layer.forward = lambda t, weight=weight, bias=bias: nn.functional.linear(t, weight, bias)
    nn.functional.mse_loss(other(x), y).backward()
    for key, factor in factors.items():
        torch.testing.assert_close(got[key], factor.grad, rtol=1e-10, atol=1e-14)


def test_three_layers_learn_what_is_of_rank_one_and_two_layers_more():
    """Of a planted update of rank one, from few samples; the starts' own spectra are flat or zero."""
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(60, 20, generator=rng)
    planted = torch.outer(torch.randn(20, generator=rng), torch.randn(20, generator=rng)) / 4
    noise = 0.5 * torch.randn(60, 20, generator=rng)
    ratios = {}
    for kind in ("deep", "LoRA, A normal"):
        model = nn.Sequential(nn.Linear(20, 20))
        y = model(x).detach() + x @ planted.T + noise
        adapter = attached(model, kind, ["0"], rank=8)
        optimizer = torch.optim.AdamW(adapter.parameter_groups(3e-3), weight_decay=0)
        for _ in range(400):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
        s = adapter.singular_values()["0"]
        ratios[kind] = float(s[1] / s[0])
    assert ratios["deep"] < 0.5 * ratios["LoRA, A normal"]


def test_rates_of_outer_and_inner_factors():
    adapter = attached(Encoder(), "compressed")
    cores, outer = adapter.parameter_groups(1e-2, 0.1)
    assert (cores["lr"], len(cores["params"])) == (1e-2, 3 * 4)
    assert outer["lr"] == pytest.approx(1e-3)
    assert {p.shape for p in cores["params"]} == {(4, 4)}
    lora = attached(Encoder(), "LoRA as peft").parameter_groups(1e-2)
    assert [(group["lr"], len(group["params"])) for group in lora] == [(1e-2, 8)]
    assert sum(p.numel() for group in (cores, outer) for p in group["params"]) == adapter.n_parameters


# --- several


def test_several_adapters_take_turns():
    model, (x, _) = Encoder(), batch()
    before = model(x).detach()
    first = attached(model, targets=["query"], name="first")
    train(model, first.parameter_groups(1e-2))
    of_first = model(x).detach()
    second = attached(model, "LoRA as peft", name="second", seed=1)
    assert list(DeepLoRA.of(model)) == ["first", "second"]
    assert (first.active, second.active) == (False, True)
    torch.testing.assert_close(model(x), before, rtol=0, atol=1e-5)
    kept = {key: value.clone() for key, value in first.state_dict().items()}
    train(model, second.parameter_groups(1e-2), seed=1)
    of_second = model(x).detach()
    assert all(torch.equal(value, kept[key]) for key, value in first.state_dict().items())

    first.activate()
    assert torch.equal(model(x), of_first)
    assert {id(p) for p in model.parameters() if p.requires_grad} == {id(p) for p in first.parameters()}
    first.deactivate()
    assert torch.equal(model(x), before)
    first.merge()
    second.merge()
    both = model(x).detach()
    first.unload()  # which leaves its part in the weights
    torch.testing.assert_close(model(x), both, rtol=0, atol=1e-5)
    second.unmerge()
    torch.testing.assert_close(model(x), of_first, rtol=0, atol=1e-5)
    second.activate()
    second.unload()
    torch.testing.assert_close(model(x), of_first, rtol=0, atol=1e-5)
    assert not any("updates" in key for key in model.state_dict())
    del of_second


def test_a_copy_of_a_model_has_adapters_of_its_own():
    model, (x, _) = Encoder(), batch()
    adapter = attached(model)
    twin = copy.deepcopy(model)
    its = DeepLoRA.of(twin)["default"]
    assert its.model is twin
    train(twin, its.parameter_groups(1e-2))
    assert not torch.equal(twin(x), model(x))
    its.merge()
    assert not adapter.merged
    its.unload()
    assert DeepLoRA.of(twin) == {}
    assert adapter.active


# --- other layers


@pytest.mark.parametrize("kind", ["deep", "compressed"])
def test_a_transposed_weight(kind):
    model = nn.Sequential(nn.Linear(6, 8), Conv1D(3, 8))
    (x, _), shape = batch(), (3, 8)
    before = model(x).detach()
    adapter = attached(model, kind, ["1"], rank=2)
    assert adapter.updates["1"].dense().shape == shape
    train(model, adapter.parameter_groups(1e-2), steps=60)
    trained = model(x).detach()
    assert (trained - before).abs().max() > 1e-3
    adapter.merge()
    torch.testing.assert_close(model(x), trained, rtol=0, atol=1e-5)


def test_a_layer_at_two_places_is_adapted_at_both():
    shared = nn.Linear(6, 6)
    model = nn.Sequential(shared, nn.Tanh(), shared)
    adapter = attached(model, targets=["0"])
    assert model[0] is model[2]
    assert list(adapter.updates) == ["0"]
    adapter.unload()
    assert model[0] is shared is model[2]


def test_merging_leaves_a_tied_weight_elsewhere_alone():
    model = nn.ModuleDict({"embedding": nn.Embedding(10, 6), "output": nn.Linear(6, 10, bias=False)})
    model["output"].weight = model["embedding"].weight
    adapter = attached(model, targets=["output"], scale=0.5)
    before = model["embedding"].weight.detach().clone()
    adapter.merge()
    assert torch.equal(model["embedding"].weight, before)
    assert not torch.equal(model["output"].layer.weight, before)
    adapter.unmerge()
    assert model["output"].layer.weight is model["embedding"].weight


def test_who_reads_the_weight_gets_the_adapted_one():
    """Attention's output projection is never called: its weight is read. In eval mode the whole block is fused."""
    model = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    x = torch.randn(2, 5, 8)
    adapter = attached(model, targets=["out_proj", "linear1"], scale=0.7)
    nn.functional.mse_loss(model(x), x).backward()
    assert all(p.grad is not None and p.grad.any() for p in adapter.parameters())
    expected = model(x).detach()
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), expected)
    adapter.merge()
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected)
    adapter.unmerge()
    adapter.deactivate()
    assert (model(x) - expected).abs().max() > 1e-3


def test_a_head_is_trained_and_comes_back_trainable_or_not_as_it_was():
    model = Encoder()
    model.head.bias.requires_grad_(False)
    adapter = attached(model, modules_to_save=["head"])
    assert model.head.bias.requires_grad
    other = attached(model, name="other")
    assert not model.head.weight.requires_grad
    adapter.activate()
    assert model.head.weight.requires_grad
    other.unload()
    adapter.unload()
    assert (model.head.weight.requires_grad, model.head.bias.requires_grad) == (True, False)


# --- frameworks


@pytest.mark.parametrize("kind", ["deep", "LoRA as peft"])
def test_compiled_whole(kind):
    model, (x, y) = Encoder(), batch()
    adapter = attached(model, kind, scale=0.3)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    grads = []
    for f in (model, compiled):
        nn.functional.mse_loss(f(x), y).backward()
        grads.append([p.grad.clone() for p in adapter.parameters()])
        for p in adapter.parameters():
            p.grad = None
    torch.testing.assert_close(grads[0], grads[1])
    adapter.merge()
    torch.testing.assert_close(compiled(x), model(x))
    adapter.unmerge()
    adapter.deactivate()
    torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_tiny_factors_and_their_gradients_are_alive(dtype):
    model, (x, y) = Encoder(), batch()
    adapter = attached(model)
    with torch.autocast("cpu", dtype):
        out = model(x)
        assert out.dtype == dtype
        loss = nn.functional.mse_loss(out.float(), y)
    loss.backward()
    half = [p.grad.clone() for p in adapter.parameters()]
    for p in adapter.parameters():
        p.grad = None
    nn.functional.mse_loss(model(x), y).backward()
    for got, p in zip(half, adapter.parameters(), strict=True):
        assert (got - p.grad).norm() < 0.1 * p.grad.norm()


def test_a_model_in_half_precision_has_factors_in_single():
    model = Encoder().to(torch.bfloat16)
    x = batch()[0].to(torch.bfloat16)
    before = model(x)
    adapter = attached(model, scale=0.3)
    assert {p.dtype for p in adapter.parameters()} == {torch.float32}
    changed = model(x)
    assert changed.dtype == torch.bfloat16
    adapter.merge()
    torch.testing.assert_close(model(x), changed, rtol=0.05, atol=0.05)
    adapter.unmerge()
    adapter.unload()
    assert torch.equal(model(x), before)


@pytest.mark.parametrize(("scale", "told"), [(1e-3, False), (2e-2, True), (0.3, False)])
def test_an_update_that_half_precision_does_not_hold_is_told_when_it_is_merged(scale, told):
    torch.manual_seed(0)
    adapter = attached(Encoder().to(torch.bfloat16), scale=scale)  # ΔW of the size of scale³
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        adapter.merge()
    said = [str(w.message) for w in caught]
    assert bool(said) == told
    if told:
        assert re.match(
            r"4 of 4 layers \(blocks.0.query, .*lose most of their update .* what bfloat16 resolves", said[0]
        )


def test_moved_to_another_precision_while_merged():
    model, (x, _) = Encoder(), batch()
    adapter = attached(model, scale=0.3)
    adapter.merge()
    model.double()
    adapter.unmerge()
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert model(x.double()).dtype == torch.float64


def test_under_gradient_checkpointing():
    model, (x, y) = Encoder(), batch()
    adapter = attached(model)
    grads = []
    for f in (model, lambda t: checkpoint(model, t, use_reentrant=False)):
        nn.functional.mse_loss(f(x), y).backward()
        grads.append([p.grad.clone() for p in adapter.parameters()])
        for p in adapter.parameters():
            p.grad = None
    torch.testing.assert_close(grads[0], grads[1])


def test_dealt_to_two_processes():
    several, alone = run_processes(2, dealt, 2), dealt(None, 1)
    for key, value in alone.items():
        np.testing.assert_array_equal(several[0][key], several[1][key])
        np.testing.assert_allclose(several[0][key], value, rtol=1e-4, atol=1e-6)


def test_nothing_keeps_a_model_alive():
    model = Encoder()
    adapter = attached(model)
    train(model, adapter.parameter_groups(1e-2), steps=1)
    gone = weakref.ref(model)
    del model, adapter
    gc.collect()
    assert gone() is None


# --- state


def test_the_state_is_the_factors_alone_and_goes_into_another():
    one, other = (attached(Encoder(), seed=seed) for seed in (0, 1))
    state = one.state_dict()
    assert set(state) == {
        f"blocks.{i}.{n}.{k}" for i in (0, 1) for n in ("query", "value") for k in ("U", "V", "cores.0")
    }
    other.merge()
    other.load_state_dict(state)
    assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())
    layer = other.model.blocks[0]["query"]
    torch.testing.assert_close(layer.weight, layer.own_weight + one.updates["blocks.0.query"].dense())
    with pytest.raises(ValueError, match=re.escape("blocks.0.query.U: 12×3 there, 12×2 here")):
        attached(Encoder(), rank=2).load_state_dict(state)
    with pytest.raises(ValueError, match=re.escape("state_dict is of another adapter: blocks.0.query.U missing in it")):
        other.load_state_dict({key: value for key, value in state.items() if key != "blocks.0.query.U"})


# --- bad input


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank": 0}, "rank is 0"),
        ({"rank": 2.5}, "rank is 2.5"),
        ({"layers": 1}, "layers is 1; it has to be at least 2"),
        ({"start": "ones"}, "start is 'ones'; choose one of 'orthogonal', 'compressed', 'kaiming', 'normal'"),
        ({"start": "kaiming"}, "start is 'kaiming', LoRA's, and layers is 3; give layers=2"),
        ({"start": "compressed", "rank": 7}, "rank is 7 and the compressed start takes half of it.*make it even"),
        ({"scale": 0}, "scale is 0"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"alpha": -1.0}, "alpha is -1"),
        ({"name": "a.b"}, "name is 'a.b'; give a word without dots"),
        ({"name": "keys"}, "name is 'keys'; give a word"),
        ({"name": "training"}, "name is 'training'; give a word"),
        ({"name": ""}, "name is ''; give a word"),
        ({"rank": True}, "rank is True"),
        ({"modules_to_save": "head"}, "modules_to_save is 'head'; give a list"),
    ],
)
def test_settings_that_are_none(settings, said):
    with pytest.raises((ValueError, TypeError), match=said):
        DeepLoRA(["query"], **settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"targets": ["querry"]},
            r"'querry' matches no dense layer; there are 'embed', 'query' \(2 layers\), 'value' \(2 layers\)",
        ),
        ({"targets": ["query", "blocks"]}, "'blocks' matches no dense layer"),
        ({"targets": []}, "target_modules is empty; name dense layers"),
        ({"targets": "qu[ery"}, "which is not a regular expression"),
        ({"targets": [3]}, "target_modules holds 3; give names of layers"),
        ({"rank": 13}, r"rank is 13 and 4 layers are smaller, such as blocks.0.query \(12×12\); give at most 12"),
        ({"targets": ["head"], "rank": 4}, r"rank is 4 and 1 layer is smaller, such as head \(3×12\)"),
        (
            {"modules_to_save": ["classifier"]},
            "'classifier' is not a module of the model; its top-level modules are 'embed', 'blocks'",
        ),
        ({"modules_to_save": ["blocks"]}, "blocks is a module to save and has layers to adapt"),
    ],
)
def test_a_model_that_does_not_fit(settings, said):
    model = Encoder()
    keys = list(model.state_dict())
    with pytest.raises((ValueError, TypeError), match=said):
        attached(model, **settings)
    assert list(model.state_dict()) == keys
    assert all(p.requires_grad for p in model.parameters())
    assert DeepLoRA.of(model) == {}


def test_models_that_cannot_be_adapted():
    for model, said in (
        (3, "model is int; give a torch.nn.Module"),
        (nn.Linear(6, 6), "the model is a dense layer itself"),
        (nn.Sequential(nn.Conv2d(1, 1, 3)), "the model has no dense layers"),
        (nn.Sequential(nn.LazyLinear(6)), "0 has no weight yet"),
        (nn.Sequential(nn.Linear(6, 6, device="meta")), "0 is on the meta device and has no values yet"),
    ):
        with pytest.raises((ValueError, TypeError), match=said):
            DeepLoRA("0", 2).attach(model)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of torch's quantisation
def test_a_quantised_layer_is_refused():
    model = torch.ao.quantization.quantize_dynamic(Encoder(), {nn.Linear}, torch.qint8)
    with pytest.raises(ValueError, match=r"blocks.0.query is quantised \(Linear\); adapt the model before"):
        attached(model)
    model = Encoder()
    model.blocks[1]["query"].weight = nn.Parameter(torch.zeros(12, 12, dtype=torch.int8), requires_grad=False)
    with pytest.raises(ValueError, match=r"blocks.1.query is quantised \(int8\)"):
        attached(model)


def test_what_was_done_already():
    model = Encoder()
    adapter = DeepLoRA(["query"], 3)
    for call in (adapter.unload, adapter.merge, adapter.activate, lambda: adapter.save("x")):
        with pytest.raises(ValueError, match="adapter 'default' is not attached to a model; call attach first"):
            call()
    adapter.attach(model)
    with pytest.raises(ValueError, match="the model has an adapter 'default' already; unload it, or give"):
        attached(model)
    with pytest.raises(ValueError, match="adapter 'default' is attached already"):
        adapter.attach(Encoder())
    with pytest.raises(ValueError, match="is not merged"):
        adapter.unmerge()
    adapter.merge()
    with pytest.raises(ValueError, match="adapter 'default' is merged already; unmerge it"):
        adapter.merge()
    attached(model, name="other", modules_to_save=["head"])
    with pytest.raises(ValueError, match="head is trained with adapter 'other' already"):
        attached(model, name="third", modules_to_save=["head"])


def test_adapters_of_a_model_and_of_a_part_of_it_do_not_meet():
    model = nn.Sequential(Encoder(), nn.Linear(3, 3))
    adapter = attached(model[0])
    for other in (model, model[0].blocks):
        with pytest.raises(ValueError, match=r"adapted already, .* attach all adapters to one and the same module"):
            attached(other)
    adapter.unload()
    attached(model)


def test_a_parametrised_weight_is_adapted_and_not_merged():
    model = Encoder()
    nn.utils.parametrizations.weight_norm(model.blocks[0]["query"])
    adapter = attached(model, scale=0.3)
    assert train(model, adapter.parameter_groups(1e-2), steps=2)
    with pytest.raises(ValueError, match=r"the weight of blocks\.0\.query is made from other parameters"):
        adapter.merge()
    assert not adapter.merged


def test_an_adapter_comes_before_what_wraps_the_model():
    model = Encoder()
    compiled = torch.compile(model, backend="eager")
    adapter = attached(compiled)
    assert adapter.model is model
    assert not any("_orig_mod" in name for name in adapter.updates)
