"""torch modules: the masked product, a factorization to train inside any model, adapters, tuning, and collapse."""

# First: it says what to install where torch is missing.
from dmc.nn.modules import CompressedFactorization as CompressedFactorization, MaskedProduct as MaskedProduct

# isort: split
from dmc.nn.adapters import DeepLoRA as DeepLoRA
from dmc.nn.collapse import collapse_by_layer as collapse_by_layer
from dmc.nn.tuning import (
    FullTuning as FullTuning,
    LayerTuning as LayerTuning,
    LinearProbe as LinearProbe,
    SkipConnectionTuning as SkipConnectionTuning,
)
