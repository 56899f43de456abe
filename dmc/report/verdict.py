"""What a report comes to, in a sentence: how good the model is, and whether simple rivals are as good."""

from __future__ import annotations

from typing import Any

from dmc import _checks
from dmc.recommend.evaluation import Difference
from dmc.recommend.judging.held_out import TestSet
from dmc.recommend.recommender import Recommender
from dmc.report import over_users
from dmc.report.digits import Measured, rounded, written
from dmc.report.html import Verdict
from dmc.report.judged import JudgedRatings
from dmc.report.over_users import standard_error
from dmc.report.rivals import Beside, figure, interval

MAX_P = 0.05  # of the paired test, besides an interval without 0: intervals of few users are too short
# A rival's predictions or lists, as they are called.
ERRORS = {"popularity": "the mean", "biases": "biases of users and items"}
LISTS = {"popularity": "popularity", "biases": "biases"}


def of_test(model: Recommender, tests: TestSet, found: Beside) -> Verdict:
    """By a test: errors and lists, or lists alone, beside the rivals'."""
    clicks = model.feedback == "implicit"
    sentences = [_lists(tests, found)] if clicks else [_errors(found), _lists(tests, found)]
    lead, warns = _lead(found, clicks)
    return Verdict(lead, " ".join([*sentences, *_notes(model, tests)]), warns)


def _lead(found: Beside, clicks: bool) -> tuple[str, bool]:
    """Whether it is better than each rival in what that is good at, and whether one is to be warned of it."""
    if not found.differences:
        return "The test has a single user, which is too few for a comparison with simple baselines.", True
    against = [] if clicks else [(rival, "rmse", f"the errors of {ERRORS[rival]}") for rival in found.rivals]
    against.append(("popularity", "recall", "the lists by popularity"))
    named: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for rival, measure, name in against:
        of = found.differences[rival].get(measure)
        better = None if of is None else surely_above(of)
        named[better if better is None or measure != "rmse" else not better].append(name)
    if not named[False] and not named[None]:
        return (
            "Better than popularity." if clicks else "Better than simple baselines, in errors and in lists.",
            False,
        )
    parts = [("Worse than", named[False]), ("not clearly better than", named[None])]
    told = "; ".join(f"{words} {_joined(names)}" for words, names in parts if names)
    return f"{told[0].upper()}{told[1:]}.", True


def surely_above(of: Difference) -> bool | None:
    """Whether the first is above the second, or below; None, if that may be chance: of few users anything may."""
    if of.p_value >= MAX_P or of.low <= 0 <= of.high:
        return None
    return of.low > 0


def of_own_ratings(model: Recommender, judged: JudgedRatings) -> Verdict:
    """Without a test: errors on what was fitted."""
    error = over_users.rmse(judged.errors, judged.users)
    text = (
        f"No test ratings were given, so the model is judged by the {_checks.count(len(judged.actual), 'rating')} that "
        f"it was fitted to: its predictions are off by {written(error._replace(bare=True))} (RMSE), and by more on new "
        "ratings. Use dmc report --test FILE for a fair test."
    )
    return Verdict("Not tested on new data.", text, warns=True)


def of_own_clicks(model: Recommender, trials: list[dict[str, Any]]) -> Verdict:
    """Without a test: what the search for settings held out, if it did."""
    text = (
        "No test clicks were given, and figures on the fitted clicks would be too good. Use dmc report --test FILE for "
        "a fair test."
    )
    if trials:
        best = max(trials, key=lambda trial: trial["ndcg"])
        text = (
            "No test clicks were given. In the search for its settings, fits without a tenth of the clicks ranked that "
            f"tenth with an NDCG of up to {rounded(best['ndcg'], trials[0]['noise'])}, which is a little too good, "
            f"being the best of {_checks.count(len(trials), 'setting')}. Use dmc report --test FILE to compare it with "
            "simple baselines."
        )
    return Verdict("Not tested on new data.", text, warns=True)


def _errors(found: Beside) -> str:
    own = figure(found.own, "rmse")
    assert own is not None
    beside = []
    for rival, verdict in found.rivals.items():
        theirs = figure(verdict, "rmse")
        assert theirs is not None
        of = found.differences.get(rival, {}).get("rmse")
        beside.append(f"{_compared(own, theirs, of)} {ERRORS[rival]} ({_bare(theirs)}{_doubt(of)})")
    return (
        f"On {_checks.count(found.own.n_ratings, 'test rating')} its predictions are off by {_bare(own)} (RMSE): "
        f"{' and '.join(beside)}."
    )


def _compared(own: Measured, theirs: Measured, of: Difference | None) -> str:
    difference, error = own.value - theirs.value, None if of is None else standard_error((of.low, of.high))
    if of is not None and surely_above(of) is None:
        return "not clearly less than"
    if difference == 0:
        return "as much as"
    word = "less" if difference < 0 else "more"
    if theirs.value == 0:
        return f"{word} than"
    percent = 100 / theirs.value
    return f"{rounded(abs(difference) * percent, error and error * percent)} % {word} than"


def _lists(tests: TestSet, found: Beside) -> str:
    own, theirs = (_percent(figure(of, "recall")) for of in (found.own, found.rivals["popularity"]))
    of = found.differences.get("popularity", {}).get("recall")
    doubt = "" if of is None else f"; 95 % interval of the difference: {interval(of, 100)} points"
    return (
        f"Its lists of {found.own.n:,} find {own} % of what {_checks.count(found.own.n_users, 'user')} "
        f"{sought(tests)}, those by popularity {theirs} %{doubt}."
    )


def sought(tests: TestSet) -> str:
    """What makes an item relevant: what users did."""
    if tests.feedback == "implicit":
        return "chose in the test"
    assert tests.relevant is not None
    return f"rated at least {rounded(tests.relevant)} in the test"


def _percent(of: Measured | None) -> str:
    assert of is not None
    return rounded(100 * of.value, None if of.error is None else 100 * of.error)


def _bare(of: Measured) -> str:
    return rounded(of.value, of.error)


def _doubt(of: Difference | None) -> str:
    if of is None:
        return ""
    chance = f", but p = {of.p_value:.1g}" if surely_above(of) is None and not of.low <= 0 <= of.high else ""
    return f"; 95 % interval of the difference: {interval(of)}{chance}"


def _joined(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _notes(model: Recommender, tests: TestSet) -> list[str]:
    """Test rows that were left out, and strangers."""
    kind = "click" if tests.feedback == "implicit" else "rating"
    notes = []
    if tests.n_seen:
        told = _checks.count(tests.n_seen, f"test {kind} is of a pair", f"test {kind}s are of pairs")
        notes.append(f"Left out: {told} that the model was fitted to.")
    for side, vocabulary, ids in (("user", model.users_, tests.users), ("item", model.items_, tests.items)):
        strange = int((vocabulary.positions(ids) < 0).sum())
        if strange:
            notes.append(
                f"{_checks.count(strange, f'test {kind} is', f'test {kind}s are')} of {side}s it does not know."
            )
    return notes
