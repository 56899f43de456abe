"""Items that nobody has rated yet: how far do their genres and their year lead?

MovieLens 100K, both parts of its split together; in each of five folds a random fifth of the items has no ratings in
training, and its ratings are what is asked for. The settings of rivals are, of a grid, those that are best on a tenth
of the training items of each fold. Features: 19 genres, and the year of release.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dmc
from _contenders import THREADS, Ratings, movielens
from _harness import data_folder, main, record
from _rivals import grid, rivals_here, version
from dmc import metrics

FOLDS = range(5)
Features = NDArray[np.float64]  # (items, 20): a row for each item, numbered as in the ratings
Predict = Callable[..., NDArray[Any]]  # of training ratings, features, and users and items that are asked for


def cold_items() -> None:
    """MovieLens 100K, a fifth of the items without ratings: RMSE from genres and year, ours and rivals; five folds."""
    if not rivals_here():
        return
    folder = str(data_folder() / "ml-100k")
    every = Ratings(*(np.concatenate(columns) for columns in zip(*movielens(folder), strict=True)))
    ids, item = np.unique(every.item, return_inverse=True)
    every, features = every._replace(item=item), described(folder, ids)
    kept: dict[str, list[tuple[float, dict[str, Any]]]] = {case: [] for case in CASES}
    for fold in FOLDS:
        cold = np.random.default_rng(fold).permutation(len(ids))[: len(ids) // 5]
        train, test = without(every, cold)
        for case, (predict, choices) in CASES.items():
            setting = best(predict, choices, train, features)
            kept[case].append((error(predict, train, test, features, setting), setting))
    for case, results in kept.items():
        errors, settings = zip(*results, strict=True)
        record(
            "recommend",
            f"cold items | {case}",
            test_rmse=float(np.median(errors)),
            test_rmse_of_folds=[round(e, 5) for e in errors],
            settings=settings,
            tried=len(CASES[case][1]),
            version=version(case.split()[0]),
        )


def described(folder: str, ids: NDArray[Any]) -> Features:
    """Genres and year of the items, each over its spread; 1995 where there is no year."""
    lines = (Path(folder) / "u.item").read_text("latin-1").splitlines()
    fields = {int(line[0]): line for line in (line.split("|") for line in lines)}
    years = [fields[i][2][-4:] for i in ids]
    year = [int(y) if y.isdigit() else 1995 for y in years]
    columns = np.column_stack([np.array([fields[i][5:] for i in ids], float), year])
    return (columns - columns.mean(axis=0)) / columns.std(axis=0)


def without(ratings: Ratings, cold: NDArray[Any]) -> tuple[Ratings, Ratings]:
    """The ratings of other items, and of these."""
    asked = np.isin(ratings.item, cold)
    return tuple(Ratings(*(column[which] for column in ratings)) for which in (~asked, asked))


def best(predict: Predict, choices: list[dict[str, Any]], train: Ratings, features: Features) -> dict[str, Any]:
    """Of some settings those with the smallest error on a tenth of the training items, held out."""
    if len(choices) == 1:
        return choices[0]
    warm = np.random.default_rng(12_345).permutation(np.unique(train.item))
    parts = without(train, warm[: len(warm) // 10])
    return choices[int(np.argmin([error(predict, *parts, features, setting) for setting in choices]))]


def error(predict: Predict, train: Ratings, test: Ratings, features: Features, setting: dict[str, Any]) -> float:
    predicted = predict(train, features, test.user, test.item, **setting)
    return metrics.rmse(np.clip(predicted, train.rating.min(), train.rating.max()), test.rating)


def ours(train: Ratings, features: Features, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
    table = {"item": np.arange(len(features)), **{f"feature {i}": column for i, column in enumerate(features.T)}}
    model = dmc.Recommender(n_threads=THREADS).fit(train._asdict(), item_features=table)
    return model.predict({"user": user, "item": item})["prediction"]


def user_means(train: Ratings, features: Features, user: NDArray[Any], item: NDArray[Any]) -> NDArray[Any]:
    return _means(train)[np.minimum(user, train.user.max() + 1)]


def _means(train: Ratings) -> NDArray[Any]:
    """Of each user; the mean of all for those without ratings, and for one more: a stranger."""
    counts = np.bincount(train.user, minlength=train.user.max() + 2)
    sums = np.bincount(train.user, train.rating, len(counts))
    return np.where(counts, sums / np.maximum(counts, 1), train.rating.mean())


def ridge(
    train: Ratings, features: Features, user: NDArray[Any], item: NDArray[Any], common: float, own: float
) -> NDArray[Any]:
    """The user's mean, and what genres and year add to it: to everybody alike, and to each user in his own way."""
    means, shown = _means(train), np.column_stack([features, np.ones(len(features))])
    weights = np.zeros((len(means), shown.shape[1]))
    left = train.rating - means[train.user]
    weights += _ridge(shown[train.item], left, common)
    left -= shown[train.item] @ weights[0]
    order = np.argsort(train.user, kind="stable")
    for one in np.split(order, np.flatnonzero(np.diff(train.user[order])) + 1):
        weights[train.user[one[0]]] += _ridge(shown[train.item[one]], left[one], own)
    known = np.minimum(user, len(means) - 1)
    return means[known] + np.einsum("ij,ij->i", weights[known], shown[item])


def _ridge(X: NDArray[Any], y: NDArray[Any], l2: float) -> NDArray[Any]:
    return np.linalg.solve(X.T @ X + l2 * np.eye(X.shape[1]), X.T @ y)


def cmfrec(train: Ratings, features: Features, user: NDArray[Any], item: NDArray[Any], **setting: Any) -> NDArray[Any]:
    from cmfrec import CMF
    from scipy.sparse import coo_matrix

    users, rows = np.unique(train.user, return_inverse=True)
    items, cols = np.unique(train.item, return_inverse=True)
    model = CMF(nthreads=THREADS, verbose=False, niter=15, **setting)
    model.fit(coo_matrix((train.rating, (rows.astype(np.int32), cols.astype(np.int32)))), I=features[items])
    known, predicted = np.isin(user, users), np.full(len(user), train.rating.mean(), float)
    asked = np.searchsorted(users, user[known]).astype(np.int32)
    predicted[known] = model.predict_new(asked, I=features[item[known]])
    return predicted


CASES: dict[str, tuple[Predict, list[dict[str, Any]]]] = {  # by label: contender, settings
    "dmc": (ours, [{}]),
    "cmfrec CMF": (cmfrec, grid(k=[4, 16], lambda_=[3, 10, 30, 100], w_item=[0.1, 1, 10])),
    "ridge on genres and year, and each user's own": (
        ridge,
        grid(common=[100, 1000, 10_000], own=[100, 300, 1000, 3000]),
    ),
    "users' means": (user_means, [{}]),
}
RUNS = {"cold-items": cold_items}

if __name__ == "__main__":
    main(RUNS)
