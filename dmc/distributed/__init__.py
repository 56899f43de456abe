"""The same fits in several processes, on one machine or on many: `Recommender`, and `dmc.solve` on dealt rows."""

from dmc.distributed.agreement import ElsewhereError as ElsewhereError
from dmc.distributed.group import LostProcess as LostProcess, connected as connected
from dmc.distributed.problem import DealtLeastSquares as DealtLeastSquares, gather_factors as gather_factors
from dmc.distributed.recommender import Recommender as Recommender
from dmc.distributed.shards import file_of as file_of, load as load
