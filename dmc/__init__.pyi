from . import (
    datasets as datasets,
    diagnostics as diagnostics,
    distributed as distributed,
    kernels as kernels,
    metrics as metrics,
    nn as nn,
    plots as plots,
    tubal as tubal,
)
from .comparison.outcome import Comparison as Comparison
from .comparison.side_by_side import compare as compare
from .completion.estimator import MatrixCompletion as MatrixCompletion
from .completion.tensors.estimator import TensorCompletion as TensorCompletion
from .factors import Factors as Factors
from .inputs import observe as observe
from .observations import Observations as Observations
from .recommend import evaluation as evaluation
from .recommend.recommender import Recommender as Recommender
from .solver import (
    callbacks as callbacks,
    initial as initial,
    rank_path as rank_path,
    steps as steps,
)
from .solver.bures_wasserstein import BuresWasserstein as BuresWasserstein
from .solver.dense_problems import LeastSquares as LeastSquares, LinearSensing as LinearSensing
from .solver.gradient_check import check_problem as check_problem
from .solver.loop import solve as solve
from .solver.plateau import plateau_steps as plateau_steps
from .solver.problem import MaskedLeastSquares as MaskedLeastSquares
from .solver.protocol import Problem as Problem, Step as Step
from .solver.regression import LinearRegression as LinearRegression
from .solver.solution import Solution as Solution, Status as Status, StepInfo as StepInfo
from .tubal.problem import TubalLeastSquares as TubalLeastSquares

__version__: str
