"""A report of a fitted recommender: one HTML page that needs nothing else, to read and to pass on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from dmc import metrics
from dmc._whole_file import whole_file
from dmc.recommend.judging.held_out import TestSet
from dmc.recommend.recommender import Recommender
from dmc.recommend.tables.table import Table
from dmc.report import (
    html,
    judged,
    list_sections,
    model_sections,
    over_users,
    rating_sections,
    rivals,
    titles as item_titles,
    verdict,
)
from dmc.report.digits import plain, rounded
from dmc.report.html import Section, Verdict
from dmc.report.judged import JudgedRatings
from dmc.report.rivals import Beside


def write(
    model: Recommender,
    path: str | os.PathLike[str],
    test: Any = None,
    titles: str | os.PathLike[str] | None = None,
    name: str = "Recommender",
) -> dict[str, Any]:
    """Write a report of a fitted recommender: one HTML file, with figures and without scripts, that loads nothing.

    It begins with a verdict: how good the model is on the test, and whether simple rivals are as good. A model of
    ratings is judged by its errors and its lists, one of clicks by its lists alone.

    Parameters
    ----------
    model : Recommender
    path : path
        Of the page; replaced if it exists. It appears whole or not at all, and says when it was written: where
        the environment's SOURCE_DATE_EPOCH says when, the same model and test make the same bytes.
    test : data frame, mapping of arrays, or path of a file, optional
        Ratings, or clicks, to judge by, with columns named as in the fit; pairs that were fitted are left out, with a
        warning. Left out: the page says that nothing new judged it; errors are those on the model's own ratings, and
        lists are not judged.
    titles : path, optional
        Of a file of item ids and titles: see `dmc.report.titles.names`.
    name : str
        What the page calls the model.

    Returns
    -------
    dict
        Of ratings "rmse" and "mae"; of lists that were judged the measures of `dmc.evaluation.Evaluation`, such as
        "ndcg"; "n_ratings", how many ratings or clicks that is by, whether these are the model's "own", and how many
        "figures" the page has.

    Raises
    ------
    ValueError, TypeError, OSError
        If the test or the titles cannot be used, all of the test was fitted, or the model was saved without its
        ratings.
    ImportError
        If matplotlib is not installed.
    """
    _ = model.observations_  # a model that was saved without them says so
    names = item_titles.names(model.items_, titles)
    found = _Found.of(model, test)
    sections = [section for section in [*found.sections(), *_of_model(model, names)] if section is not None]
    title = f"Report on {item_titles.readable(name)}"
    text = html.html(title, _how(model), found.verdict(), _facts(model, found), sections, _now())
    with whole_file(path) as file:
        file.write(text.encode())
    return found.measures() | {"figures": sum(section.panel is not None for section in sections)}


def _now() -> datetime:
    told = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(told), UTC) if told.isdecimal() else datetime.now(UTC)


class _Found(NamedTuple):
    """A model and what judges it: a test and what rivals reach in it, or nothing new."""

    model: Recommender
    tests: TestSet | None
    ratings: JudgedRatings | None  # of clicks None
    lists: judged.Lists | None
    beside: Beside | None

    @classmethod
    def of(cls, model: Recommender, test: Any) -> _Found:
        explicit = model.feedback == "explicit"
        if test is None:
            ratings = judged.ratings(model, None) if explicit else None
            lists = None if explicit else judged.lists(model.recommend, model, judged.some_users(model))
            return cls(model, None, ratings, lists, None)
        table = Table.open(test, model.columns_)
        tests = judged.test_set(model, table)
        ratings = judged.ratings(model, tests) if explicit else None
        lists = judged.lists(model.recommend, model, tests.listed)
        graded = model.columns_[2] in table.names
        return cls(model, tests, ratings, lists, rivals.beside(model, tests, graded, ratings, lists))

    @property
    def trials(self) -> list[dict[str, Any]]:
        """What was tried for preferences."""
        return [record for record in self.model.history_ if "ndcg" in record]

    def verdict(self) -> Verdict:
        if self.tests is not None and self.beside is not None:
            return verdict.of_test(self.model, self.tests, self.beside)
        if self.ratings is not None:
            return verdict.of_own_ratings(self.model, self.ratings)
        return verdict.of_own_clicks(self.model, self.trials)

    def sections(self) -> Sequence[Section | None]:
        model, tests, ratings, lists, beside = self
        found: list[Section | None] = []
        if tests is not None and beside is not None:
            found.append(rivals.section(beside, verdict.sought(tests)))
        if ratings is not None:
            found += [
                rating_sections.by_popularity(model, ratings),
                rating_sections.calibration(ratings),
                rating_sections.coverage(ratings),
                rating_sections.distribution(ratings),
            ]
        if lists is not None:
            popular = None if beside is None else beside.popular_lists
            if tests is not None and popular is not None:
                found.append(list_sections.by_popularity(model, tests, lists, popular))
                found.append(list_sections.by_activity(model, tests, lists, popular))
            found.append(list_sections.long_tail(model, lists, popular, tests))
        if ratings is None:
            return [*found, model_sections.search(model, self.trials), model_sections.descent(model)]
        return [*found, model_sections.training(model)]

    def measures(self) -> dict[str, Any]:
        """What `write` tells of it."""
        found: dict[str, Any] = {"n_ratings": self.model.n_observed_, "own": self.tests is None}
        if self.ratings is not None:
            of = self.ratings
            found |= {"rmse": metrics.rmse(of.predicted, of.actual), "mae": metrics.mae(of.predicted, of.actual)}
        if self.beside is not None:
            own = self.beside.own
            found |= {name: value for name in rivals.LABELS if (value := getattr(own, name)) is not None}
            found["n_ratings"] = own.n_ratings
        return found


def _of_model(model: Recommender, names: Any) -> list[Section]:
    return [model_sections.spectrum(model), model_sections.nearest(model, names), model_sections.settings(model)]


# The head of the page ---------------------------------------------------------------------------------------------


def _facts(model: Recommender, found: _Found) -> dict[str, object]:
    clicks = model.feedback == "implicit"
    kind = "clicks" if clicks else "ratings"
    share = 100 * model.n_observed_ / (len(model.users_) * len(model.items_))
    facts: dict[str, object] = {
        kind: model.n_observed_,
        "users": len(model.users_),
        "items": len(model.items_),
        f"of all pairs {'chosen' if clicks else 'rated'}": f"{rounded(share)} %",
        "rank": model.rank_,
    }
    if not clicks:
        facts["mean rating"] = model.mean_
        facts["lowest to highest"] = " to ".join(map(plain, model.range_))
        facts["noise"] = model.noise_
    if found.ratings is not None:
        where = "own ratings" if found.ratings.own else "test ratings"
        facts[f"RMSE, {where}"] = over_users.rmse(found.ratings.errors, found.ratings.users)
        facts[f"MAE, {where}"] = over_users.mean(abs(found.ratings.errors), found.ratings.users)
    if found.beside is not None:
        for measure in ("recall", "ndcg"):
            facts[f"{rivals.LABELS[measure]} of {judged.LISTED}"] = rivals.figure(found.beside.own, measure)
    return facts


def _how(model: Recommender) -> str:
    network = model.model == "network"
    kind, steps = ("a compressed deep network", "steps") if network else ("variational Bayes", "sweeps")
    if model.feedback == "implicit":
        kind = "weighted factorisation of clicks"
    many = f", the mean of {model.ensemble:,} models" if model.ensemble > 1 else ""
    return f"Fitted by {kind}{many}, in {model.n_iter_:,} {steps}; {model.status_}."
