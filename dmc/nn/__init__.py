"""torch modules: the masked product, a factorization to train inside any model, adapters, tuning, and collapse."""

# First: it says what to install where torch is missing.
from dmc.nn.masked_product import MaskedProduct

# isort: split
from dmc.nn.adapters import DeepLoRA
from dmc.nn.collapse import collapse_by_layer
from dmc.nn.factorization import CompressedFactorization
from dmc.nn.tuning import FullTuning, LayerTuning, LinearProbe, SkipConnectionTuning

__all__ = [
    "CompressedFactorization",
    "DeepLoRA",
    "FullTuning",
    "LayerTuning",
    "LinearProbe",
    "MaskedProduct",
    "SkipConnectionTuning",
    "collapse_by_layer",
]
