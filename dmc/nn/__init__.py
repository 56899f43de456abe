"""torch modules: the masked product of two tensors, a compressed factorization to train inside any model, adapters."""

# First: it says what to install where torch is missing.
from dmc.nn.modules import CompressedFactorization as CompressedFactorization, MaskedProduct as MaskedProduct

# isort: split
from dmc.nn.adapters import DeepLoRA as DeepLoRA
