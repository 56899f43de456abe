"""The same fits in several processes, on one machine or on many: `Recommender`, and `dmc.solve` on dealt rows."""

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
