"""Adapters in models of Hugging Face, and LoRA beside peft's."""

from __future__ import annotations

import copy

import pytest

REASON = "is not installed here; `make integrations` runs this with it"
transformers = pytest.importorskip("transformers", reason=f"transformers {REASON}")
peft = pytest.importorskip("peft", reason=f"peft {REASON}")

import torch  # noqa: E402

from dmc.nn import DeepLoRA  # noqa: E402


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def bert():
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    return transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=50, **sizes)).eval()


def gpt2():
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 20}
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=50, bos_token_id=0, eos_token_id=0, **sizes)
    ).eval()


# What the one says of the other, and of itself.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

IDS = torch.tensor([[1, 5, 7, 9], [2, 2, 30, 4]])


@pytest.mark.parametrize(
    ("make", "targets", "labels"), [(bert, ["query", "value"], torch.tensor([0, 1])), (gpt2, ["c_attn", "c_fc"], IDS)]
)
@pytest.mark.parametrize("start", ["orthogonal", "compressed"])
def test_in_a_model_of_hugging_face(make, targets, labels, start, tmp_path):
    model = make()
    fresh, keys = copy.deepcopy(model), list(model.state_dict())
    before = model(IDS).logits.detach()
    heads = ["classifier"] if make is bert else []
    adapter = DeepLoRA(targets, 4, start=start, modules_to_save=heads)
    adapter.attach(model, None if start == "orthogonal" else lambda: model(IDS, labels=labels).loss)
    torch.testing.assert_close(model(IDS).logits, before, rtol=0, atol=1e-5)
    groups = adapter.parameter_groups(1e-2)
    optimizer = torch.optim.AdamW([*groups, {"params": [p for n, p in model.named_parameters() if "classifier" in n]}])
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = model(IDS, labels=labels).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.01
    trained = model(IDS).logits.detach()
    adapter.save(tmp_path / "adapter")
    DeepLoRA.load(tmp_path / "adapter", fresh)
    torch.testing.assert_close(fresh(IDS).logits, trained)
    adapter.merge()
    torch.testing.assert_close(model(IDS).logits, trained, rtol=0, atol=1e-5)
    adapter.unmerge()
    adapter.unload()
    assert list(model.state_dict()) == keys


@pytest.mark.parametrize(("make", "targets"), [(bert, ["query", "value"]), (gpt2, ["c_attn"])])
def test_lora_is_that_of_peft(make, targets):
    """The same factors: the same outputs and gradients, the same weights when merged, the same layers chosen."""
    ours, theirs = make(), make()
    theirs.load_state_dict(ours.state_dict())
    adapter = DeepLoRA(targets, 4, layers=2, start="kaiming", alpha=6.0).attach(ours)
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=targets, fan_in_fan_out=make is gpt2)
    other = peft.get_peft_model(theirs, config).eval()
    pairs = {}
    for name, update in adapter.updates.items():
        layer = other.base_model.model.get_submodule(name)
        A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        assert not update.U.any()
        assert not B.any()
        bound = update.V.shape[1] ** -0.5
        assert update.V.abs().max() <= bound
        assert A.abs().max() <= bound
        with torch.no_grad():
            A.copy_(update.V)
            B.copy_(0.1 * torch.randn_like(B))
            update.U.copy_(B)
        pairs[name] = ((update.V, A), (update.U, B))
    assert len(pairs) == sum("lora_A" in name for name, _ in other.named_parameters())
    for model in (ours, other):
        model(IDS).logits.square().sum().backward()
    torch.testing.assert_close(ours(IDS).logits, other(IDS).logits, rtol=1e-5, atol=1e-5)
    for both in pairs.values():
        for mine, its in both:
            torch.testing.assert_close(mine.grad, its.grad, rtol=1e-4, atol=1e-5)
    adapter.merge()
    merged = other.merge_and_unload()
    for name in pairs:
        torch.testing.assert_close(ours.get_submodule(name).weight, merged.get_submodule(name).weight)
