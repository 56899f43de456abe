"""Quantities of deep linear networks in training: spectra, subspaces, the predicted block form, compression."""

from dmc.collapse import ClassStatistics, Collapse, collapse
from dmc.diagnostics.class_separation import Separation, separation
from dmc.diagnostics.law_of_parsimony import (
    BlockForm,
    Parsimony,
    block_form,
    compression_bound,
    compression_error,
    parsimony,
    predicted_rho,
)
from dmc.diagnostics.spectra import LayerSpectrum, effective_rank, imbalance, layer_spectrum, layers, principal_angles

__all__ = [
    "BlockForm",
    "ClassStatistics",
    "Collapse",
    "LayerSpectrum",
    "Parsimony",
    "Separation",
    "block_form",
    "collapse",
    "compression_bound",
    "compression_error",
    "effective_rank",
    "imbalance",
    "layer_spectrum",
    "layers",
    "parsimony",
    "predicted_rho",
    "principal_angles",
    "separation",
]
