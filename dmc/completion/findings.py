"""What a user has to be told of a fit: whatever makes the result worthless, and nothing else."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from dmc import _checks
from dmc._warn import warn
from dmc.completion import tuning
from dmc.completion.results import Selected
from dmc.completion.robust import gross
from dmc.completion.tables import Labels
from dmc.observations import Observations
from dmc.solver.loop import Run
from dmc.solver.solution import Status


def of_ending(run: Run, status: Status, rank: int | None = None) -> None:
    """How a fit ended, of a matrix or of a tensor; of a matrix the rank that the entries may be too few for."""
    if run.stopped_by == "interrupt":
        tell("interrupt", f"interrupted after {run.n_steps} steps: the model holds what was reached")
    if status is Status.MAX_STEPS:
        few = "too few" if rank is None else f"too few for rank {rank}"
        tell(
            "max steps",
            f"not converged after {run.n_steps} steps: the entries may be {few}; observe more of them, or give a "
            "smaller rank",
            ConvergenceWarning,
        )


class Findings:
    """The warnings of one fit.

    Parameters
    ----------
    observations : Observations
        NumPy.
    labels : Labels
    X : object
        What was given.
    missing_values : float or None
    """

    def __init__(self, observations: Observations, labels: Labels, X: Any, missing_values: float | None) -> None:
        self._observations, self._labels, self._missing = observations, labels, missing_values
        self._sparse = hasattr(X, "tocsr")
        self._given = X

    def of_data(self, masked: bool) -> None:
        """What the data look like, whatever the fit."""
        observations = self._observations
        values, n = observations.values, observations.n_observed
        self._of_empty()
        whole = n == observations.shape[0] * observations.shape[1]
        if n >= tuning.WARNINGS.several and not whole and (values == values[0]).all():
            where = (
                "of a sparse matrix only stored entries count as observed; give a dense array, or store the others too"
                if self._sparse
                else "if a mask was given, check that it is True where an entry was observed"
            )
            tell(
                "equal",
                f"all {n:,} observed entries are {values[0]:g}, which says nothing about the missing ones; {where}",
            )
        zeros = int((values == 0).sum())
        flags = ((values == 0) | (values == 1)).all()
        if (
            whole
            and not (masked or self._sparse or flags)
            and tuning.WARNINGS.several <= tuning.WARNINGS.zeros * n <= zeros < n
        ):
            tell(
                "zeros",
                f"nothing is missing and {zeros:,} of {n:,} entries are 0: all count as observed; if zeros stand for "
                "missing entries, pass missing_values=0",
            )
        if self._missing is not None and self._missing == self._missing and self._occurs() is False:
            tell("placeholder", f"missing_values is {self._missing:g}, which does not occur in X; check the number")

    def _of_empty(self) -> None:
        """Rows and columns that nothing is known of."""
        pattern = self._observations.pattern
        empty_rows, empty = np.flatnonzero(pattern.row_counts == 0), np.flatnonzero(pattern.column_counts == 0)
        if len(empty_rows) or len(empty):
            parts = [
                f"{len(lines):,} of {_checks.count(of, noun)}"
                for lines, of, noun in (
                    (empty_rows, len(pattern.row_counts), "row"),
                    (empty, len(pattern.column_counts), "column"),
                )
                if len(lines)
            ]
            which = f" ({self._labels.named(empty.tolist())})" if len(empty) else ""
            tell(
                "empty",
                f"{' and '.join(parts)} have no observed entry{which}: the average of the others is predicted there; "
                "leave them out, or observe at least one entry of each",
            )

    def _occurs(self) -> bool | None:
        """Whether the number that stands for missing entries is there; None where that cannot be told."""
        X = getattr(self._given, "data", None) if self._sparse else self._given
        try:
            return bool((np.asarray(X) == self._missing).any())
        except (TypeError, ValueError):
            return None

    def of_model(self, model: Any, selected: Selected, judged_by: Observations | None) -> None:
        """What the model cannot do.

        Parameters
        ----------
        model : MatrixCompletion
        selected : Selected
        judged_by : Observations or None
            Entries among which some may be grossly wrong.
        """
        if model.status_ is Status.STOPPED:
            return
        pattern, blocks = self._observations.pattern, model.identifiability_
        short = ((blocks.row_blocks < 0) & (pattern.row_counts > 0)).any()
        short |= ((blocks.column_blocks < 0) & (pattern.column_counts > 0)).any()
        # Of rows and columns without any entry the user knows already.
        if self._observations.values.any() and (short or blocks.n_blocks > 1):
            tell(
                "guess",
                f"{blocks}: predictions there are guesses; observe more entries, or see complete(unknown=np.nan)",
            )
        least = min(len(blocks.row_blocks), len(blocks.column_blocks))
        bound = tuning.WARNINGS.default_bound
        if model.rank is None and not selected.exact and selected.rank == bound < least:
            tell("bound", f"no rank above {bound} was tried; give a larger bound: rank={2 * bound}")
        wrong = self._gross(selected, judged_by)
        unexplained = selected.held_out.unexplained
        if unexplained > tuning.WARNINGS.unexplained:
            tell(
                "unexplained",
                f"the model (rank {model.rank_}) predicts held-out entries with {unexplained:.0%} of the error of the "
                "column means: there are too few entries for their rank, or they are not of low rank; observe more of "
                "them",
                ConvergenceWarning,
            )
        elif model.scale_ == "columns":
            self._columns_no_better(selected, set() if judged_by is None else set(judged_by.cols[wrong].tolist()))
        elif unexplained > tuning.WARNINGS.doubtful and (
            model.residual_rms_ < tuning.WARNINGS.overfitted * model.held_out_rmse_
        ):
            tell(
                "overfitted",
                f"the model (rank {model.rank_}) predicts held-out entries with {unexplained:.0%} of the error of the "
                f"column means, and the error on fitted entries is {model.residual_rms_ / model.held_out_rmse_:.0%} of "
                "that: there are too few entries for their rank; observe more of them",
                ConvergenceWarning,
            )
        if len(wrong) and judged_by is not None:
            these = "it" if len(wrong) == 1 else "them"
            tell(
                "gross",
                f"{_checks.count(len(wrong), 'entry lies', 'entries lie')} far from the others and may distort the fit "
                f"({self._place(judged_by, wrong)}); check {these}, or use loss='robust', which leaves such entries "
                "out and lists them",
            )

    @staticmethod
    def _gross(selected: Selected, judged_by: Observations | None) -> NDArray[np.int64]:
        """Positions of the entries that look grossly wrong."""
        if judged_by is None or selected.exact:
            return np.zeros(0, np.int64)
        return gross(selected.model, judged_by, selected.model.weights)

    def _place(self, observations: Observations, entries: NDArray[np.int64]) -> str:
        """Where the first of some entries is."""
        row, column = int(observations.rows[entries[0]]), int(observations.cols[entries[0]])
        first = "the first " if len(entries) > 1 else ""
        return f"{first}at row {row}, {self._labels.named([column])}"

    def _columns_no_better(self, selected: Selected, spoilt: set[int]) -> None:
        """Columns of which even the optimistic end of what was held out says that the others tell nothing; a gross
        entry spoils the judgement of its column."""
        said, n, cols = selected.held_out, self._observations.shape[1], selected.held_out.cols
        tested = np.bincount(cols, minlength=n)
        of_means = np.square(said.mean_errors)
        won = of_means - np.square(said.errors)
        count = np.maximum(tested, 1)
        mean = np.bincount(cols, won, n) / count
        sure = np.sqrt(np.maximum(np.bincount(cols, won * won, n) / count - mean**2, 0) / count)
        size = np.bincount(cols, of_means, n) / count
        nothing = (mean + 2 * sure < tuning.WARNINGS.little * size) & (mean < (1 - tuning.WARNINGS.no_better**2) * size)
        worse = np.flatnonzero((tested >= tuning.WARNINGS.min_tested) & nothing).tolist()
        worse = [column for column in worse if column not in spoilt]
        if len(worse):
            tell(
                "no better",
                f"{self._labels.named(worse)}: predicted no better than by the mean of the column; the other columns "
                "say nothing about it",
            )


def tell(kind: str, message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line that called for the fit; in a search of scikit-learn's once, and not for every fold."""
    search: FrameType | None = None
    frame = sys._getframe().f_back
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("sklearn.model_selection"):
            search = frame
        frame = frame.f_back
    if search is not None:
        # Kept with the call of the search itself, so that it is forgotten when that ends.
        told = search.f_locals.setdefault("told by dmc", set())
        if kind in told:
            return
        told.add(kind)
    warn(message, category)
