"""Adapters of a model's dense layers: a low-rank update as a deep network (Deep LoRA), or as two factors (LoRA)."""

from dmc.nn.adapters.deep_lora import DeepLoRA as DeepLoRA
