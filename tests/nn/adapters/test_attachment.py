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
