"""How well does the Recommender predict real ratings with its defaults, and how long does it take?"""

import time

from _harness import data_folder, main, record
from dmc import Recommender, metrics
from dmc.ratings import Table

SETS = {
    "MovieLens 100K, split u1": ("ml-100k/u1.base", "ml-100k/u1.test"),
    "Douban, Monti split": ("douban/train.csv", "douban/test.csv"),
}


def ratings() -> None:
    """MovieLens 100K and Douban, defaults: test RMSE and seconds to fit."""
    for name, (train, test) in SETS.items():
        began = time.perf_counter()
        model = Recommender().fit(data_folder() / train)
        seconds = time.perf_counter() - began
        held_out = Table.open(data_folder() / test)
        pairs = {"user": held_out.column("user"), "item": held_out.column("item")}
        error = metrics.rmse(model.predict(pairs)["prediction"], held_out.numbers("rating"))
        record(
            "ratings",
            name,
            test_rmse=error,
            validation_rmse=model.validation_rmse_,
            fit_seconds=seconds,
            steps=model.n_iter_,
        )


RUNS = {"ratings": ratings}

if __name__ == "__main__":
    main(RUNS)
