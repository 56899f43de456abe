from . import (
    callbacks as callbacks,
)
from . import (
    datasets as datasets,
)
from . import (
    initial as initial,
)
from . import (
    kernels as kernels,
)
from . import (
    metrics as metrics,
)
from . import (
    plots as plots,
)
from . import (
    steps as steps,
)
from .estimator import MatrixCompletion as MatrixCompletion
from .factors import Factors as Factors
from .observations import Observations as Observations
from .observations import observe as observe
from .problem import MaskedLeastSquares as MaskedLeastSquares
from .recommender import Recommender as Recommender
from .solution import Solution as Solution
from .solution import Status as Status
from .solver import solve as solve

__version__: str
