"""What bench/tune.py judges tuned constants by: losses, and the data that they were chosen on.

The data are of the kind the constants were chosen on, and none that the other benches report: tenths held out of
training parts (MovieLens u1.base, Douban's, those of the first split of the other sets), planted problems of other
seeds, and tables with other entries hidden. A loss is never 0, and smaller is better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cold_items
import dmc
from _contenders import THREADS, Ratings
from _harness import data_folder
from _planted import Case, make
from _rivals import DOUBAN, MOVIELENS
from clicks import FOLDS, LIKED, planted_clicks
from dmc import metrics
from dmc.recommend import evaluation
from sparse_ratings import FILES, held_out, splits
from tables import SHARES, error, hide, ours, tables

SEEDS = range(100, 103)
SETS = (MOVIELENS, DOUBAN, *FILES)
CITEULIKE = "CiteULike"
SYNTHETIC = {"synthetic": (3_000, 1_000, 100_000), "synthetic, few": (300, 200, 1_500)}  # users, items, clicks
SMALLEST = 1e-6  # relative error: what is below is a success, and as good as any other
Trials = Iterator[tuple[str, Callable[[], float]]]  # the data's name, and what fits and gives the loss


def training_part(name: str) -> Ratings:
    return next(splits(name))[0]


def rated(loss: Callable[[Ratings, Ratings], float], names: tuple[str, ...] = SETS) -> Trials:
    """A loss of ratings and of a tenth held out of them."""
    for name in names:
        for seed in SEEDS:
            train, test = held_out(training_part(name), seed)
            yield name, partial(loss, train, test)


def rating_error(train: Ratings, test: Ratings, **settings: Any) -> float:
    model = dmc.Recommender(n_threads=THREADS, **settings).fit(train._asdict())
    return metrics.rmse(model.predict({"user": test.user, "item": test.item})["prediction"], test.rating)


def interval_score(train: Ratings, test: Ratings, probability: float = 0.9) -> float:
    """Width, and for what is outside how far, times 2 / (1 − probability): Gneiting & Raftery, 2007."""
    model = dmc.Recommender(intervals=True, n_threads=THREADS).fit(train._asdict())
    found = model.predict({"user": test.user, "item": test.item}, interval=probability)
    outside = np.maximum(found["lower"] - test.rating, 0) + np.maximum(test.rating - found["upper"], 0)
    return float(np.mean(found["upper"] - found["lower"] + 2 / (1 - probability) * outside))


def list_loss(train: Ratings, test: Ratings) -> float:
    """What NDCG@10 lacks, of lists from ratings."""
    return 1 - evaluation.evaluate(dmc.Recommender(n_threads=THREADS).fit(train._asdict()), test._asdict()).ndcg


def click_loss(train: Ratings, test: Ratings) -> float:
    """What NDCG@20 lacks, of lists from clicks."""
    model = dmc.Recommender(feedback="implicit", n_threads=THREADS).fit({"user": train.user, "item": train.item})
    return 1 - evaluation.evaluate(model, test._asdict(), n=20).ndcg


def clicked() -> Trials:
    """Synthetic logs, and training parts as clicks: MovieLens four stars and more, of the others all pairs."""
    for name, size in SYNTHETIC.items():
        for seed in SEEDS:
            yield name, partial(click_loss, *planted_clicks(*size, seed))
    for name in (CITEULIKE, *SETS):
        if name == CITEULIKE:
            user, item = np.loadtxt(data_folder() / "clicks" / "citeulike.csv", np.int64, delimiter=",", skiprows=1).T
            kept = np.random.default_rng(0).permutation(len(user)) % FOLDS > 0  # not the first fold of clicks.py
        else:
            user, item, rating = training_part(name)
            kept = rating >= LIKED if name == MOVIELENS else np.ones(len(user), bool)
        every = Ratings(user[kept], item[kept], np.ones(kept.sum(), np.float32))
        for seed in SEEDS:
            yield name, partial(click_loss, *held_out(every, seed))


def cold() -> Trials:
    """Items of MovieLens' training part without ratings, few and many of the others known; noise among attributes."""
    train = training_part(MOVIELENS)
    ids, item = np.unique(train.item, return_inverse=True)
    train, features = train._replace(item=item), cold_items.described(str(data_folder() / "ml-100k"), ids)
    for known, noise, seed in product((1300, 300, 100, 40), (0, 40), SEEDS):
        rng = np.random.default_rng(seed)
        parts = cold_items.without(train, rng.permutation(len(ids))[known:])
        described = np.hstack([features, rng.standard_normal((len(ids), noise))])
        case = f"{known} items, {noise} attributes of noise"
        yield case, partial(cold_items.error, cold_items.ours, *parts, described, {})


def recovered(case: Case, seed: int, **settings: Any) -> float:
    """Relative error over what the entries can determine; of an exact completion at least SMALLEST."""
    t = make(case, seed)
    return max(t.errors(dmc.MatrixCompletion(**settings).fit(t.observations).complete())[0], SMALLEST)


def planted() -> Trials:
    """Few entries, bad condition, patterns, noise: rank 5, not told."""
    cases = [Case(rho=rho) for rho in (1.1, 1.2, 1.4, 1.8)] + [Case(rho=3, kappa=1e4)]
    cases += [Case(rho=2, pattern=pattern) for pattern in ("power law, exponent 1", "band")]
    cases += [Case(rho=rho, noise=noise) for rho, noise in ((2, 0.1), (4, 0.1), (8, 0.5))]
    for case, seed in product(cases, SEEDS):
        yield f"planted, {case}{f' | noise {case.noise:g}' if case.noise else ''}", partial(recovered, case, seed)


def outliers() -> Trials:
    """Planted matrices with noise, and entries that are grossly wrong."""
    for share, seed in product((0.01, 0.1), SEEDS):
        case = Case((100, 100), 3, 6, outliers=share, noise=0.05)
        yield f"outliers, {share:.0%}", partial(recovered, case, seed, loss="robust")


def table_error(X: NDArray[Any], truth: NDArray[Any], hidden: NDArray[np.bool_]) -> float:
    """Of the hidden entries, in spreads of the columns."""
    return error(ours(X), truth, hidden)


def hidden_entries() -> Trials:
    """The tables of tables.py, with other entries hidden."""
    for name, truth in tables().items():
        for share, seed in product(SHARES, SEEDS):
            hidden, X = hide(truth, share, seed)
            yield name, partial(table_error, X, truth, hidden)


def tables_and_planted() -> Trials:
    yield from hidden_entries()
    yield from planted()


def exact_error(train: Ratings, test: Ratings) -> float:
    model = dmc.Recommender(n_threads=THREADS).fit(train._asdict())
    predicted = model.predict({"user": test.user, "item": test.item}, clip=False)["prediction"]  # some lie outside
    return max(metrics.rmse(predicted, test.rating), SMALLEST)


def noise_free() -> Trials:
    """Planted ratings of two decimals and of all, without noise, enough to be exact and hardly so."""
    for decimals, rho, seed in product((2, 12), (1.8, 4), SEEDS):
        t = make(Case((150, 100), 3, rho), seed)
        (row, col), (user, item) = np.nonzero(t.mask), np.nonzero(~t.mask)
        train, test = Ratings(row, col, t.X[t.mask].round(decimals)), Ratings(user, item, t.X[~t.mask])
        case = f"planted, ρ {rho:g}, {decimals} decimals"
        yield case, partial(exact_error, train, test)
