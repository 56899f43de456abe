"""What a model's adapters share."""

import pytest

torch = pytest.importorskip("torch")

from adapted_models import Encoder  # noqa: E402
from dmc.nn import DeepLoRA  # noqa: E402
from dmc.nn.adapters.attachment import Attachment  # noqa: E402


def test_it_is_there_while_there_is_an_adapter():
    model = Encoder()
    model.head.requires_grad_(False)
    assert Attachment.at(model) is None
    one = DeepLoRA(["query"], 2).attach(model)
    attachment = Attachment.at(model)
    two = DeepLoRA(["value", "query"], 2, name="two").attach(model)
    assert Attachment.at(model) is attachment
    assert list(attachment.layers) == ["blocks.0.query", "blocks.1.query", "blocks.0.value", "blocks.1.value"]
    two.unload()
    assert list(attachment.layers) == ["blocks.0.query", "blocks.1.query"]
    assert not any(p.requires_grad for p in model.parameters())  # as none is active
    one.activate()
    assert attachment.active == "default"
    one.unload()
    assert Attachment.at(model) is None
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == {"head.weight", "head.bias"}


def test_modules_to_save_are_found_by_the_ends_of_their_names():
    model = Encoder()
    found = Attachment(model).saved_modules(["head", "0.query"])
    assert found == {"head": model.head, "blocks.0.query": model.blocks[0]["query"]}
    assert Attachment(model).saved_modules([]) == {}


def test_a_head_may_be_named_as_a_part_of_an_adapted_layer_is():
    model = torch.nn.ModuleDict({"dense": torch.nn.Linear(6, 6), "layer": torch.nn.Linear(6, 2)})
    DeepLoRA(["dense"], 2, modules_to_save=["layer"]).attach(model)
    assert not any(p.requires_grad for p in model["dense"].layer.parameters())
    assert all(p.requires_grad for p in model["layer"].parameters())


def test_what_one_adapter_adapts_is_no_module_to_save_of_another():
    model = Encoder()
    DeepLoRA(["query", "head"], 2, name="adapts").attach(model)
    with pytest.raises(ValueError, match="head is a module to save and has layers to adapt"):
        DeepLoRA(["query"], 2, name="saves", modules_to_save=["head"]).attach(model)
    assert list(DeepLoRA.of(model)) == ["adapts"]
    model = Encoder()
    DeepLoRA(["query"], 2, name="saves", modules_to_save=["head"]).attach(model)
    with pytest.raises(ValueError, match=r"head is a module to save of adapter 'saves' and has layers to adapt"):
        DeepLoRA(["query", "head"], 2, name="adapts").attach(model)
    assert list(DeepLoRA.of(model)) == ["saves"]


def test_a_tied_weight_that_stays_merged_requires_gradients_again():
    model = torch.nn.ModuleDict({"embedding": torch.nn.Embedding(10, 6), "head": torch.nn.Linear(6, 10)})
    model["head"].weight = model["embedding"].weight
    adapter = DeepLoRA(["head"], 2).attach(model)
    adapter.merge()
    adapter.unload()
    assert model["head"].weight is not model["embedding"].weight
    assert all(p.requires_grad for p in model.parameters())
