"""Fits in several processes, on one machine or many: `Recommender`, and `dmc.solve` with rows dealt to them."""

from dmc.distributed.agreement import ElsewhereError
from dmc.distributed.group import LostProcess, connected
from dmc.distributed.problem import DealtLeastSquares, gather_factors
from dmc.distributed.recommender import Recommender
from dmc.distributed.shards import file_of, load

__all__ = [
    "DealtLeastSquares",
    "ElsewhereError",
    "LostProcess",
    "Recommender",
    "connected",
    "file_of",
    "gather_factors",
    "load",
]
