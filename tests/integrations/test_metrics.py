"""The table of docs/guide/metrics.md beside ranx and LensKit, figures of RecTools, and ranx on lists of many users."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dmc import metrics
from metric_conventions import CATALOGUE, GRADES, LISTS, OF_ALL, N, cells, check

# What numba says of ranx' own code.
pytestmark = pytest.mark.filterwarnings("ignore:unsafe cast from uint64 to int64")

ONES = {user: dict.fromkeys(grades, 1) for user, grades in GRADES.items()}

RANX = {
    "`precision`": ("precision", ONES),
    "`recall`": ("recall", ONES),
    "`hit_rate`": ("hit_rate", ONES),
    "`reciprocal_rank`": ("mrr", ONES),
    "`average_precision`": ("map", ONES),
    "`ndcg`": ("ndcg", ONES),
    "`graded_ndcg`": ("ndcg", GRADES),
    "`graded_ndcg` (`exponential`, `ndcg_burges`)": ("ndcg_burges", GRADES),
}


def of_ranx(name, grades, lists, n, level=1):
    """A measure of each user, by sorted names; a list's places as scores."""
    ranx = pytest.importorskip("ranx", reason="ranx is not installed here; `make integrations` runs this with it")
    run = ranx.Run({user: {item: 1000.0 - p for p, item in enumerate(given)} for user, given in lists.items()})
    at = f"{name}@{n}" if level == 1 else f"{name}@{n}-l{level}"
    return ranx.evaluate(ranx.Qrels(grades), run, at, make_comparable=True, return_mean=False)


def test_each_cell_of_ranx():
    said = cells("ranx")
    assert said.keys() == RANX.keys()
    for measure, cell in said.items():
        name, grades = RANX[measure]
        check(cell, dict(zip(GRADES, of_ranx(name, grades, LISTS, N), strict=True)))


def test_each_cell_of_lenskit():
    pytest.importorskip("lenskit", reason="lenskit is not installed here; `make integrations` runs this with it")
    from lenskit.metrics import NDCG, Hit, LogRankWeight, Precision, Recall, RecipRank
    from lenskit.metrics.ranking import AveragePrecision

    theirs = {
        "`precision`": Precision(N),
        "`recall`": Recall(N),
        "`hit_rate`": Hit(N),
        "`reciprocal_rank`": RecipRank(N),
        "`average_precision`": AveragePrecision(N),
        "`ndcg`": NDCG(N),
        "`ndcg` (`offset=1`, `divide_by_achievable`)": NDCG(N, weight=LogRankWeight(offset=1)),
        "`graded_ndcg`": NDCG(N, gain="rating"),
    }
    said = cells("LensKit")
    assert said.keys() == theirs.keys()
    for measure, cell in said.items():
        check(cell, {user: of_lenskit(theirs[measure], LISTS.get(user, ""), GRADES[user]) for user in GRADES})


def of_lenskit(measure, given, grades):
    from lenskit.data import ItemList

    recommended = ItemList(item_ids=np.array(list(given), "U1"), ordered=True)
    relevant = ItemList(item_ids=np.array(list(grades), "U1"), rating=np.array(list(grades.values()), float))
    return measure.measure_list(recommended, relevant)


# Of RecTools 0.19.0, which needs NumPy 1 where Python is older than 3.13 and so has no place beside the others: written
# down from `calc_per_user` of Precision(4), Recall(4), HitRate(4), MRR(4), MAP(4), NDCG(4), NDCG(4,
# divide_by_achievable=True) and MeanInvUserFreq(4), and from CatalogCoverage(4, normalize=True), on the lists, relevant
# items, former items and the catalogue of metric_conventions; of ann, bob, cat and dan.
RECTOOLS = {
    "`precision`": [0.25, 0.5, 0.0, 0.0],
    "`recall`": [0.3333333333333333, 0.2857142857142857, 0.0, 0.0],
    "`hit_rate`": [1.0, 1.0, 0.0, 0.0],
    "`reciprocal_rank`": [0.5, 1.0, 0.0, 0.0],
    "`average_precision`": [0.16666666666666666, 0.23809523809523808, 0.0, 0.0],
    "`ndcg`": [0.24630238874073, 0.5855700749881525, 0.0, 0.0],
    "`ndcg` (`offset=1`, `divide_by_achievable`)": [0.2960819109658652, 0.5855700749881525, 0.0, 0.0],
    "`novelty`": [1.103759374819711, 2.0, 1.3333333333333333, math.nan],
    "`coverage`": 0.3,
}


def test_each_cell_of_rectools():
    said = cells("RecTools")
    assert said.keys() == RECTOOLS.keys()
    for measure, cell in said.items():
        if cell == OF_ALL:
            found = {item for given in LISTS.values() for item in given[:N]}
            assert RECTOOLS[measure] == len(found) / len(CATALOGUE)
        else:
            check(cell, dict(zip(GRADES, RECTOOLS[measure], strict=True)))


# --- the second table


def test_a_user_without_a_list():
    """0 by ranx, where `make_comparable` fills the list in; NaN by LensKit where it divides by what was recommended."""
    for name, grades in RANX.values():
        assert of_ranx(name, grades, LISTS, N)[list(GRADES).index("dan")] == 0
    pytest.importorskip("lenskit")
    from lenskit.metrics import NDCG, Hit, Precision, Recall, RecipRank
    from lenskit.metrics.ranking import AveragePrecision

    for measure in (Precision(N), AveragePrecision(N)):
        assert math.isnan(of_lenskit(measure, "", GRADES["dan"]))
    for measure in (Recall(N), Hit(N), RecipRank(N), NDCG(N), NDCG(N, gain="rating")):
        assert of_lenskit(measure, "", GRADES["dan"]) == 0


def test_a_user_without_a_relevant_item():
    """By ranx one whose grades are all below the level; it stays in the mean."""
    for name, _ in RANX.values():
        assert of_ranx(name, GRADES, LISTS, N, level=3)[list(GRADES).index("cat")] == 0
    pytest.importorskip("lenskit")
    from lenskit.metrics import NDCG, Hit, RecipRank

    for measure in (NDCG(N), Hit(N), RecipRank(N)):
        assert math.isnan(of_lenskit(measure, "abc", {}))


# --- many lists


@pytest.fixture(scope="module")
def many():
    """500 users with lists of 0 to 40 of 60 items, and 1 to 30 relevant ones of grades 1 to 5."""
    rng = np.random.default_rng(2)
    given = {f"u{u}": rng.permutation(60)[: rng.integers(0, 41)].tolist() for u in range(500)}
    liked = {user: rng.permutation(60)[: rng.integers(1, 31)].tolist() for user in given}
    return given, {user: {item: int(rng.integers(1, 6)) for item in items} for user, items in liked.items()}


def as_pairs(lists):
    whose, which = zip(*((user, item) for user, items in lists.items() for item in items), strict=True)
    return np.array(whose), np.array(which)


@pytest.mark.parametrize("n", [1, 5, 10, 50])
def test_equal_ranx_to_the_last_digits(n, many):
    given, liked = many
    recommended, relevant = as_pairs(given), as_pairs(liked)
    grades = np.array([grade for items in liked.values() for grade in items.values()], float)
    texts = {user: [str(item) for item in items] for user, items in given.items() if items}
    graded = {user: {str(item): grade for item, grade in items.items()} for user, items in liked.items()}
    ones = {user: dict.fromkeys(items, 1) for user, items in graded.items()}
    ranking = metrics.hits(recommended, relevant)
    ours = {
        "precision": metrics.precision.per_user(*ranking, n),
        "recall": metrics.recall.per_user(*ranking, n),
        "hit_rate": metrics.hit_rate.per_user(*ranking, n),
        "mrr": metrics.reciprocal_rank.per_user(*ranking, n),
        "ndcg": metrics.ndcg.per_user(*ranking, n),
        # theirs is divided by all relevant items
        "map": metrics.average_precision.per_user(*ranking, n) * np.minimum(ranking[1], n) / ranking[1],
    }
    for name, figures in ours.items():
        theirs = np.asarray(of_ranx(name, ones, texts, n))
        np.testing.assert_allclose(figures, theirs, rtol=0, atol=1e-12, err_msg=name)
        assert abs(figures.mean() - theirs.mean()) < 1e-12
        assert figures.max() > 0.1
    gains = metrics.gains(recommended, relevant, grades, n)
    for name, exponential in (("ndcg", False), ("ndcg_burges", True)):
        figures = metrics.graded_ndcg.per_user(*gains, n, exponential)
        theirs = np.asarray(of_ranx(name, graded, texts, n))
        np.testing.assert_allclose(figures, theirs, rtol=0, atol=1e-12, err_msg=name)
