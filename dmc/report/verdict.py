"""What a report comes to, in a sentence: how good the model is, and whether simple rivals are as good."""

from __future__ import annotations

from typing import Any

from dmc import _checks
from dmc.recommend.evaluation import Difference
from dmc.recommend.judging import TestSet
from dmc.recommend.recommender import Recommender
from dmc.report import over_users
from dmc.report.digits import Measured, rounded, written
from dmc.report.html import Verdict
from dmc.report.judged import JudgedRatings
from dmc.report.over_users import standard_error
from dmc.report.rivals import Beside, figure, interval

# A rival's predictions or lists, as they are called.
ERRORS = {"popularity": "the mean", "biases": "biases of users and items"}
LISTS = {"popularity": "popularity", "biases": "biases"}


def of_test(model: Recommender, tests: TestSet, found: Beside) -> Verdict:
    """By a test: errors and lists, or lists alone, beside the rivals'."""
    clicks = model.feedback == "implicit"
    failed = [] if clicks else [_fails(found, name, "rmse", f"the errors of {ERRORS[name]}") for name in found.rivals]
    failed.append(_fails(found, "popularity", "recall", "the lists by popularity"))
    against = [one for one in failed if one]
    sentences = [_lists(tests, found)] if clicks else [_errors(found), _lists(tests, found)]
    if against:
        lead = f"Not better than {_joined(against)}."
    else:
        lead = "Better than popularity." if clicks else "Better than simple rivals, by its errors and by its lists."
    if not found.differences:
        lead = "Judged by a single user, so whether it is better than simple rivals cannot be told."
    return Verdict(lead, " ".join([*sentences, *_notes(model, tests)]), warns=bool(against))


def of_own_ratings(model: Recommender, judged: JudgedRatings) -> Verdict:
    """Without a test: errors on what was fitted."""
    error = over_users.rmse(judged.errors, judged.users)
    text = (
        f"No test ratings were given, so the model is judged by the {_checks.count(len(judged.actual), 'rating')} that "
        f"it was fitted to: its predictions are off by {written(error._replace(bare=True))} (RMSE), and by more on new "
        "ratings. dmc report --test FILE judges it fairly."
    )
    return Verdict("Not judged by anything new.", text, warns=True)


def of_own_clicks(model: Recommender, trials: list[dict[str, Any]]) -> Verdict:
    """Without a test: what the search for settings held out, if it did."""
    text = "No test clicks were given, and lists of what was fitted would flatter. dmc report --test FILE judges it fairly."
    if trials:
        best = max(trials, key=lambda trial: trial["ndcg"])
        text = (
            "No test clicks were given. In the search for its settings, fits without a tenth of the clicks ranked that "
            f"tenth with an NDCG of up to {rounded(best['ndcg'], best['noise'])}, which flatters a little, being the "
            f"best of {_checks.count(len(trials), 'setting')}. dmc report --test FILE judges it beside its rivals."
        )
    return Verdict("Not judged by anything new.", text, warns=True)


def _fails(found: Beside, rival: str, measure: str, named: str) -> str:
    """The rival's name, unless the model is surely better than it."""
    of = found.differences.get(rival, {}).get(measure)
    if of is None:
        return ""
    return "" if (of.high < 0 if measure == "rmse" else of.low > 0) else named


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
    if of is not None and of.low <= 0 <= of.high:
        return "not surely less than"
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
        f"Its lists of {found.own.n:,} find {own} % of what {_checks.count(found.own.n_users, 'user')} {sought(tests)}, "
        f"those by popularity {theirs} %{doubt}."
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
    return "" if of is None else f"; 95 % interval of the difference: {interval(of)}"


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
