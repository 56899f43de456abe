"""Which layers are dense, and which of them a pattern names."""

import re

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from adapted_models import Conv1D, Encoder  # noqa: E402
from dmc.nn import DeepLoRA  # noqa: E402
from dmc.nn.adapters.dense_layers import chosen, dense_layers, listed  # noqa: E402

ALL = ["embed", "blocks.0.query", "blocks.0.value", "blocks.1.query", "blocks.1.value", "head"]


def test_all_that_is_dense():
    model = Encoder()
    model.more = nn.ModuleList(
        [nn.Embedding(3, 6), nn.Conv1d(1, 1, 3), nn.LayerNorm(6), Conv1D(4, 6), nn.Bilinear(3, 3, 3)]
    )
    assert list(dense_layers(model)) == [*ALL, "more.3"]
    assert dense_layers(model)["more.3"].shape == (4, 6)
    assert dense_layers(model)["blocks.0.value"].shape == (24, 12)


def test_what_is_adapted_is_still_one_layer():
    model = Encoder()
    DeepLoRA(["query"], 2).attach(model)
    assert list(dense_layers(model)) == ALL
    assert dense_layers(model)["blocks.0.query"].layer is model.blocks[0]["query"].layer


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["query"], ALL[1:5:2]),
        (["query", "head"], [*ALL[1:5:2], "head"]),
        (["blocks.1.query"], ["blocks.1.query"]),
        (["1.query"], ["blocks.1.query"]),
        (("query",), ALL[1:5:2]),
        ("query|.*value", ALL[2:5:2]),
        (r"blocks\.\d\..*", ALL[1:5]),
        (".*", ALL),
    ],
)
def test_ends_of_names_or_an_expression_for_the_whole(patterns, found):
    assert list(chosen(dense_layers(Encoder()), patterns)) == found


def test_ends_are_no_expressions_and_no_parts_of_words():
    for end in ("uery", ".*", "blocks"):
        with pytest.raises(ValueError, match=re.escape(f"{end!r} matches no dense layer")):
            chosen(dense_layers(Encoder()), [end])


def test_the_layers_of_a_large_model_are_told_by_kinds():
    model = nn.ModuleDict({f"part{i}": nn.Linear(2, 2) for i in range(20)})
    model["blocks"] = nn.Sequential(*(nn.Linear(2, 2) for _ in range(30)))
    with pytest.raises(
        ValueError, match="there are 'part0', 'part1', 'part2', 'part3', 'part4', 'part5', 'part6', 'part7' and 13 more"
    ):
        chosen(dense_layers(model), ["query"])
    with pytest.raises(ValueError, match=re.escape("there are 'blocks' (30 layers)")):
        chosen(dense_layers(nn.ModuleDict({"blocks": model["blocks"]})), ["query"])
    assert listed("abc") == "a, b, c"
