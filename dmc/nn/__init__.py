"""torch modules: the masked product of two tensors, and a compressed factorization to train inside any model."""

from dmc.nn.collapse import collapse_by_layer as collapse_by_layer
from dmc.nn.modules import CompressedFactorization as CompressedFactorization, MaskedProduct as MaskedProduct
