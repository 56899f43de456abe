"""What a user has to be told of a tensor's completion: whatever makes the result worthless, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from dmc import _checks
from dmc.completion import tuning
from dmc.completion.findings import tell
from dmc.completion.tensors.model import TensorModel, TubalModel
from dmc.completion.tensors.selection import Selected
from dmc.completion.tensors.tuning import TENSORS


def of_data(values: NDArray[Any], observed: NDArray[np.bool_], masked: bool) -> None:
    """What the data look like, whatever the fit."""
    seen, whole = values[observed], bool(observed.all())
    several = tuning.WARNINGS.several
    if len(seen) >= several and not whole and (seen == seen[0]).all():
        tell(
            "equal",
            f"all {len(seen):,} observed entries are {seen[0] + 0.0:g}, which says nothing about the missing ones; if "
            "a mask was given, check that it is True where an entry was observed",
        )
    zeros = int((seen == 0).sum())
    flags = ((seen == 0) | (seen == 1)).all()
    if whole and not masked and not flags and several <= tuning.WARNINGS.zeros * len(seen) <= zeros < len(seen):
        tell(
            "zeros",
            f"nothing is missing and {zeros:,} of {len(seen):,} entries are 0: all count as observed; if zeros stand "
            "for missing entries, pass missing_values=0",
        )
    empty = [int((~lines).sum()) for lines in lines_seen(observed)]
    if any(empty):
        parts = " and ".join(
            f"{count:,} of {_checks.count(n, 'slice')} across axis {axis}"
            for axis, (count, n) in enumerate(zip(empty, observed.shape, strict=True))
            if count
        )
        tell(
            "empty",
            f"{parts} have no observed entry: predictions there are guesses; leave them out, observe at least one "
            "entry of each, or see complete(unknown=np.nan)",
        )


def of_placeholder(values: NDArray[Any], missing_values: float | None) -> None:
    """Whether the number that stands for missing entries is there at all."""
    if missing_values is not None and missing_values == missing_values and not (values == missing_values).any():
        tell("placeholder", f"missing_values is {missing_values:g}, which does not occur in X; check the number")


def lines_seen(observed: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """For each axis, whether any entry was observed at each of its positions."""
    others = (tuple(other for other in range(3) if other != axis) for axis in range(3))
    return [np.asarray(observed.any(axes)) for axes in others]


def of_model(selected: Selected, observed: NDArray[np.bool_], bound: int | None) -> None:
    """What the model cannot do."""
    model = selected.model
    if isinstance(model, TubalModel):
        _of_tubes(model, observed, selected.exact)
    if selected.short:
        tell(
            "short",
            f"the entries of {_checks.count(selected.short, 'row or column', 'rows and columns')} of the "
            f"{'slices' if isinstance(model, TubalModel) else 'unfolding'} do not determine the exact model there: "
            "predictions for them are guesses; observe more",
        )
    width = int(model.widths.max()) if isinstance(model, TubalModel) else model.factors.width
    if bound is None and not selected.exact and width == TENSORS.default_bound:
        tell("bound", f"no rank above {TENSORS.default_bound} was tried; give a larger bound: rank={2 * width}")
    unexplained = selected.error / selected.mean_error if selected.mean_error > 0 else 0.0
    few = observed.sum() < freedom(model) and unexplained > tuning.WARNINGS.doubtful
    if not selected.exact and (few or unexplained > tuning.WARNINGS.unexplained):
        tell(
            "unexplained",
            f"the model predicts held-out entries with {unexplained:.0%} of the error of their mean: the "
            f"{_checks.count(int(observed.sum()), 'entry', 'entries')} are too few for their rank, or not of low rank; "
            "observe more of them",
            ConvergenceWarning,
        )


def _of_tubes(model: TubalModel, observed: NDArray[np.bool_], exact: bool) -> None:
    """Tubes of which nothing was observed, or none partly."""
    length = observed.shape[model.tube]
    counts = observed.sum(model.tube)
    counts = counts[counts.any(1)][:, counts.any(0)]  # of empty slices the user knows already
    missing, total = int((counts == 0).sum()), counts.size
    if missing == 0 or length == 1:
        return
    if ((counts == 0) | (counts == length)).all():
        tell(
            "separable",
            f"each of {total:,} tubes along axis {model.tube} is either fully observed or fully missing ({missing:,} "
            "of them): nothing couples the slices of the transform, each of which is completed as a separate matrix",
        )
    elif not exact and missing > TENSORS.few_tubes * total:
        tell(
            "tubes",
            f"{missing:,} of {_checks.count(total, 'tube')} along axis {model.tube} have no observed entry: "
            "predictions there rely on the low rank across the other axes alone",
        )


def freedom(model: TensorModel) -> float:
    """Degrees of freedom of a model."""
    if isinstance(model, TubalModel):
        m, n = (length for axis, length in enumerate(model.shape) if axis != model.tube)
        return float(model.transform.weights @ (model.widths * (m + n - model.widths)))
    k, (m, n) = model.factors.width, model.factors.shape
    return float(k * (m + n - k))
