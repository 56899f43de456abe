"""torch modules: the masked product of two tensors, and a compressed factorization to train inside any model."""

from dmc.nn.modules import CompressedFactorization as CompressedFactorization, MaskedProduct as MaskedProduct
