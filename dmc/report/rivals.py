"""A recommender beside simple rivals, by the same test: who is better, and whether that could be chance."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc.recommend import evaluation
from dmc.recommend.evaluation import Difference, Evaluation
from dmc.recommend.judging.held_out import Judged, TestSet
from dmc.recommend.recommender import Recommender
from dmc.report.digits import Measured, rounded
from dmc.report.html import Row, Section
from dmc.report.judged import LISTED, JudgedRatings, Lists, lists, own_table, rows_of
from dmc.report.over_users import standard_error

ERRORS = ("rmse", "mae")
LABELS = {
    "rmse": "RMSE",
    "mae": "MAE",
    "recall": "recall",
    "precision": "precision",
    "hit_rate": "hit rate",
    "ndcg": "NDCG",
    "average_precision": "average precision",
    "reciprocal_rank": "reciprocal rank",
    "coverage": "coverage",
    "novelty": "novelty (bits)",
}


@dataclass(frozen=True)
class Beside:
    """The recommender and its rivals.

    Attributes
    ----------
    own : Evaluation
    rivals : dict of Evaluation
        "popularity", which predicts the mean for all and recommends what most have; of ratings also "biases".
    differences : dict of dict of Difference
        By rival and measure: the recommender less the rival; empty where the test has a single user.
    popular_lists : Lists
        What "popularity" recommends.
    """

    own: Evaluation
    rivals: dict[str, Evaluation]
    differences: dict[str, dict[str, Difference]]
    popular_lists: Lists


class _Asked:
    """A recommender whose answers to the test are known: it is not asked again for each rival."""

    def __init__(self, model: Recommender, predicted: NDArray[Any] | None, listed: Lists) -> None:
        self.columns_, self.feedback, self.seen_ = model.columns_, model.feedback, model.seen_
        self.users_, self.items_ = model.users_, model.items_
        self._predicted, self._listed = predicted, listed

    def predict(self, table: Any) -> dict[str, NDArray[Any]]:
        assert self._predicted is not None
        return {"prediction": self._predicted}

    def recommend(self, users: Any, n: int) -> dict[str, NDArray[Any]]:
        of = self._listed
        return {self.columns_[0]: of.users[of.to], self.columns_[1]: self.items_.ids[of.items]}


def beside(model: Recommender, tests: TestSet, graded: bool, judged: JudgedRatings | None, listed: Lists) -> Beside:
    """Judge the model's answers and those of its rivals.

    Parameters
    ----------
    model : Recommender
    tests : TestSet
    graded : bool
        Whether the test has ratings, or counts.
    judged : JudgedRatings, optional
        The predictions of the test ratings; None for clicks.
    listed : Lists
        What is recommended to those who have a relevant item.
    """
    own, table = own_table(model), rows_of(tests, graded)
    popularity = evaluation.Popularity(own, *model.columns_, feedback=model.feedback)
    rivals: dict[str, Judged] = {"popularity": popularity}
    if judged is not None:
        rivals["biases"] = evaluation.Biases(own, *model.columns_)
    asked = _Asked(model, None if judged is None else judged.predicted, listed)
    first = evaluation.evaluate(asked, table, LISTED, tests.relevant)
    several = len(np.unique(tests.users)) > 1
    with warnings.catch_warnings():  # of strangers, which was said of the model already
        warnings.simplefilter("ignore", UserWarning)
        verdicts = {name: evaluation.evaluate(of, table, LISTED, tests.relevant) for name, of in rivals.items()}
        differences = {
            name: evaluation.compare(asked, of, table, LISTED, tests.relevant).measures
            for name, of in rivals.items()
            if several
        }
    return Beside(first, verdicts, differences, lists(popularity.recommend, model, tests.listed))


def section(found: Beside, sought: str) -> Section:
    """The table of all measures; `sought` says what is relevant."""
    explicit = "biases" in found.rivals
    names = {"popularity": "mean, popularity" if explicit else "popularity", "biases": "biases"}
    header = ["", "this model"]
    for rival in found.rivals:
        header += [names[rival], "difference"]
    errors = (
        f"Errors of {found.own.n_ratings:,} predicted ratings (lower is better), and lists" if explicit else "Lists"
    )
    rivals = (
        "The first baseline predicts the mean and recommends what was rated most; the second is the mean with a damped "
        "deviation of each user and item."
        if explicit
        else "Popularity recommends what most users have chosen."
    )
    return Section(
        "Comparison with simple baselines",
        f"{errors} of {found.own.n:,} for {found.own.n_users:,} users who {sought} (higher is better; coverage and "
        f"novelty are a matter of taste). {rivals} Differences are this model minus the baseline, user by user.",
        header,
        [row for name in LABELS if (row := _row(found, name)) is not None],
    )


def _row(found: Beside, name: str) -> Row | None:
    if getattr(found.own, name) is None:
        return None
    row: list[object] = [LABELS[name], figure(found.own, name)]
    for rival, verdict in found.rivals.items():
        difference = found.differences.get(rival, {}).get(name)
        row += [figure(verdict, name), None if difference is None else _less(difference)]
    return row


def figure(verdict: Evaluation, name: str) -> Measured | None:
    """A measure with its standard error."""
    value = getattr(verdict, name)
    return None if value is None else Measured(value, standard_error(verdict.intervals.get(name)))


def _less(of: Difference) -> Measured:
    return Measured(of.difference, standard_error((of.low, of.high)))


def interval(of: Difference, unit: float = 1.0) -> str:
    """The 95 % interval of a difference, as text."""
    error = standard_error((unit * of.low, unit * of.high))
    return f"{rounded(unit * of.low, error)} to {rounded(unit * of.high, error)}"
