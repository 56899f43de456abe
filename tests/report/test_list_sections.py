"""Tables on lists: recall by hand in each group, and where recommendations go."""

import numpy as np
import pytest

from dmc import Recommender, evaluation
from dmc.report import judged, list_sections


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((60, 50)) < np.linspace(0.9, 0.02, 50))
    last = rng.random(len(users)) < 0.3
    train = {"user": users[~last], "item": items[~last]}
    model = Recommender(4, feedback="implicit").fit(train)
    test = {"user": np.append(users[last], [3, 777]), "item": np.append(items[last], [888, 0])}
    tests = judged.test_set(model, test)
    ours = judged.lists(model.recommend, model, tests.listed)
    popular = judged.lists(evaluation.Popularity(train, feedback="implicit").recommend, model, tests.listed)
    return model, train, test, tests, ours, popular


def recall_of(case, sought):
    """Mean recall of what is sought, by hand."""
    model = case[0]
    given = model.recommend(np.unique([user for user, _ in sought]), judged.LISTED)
    listed = set(zip(given["user"].tolist(), given["item"].tolist(), strict=True))
    hits = {}
    for user, item in sought:
        hits.setdefault(user, []).append((user, item) in listed)
    return np.mean([np.mean(of) for of in hits.values()])


def test_by_popularity(case):
    model, train, test, tests, ours, popular = case
    n_users = np.bincount(train["item"], minlength=1000)
    pairs = list(zip(test["user"].tolist(), test["item"].tolist(), strict=True))
    rows = list_sections.by_popularity(model, tests, ours, popular).rows
    assert sum(row[1] for row in rows) == len(pairs)
    for label, low, high in (("0", 0, 1), ("3–9", 3, 10), ("30–99", 30, 100)):
        sought = [(user, item) for user, item in pairs if low <= n_users[item] < high]
        row = next(row for row in rows if row[0] == label)
        assert row[1:3] == (len(sought), len({user for user, _ in sought}))
        assert row[3].value == pytest.approx(recall_of(case, sought))


def test_by_activity(case):
    model, train, test, tests, ours, popular = case
    n_items = np.bincount(train["user"], minlength=1000)
    pairs = list(zip(test["user"].tolist(), test["item"].tolist(), strict=True))
    rows = list_sections.by_activity(model, tests, ours, popular).rows
    assert rows[0][:3] == ("0", 1, 1)  # the stranger
    sought = [(user, item) for user, item in pairs if 10 <= n_items[user] < 30]
    row = next(row for row in rows if row[0] == "10–29")
    assert row[3].value == pytest.approx(recall_of(case, sought))
    verdict = evaluation.evaluate(model, test)
    whole = sum(row[2] * row[3].value for row in rows) / sum(row[2] for row in rows)
    assert whole == pytest.approx(verdict.recall)  # each user is in one group
    assert sum(row[2] * row[4].value for row in rows) / len(tests.listed) == pytest.approx(verdict.ndcg)


def test_the_long_tail(case):
    model, train, test, tests, ours, popular = case
    section = list_sections.long_tail(model, ours, popular, tests)
    shares = np.array(
        [[share if isinstance(share, float) else share.value for share in row[1:]] for row in section.rows]
    )
    np.testing.assert_allclose(shares.sum(axis=0), 1)
    n_users = np.bincount(train["item"])
    few = n_users[model.items_.ids] < 10
    label = [row[0] for row in section.rows].index("3–9")
    assert shares[: label + 1, 0].sum() == pytest.approx(few.mean())
    assert shares[: label + 1, 1].sum() == pytest.approx(few[model.seen_.indices].mean())
    assert shares[: label + 1, 3].sum() == pytest.approx(few[ours.items].mean())
    verdict = evaluation.evaluate(model, test)
    assert f"The lists of {verdict.n_users} users hold {100 * verdict.coverage:.3g}" in section.text
    assert f"carries {verdict.novelty:.2f}" in section.text
    alone = list_sections.long_tail(model, ours, None, None)
    assert [name for name in alone.header if "popularity" in name or "sought" in name] == []


def test_half_of_all():
    assert list_sections._half(np.array([1, 5, 1, 1, 2])) == 1
    assert list_sections._half(np.array([1, 1, 1, 1])) == 2
