"""What is asked of a fitted model, whichever it is: variational Bayes, a network, or preferences of clicks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dmc.factors import Factors
from dmc.observations import Observations
from dmc.recommend.bayesian_model import VariationalFactorization
from dmc.recommend.network_model import NetworkModel
from dmc.recommend.preferences import Preferences
from dmc.recommend.side_information import Described, SideInformation
from dmc.solver.solution import Record, Status


class RatingModel(Protocol):
    """A fitted model of ratings, or of clicks, that predicts mean + ⟨left, right⟩.

    Attributes
    ----------
    factors : Factors
        Two-factor, float32, in the ratings' units; the mean comes on top.
    mean : float
    noise : float
        Standard deviation of a rating around its prediction; NaN of clicks.
    rank : int
        Directions that count.
    status : Status
        How the fit ended.
    stopped_by : str or None
        With STOPPED: the callback that asked for it, or "interrupt" for Ctrl-C.
    n_iter : int
        Sweeps, or steps, that it took.
    validation_rmse : float
        Root mean squared error on ratings that were held out; NaN where none were.
    attributes : SideInformation
        Of rows and columns, as far as they were told.
    history : list of dict
        What was measured on the way. Like `n_iter` and `status`, a file keeps it beside the models and not in them.
    """

    @property
    def factors(self) -> Factors: ...

    @property
    def mean(self) -> float: ...

    @property
    def noise(self) -> float: ...

    @property
    def rank(self) -> int: ...

    @property
    def status(self) -> Status: ...

    @property
    def stopped_by(self) -> str | None: ...

    @property
    def n_iter(self) -> int: ...

    @property
    def validation_rmse(self) -> float: ...

    @property
    def attributes(self) -> SideInformation: ...

    @property
    def history(self) -> list[Record]: ...

    def served(self) -> Factors:
        """The factors with biases, each side with a last row: what is expected of one of whom nothing is known."""
        ...

    def extended(
        self,
        observations: Observations,
        row_of: NDArray[np.int64],
        column_of: NDArray[np.int64],
        changed: NDArray[np.bool_],
        described: tuple[Described | None, Described | None] = (None, None),
    ) -> RatingModel:
        """Fold-in: the model with more entries, rows and columns, or fewer, none of the others fitted again.

        New columns are placed by their entries with known rows, then new and changed rows by all of theirs.

        Parameters
        ----------
        observations : Observations
            All entries, old and new, in the data's units.
        row_of, column_of : (rows,) and (columns,) int64
            Which row and which column of this model each one is; −1 for a new one.
        changed : (rows,) bool
            Known rows that have new entries.
        described : pair of Described, optional
            What is now known of some rows, and of some columns.
        """
        ...

    def vector(self, columns: NDArray[Any], values: NDArray[Any]) -> NDArray[np.float64]:
        """(k + 2,) the row of `Factors.left` of a new row with these entries alone."""
        ...

    def contributions(self, row: int, column: int) -> NDArray[np.float64]:
        """(entries,) what each entry of a row adds to the prediction for a column."""
        ...

    def arrays(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """What `read` needs besides the entries: arrays, and what JSON can hold."""
        ...


KINDS: Mapping[str, Any] = {
    "bayes": VariationalFactorization,
    "network": NetworkModel,
    "implicit": Preferences,
}


def read(
    kind: str, arrays: Mapping[str, NDArray[Any]], numbers: Mapping[str, Any], ratings: Observations
) -> RatingModel:
    """A model of one of `KINDS` again, from what its `arrays` gave and its entries."""
    model: RatingModel = KINDS[kind].from_arrays(arrays, numbers, ratings)
    return model
