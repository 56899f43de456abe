from . import (
    callbacks as callbacks,
    datasets as datasets,
    diagnostics as diagnostics,
    evaluation as evaluation,
    initial as initial,
    kernels as kernels,
    metrics as metrics,
    plots as plots,
    rank_path as rank_path,
    steps as steps,
    torch as torch,
)
from .completion.estimator import MatrixCompletion as MatrixCompletion
from .dense_problems import LeastSquares as LeastSquares, LinearSensing as LinearSensing
from .factors import Factors as Factors
from .observations import Observations as Observations
from .observing import observe as observe
from .problem import MaskedLeastSquares as MaskedLeastSquares
from .recommender import Recommender as Recommender
from .solution import Solution as Solution, Status as Status, StepInfo as StepInfo
from .solver import solve as solve

__version__: str
