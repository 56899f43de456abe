"""What do several processes cost and gain: the same fit in one, two and four, on one machine over the loopback?

Processes are started by torchrun (gloo), and the data are Parquet. They have as many threads as the case says, so that
two processes of one thread are beside one of two. More processes than cores are slower, of course: they show that the
answer is the same, and what is sent. What is planted, and how it is drawn, says `_long_tail.py`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import _distributed_costs as costs
import _long_tail
import dmc
from _harness import main, record
from _launched import Ran, run
from _long_tail import Size, Table
from large_ratings import apart

RATINGS = Size(60_000, 8_000, 1_400_000)
CLICKS = Size(20_000, 4_000, 500_000)
NETWORK = Size(20_000, 4_000, 500_000)
STARTS = (1, 1), (1, 2), (2, 1), (4, 1)  # processes, threads of each; the first is what the others are compared with
CLICKS_WIDTH, NETWORK_WIDTH, NETWORK_DEPTH = 32, 16, 3
DEALT, DEALT_USERS, DEALT_ITEMS = 20_000_000, 200_000, 19_997  # a prime
# A set of long ids, and the address space of each of four processes that fit it. With 1.5 GiB they fail: what is loaded
# before the first row takes 1.2 of it.
LONG, LONG_USERS, LONG_ITEMS, LETTERS, LIMIT = 6_000_000, 50_000, 4_999, 150, 13 << 27
# Arenas of threads, and of Arrow, are address space that nobody uses.
SPARING = {"MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "system"}


def judged(folder: Path, test: Table, clicks: bool) -> tuple[np.ndarray, dict[str, Any]]:
    """(held out,) what a saved model predicts, and how well."""
    model = dmc.Recommender.load(folder / "model")
    predicted = np.asarray(model.predict(test)["prediction"], np.float64)
    if clicks:
        return predicted, {"ndcg": dmc.evaluation.evaluate(model, test, n=10, confidence=None).ndcg}
    return predicted, {"test_rmse": float(np.sqrt(np.mean((predicted - test["rating"]) ** 2)))}


def a_step(course: list[list[float]]) -> tuple[float, float]:
    """Seconds and bytes of a step, of the last steps of one width."""
    last = [look for look in course if look[1] == course[-1][1]][-6:]
    (first, _, began, sent), (end, _, ended, sent_by_end) = last[0], last[-1]
    return (ended - began) / (end - first), (sent_by_end - sent) / (end - first)


def figures(ran: Ran, formula: Callable[[int, int], float]) -> dict[str, Any]:
    """Of all processes: the longest, the most."""
    of_first = ran.each[0]
    width, size = int(of_first["course"][-1][1]), len(ran.each)
    steps = [a_step(figures["course"]) for figures in ran.each]
    allowed = [costs.held(f["own_ratings"], f["own_users"], f["items"], width) for f in ran.each]
    # Presence features, what is searched for in other widths, cold starts.
    beside = [
        f["sent"] - f["sent_dealing"] - f["course"][-1][0] * sent for f, (_, sent) in zip(ran.each, steps, strict=True)
    ]
    return {
        "seconds": ran.seconds,
        "process_seconds": ran.most("process_seconds"),
        "deal_seconds": ran.most("deal_seconds"),
        "fit_seconds": ran.most("fit_seconds"),
        "step_seconds": max(seconds for seconds, _ in steps),
        "steps": int(of_first["course"][-1][0]),
        "rank": of_first["rank"],
        "width": width,
        "sent_a_step": max(sent for _, sent in steps),
        "formula_a_step": formula(width, size),
        "sent_beside_steps": max(beside),
        "sent_dealing": ran.most("sent_dealing"),
        "sent": ran.most("sent"),
        "own_ratings": ran.most("own_ratings"),
        **{name: ran.most(name) for name in ("started_bytes", "peak_bytes_dealing", "peak_bytes_fit")},
        "held_bytes": max(allowed),
    }


def compared(name: str, tables: tuple[Table, Table], formula: Callable[[int, int], float], **settings: Any) -> None:
    """Record the fit in each number of processes, beside that in the first one."""
    (train, test), reference = tables, None
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _long_tail.write(train, folder / "train.parquet")
        for size, threads in STARTS:
            out = folder / f"{size}-{threads}"
            ran = run(size, threads, "fit", out, [folder / "train.parquet"], arguments={"settings": settings})
            predicted, errors = judged(out, test, "rating" not in train)
            reference = predicted if reference is None else reference
            difference = float(abs(predicted - reference).max() / reference.std())
            case = f"{name} | {size} × {threads}"
            n = {"n": len(train["user"]), "held_out": len(predicted)}
            record("distributed", case, **n, **figures(ran, formula), **errors, difference=difference)


def bayes() -> None:
    """1.26 million ratings by variational Bayes in 1, 2 and 4 processes: seconds, bytes sent, memory, error."""
    tables = _long_tail.split(_long_tail.ratings(RATINGS), RATINGS)
    compared("bayes", tables, lambda width, size: costs.sent_by_bayes(RATINGS.items, width, size))


def clicks() -> None:
    """450,000 clicks in 1, 2 and 4 processes: the same figures."""
    tables = _long_tail.split(_long_tail.clicks(CLICKS), CLICKS)
    formula = lambda width, size: costs.sent_by_clicks(CLICKS.items, width, size)  # noqa: E731
    compared("clicks", tables, formula, feedback="implicit", rank=CLICKS_WIDTH)


def network() -> None:
    """A compressed network on 450,000 ratings in 1, 2 and 4 processes: the same figures."""
    tables = _long_tail.split(_long_tail.ratings(NETWORK), NETWORK)
    formula = lambda width, size: costs.sent_by_network(NETWORK.items, width, size, NETWORK_DEPTH)  # noqa: E731
    compared("network", tables, formula, model="network", rank=NETWORK_WIDTH, depth=NETWORK_DEPTH)


def different(n: int, users: int, items: int, seed: int = 0) -> Table:
    """So many ratings in random order, no pair twice: a user's items stand at equal distances on a ring of a prime
    number of items."""
    rng = np.random.default_rng(seed)
    counts = rng.lognormal(0, 0.8, users)
    counts = np.minimum(np.rint(counts * n / counts.sum()).astype(np.int64), items)
    user = np.repeat(np.arange(users), counts)
    place = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
    first, step = rng.integers(items, size=users), rng.integers(1, items, users)
    item = (first[user] + place * step[user]) % items
    order = rng.permutation(len(user))
    return {"user": user[order], "item": item[order], "rating": rng.standard_normal(len(user), np.float32)}


def dealing() -> None:
    """20,000,000 rows of Parquet dealt, in one process without torch and in two: rows a second and peak memory."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _long_tail.write(different(DEALT, DEALT_USERS, DEALT_ITEMS), folder / "rows.parquet")
        for size, threads in ((1, 1), (2, 1)):
            ran = run(size, threads, "deal", folder / str(size), [folder / "rows.parquet"])
            n = sum(figures["own_ratings"] for figures in ran.each)
            seconds = ran.most("deal_seconds")
            record(
                "distributed",
                f"dealing | {size} × {threads}",
                n=n,
                seconds=seconds,
                rows_a_second=n / seconds,
                peak_bytes=ran.most("peak_bytes"),
                started_bytes=ran.most("started_bytes"),
                sent=ran.most("sent"),
                torch=ran.each[0]["torch"],
            )


def write_long(path: Path) -> None:
    """Ratings of users and items with long names, as they are: neither compressed nor encoded."""
    rows = different(LONG, LONG_USERS, LONG_ITEMS)
    schema = pa.schema([("user", pa.string()), ("item", pa.string()), ("rating", pa.float32())])
    counts = {"user": LONG_USERS, "item": LONG_ITEMS}
    names = {of: pa.array([f"{of} {i:0{LETTERS}d}" for i in range(count)]) for of, count in counts.items()}
    with pq.ParquetWriter(path, schema, use_dictionary=False, compression="none") as file:
        for first in range(0, len(rows["rating"]), _long_tail.ROWS):
            some = slice(first, first + _long_tail.ROWS)
            ids = {of: names[of].take(pa.array(rows[of][some])) for of in counts}
            file.write_table(pa.table(ids | {"rating": rows["rating"][some]}, schema))


def address_space() -> None:
    """A Parquet file fitted by four processes, each limited to less address space than the file has bytes."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        apart(write_long, folder / "long.parquet")
        size = (folder / "long.parquet").stat().st_size
        given = {"arguments": {"settings": {}}, "address_space": LIMIT}
        ran = run(4, 1, "fit", folder / "out", [folder / "long.parquet"], SPARING, **given)
        record(
            "distributed",
            "address space | 4 × 1",
            n=sum(figures["own_ratings"] for figures in ran.each),
            file_bytes=size,
            limit_bytes=LIMIT,
            address_space_bytes=ran.most("address_space_bytes"),
            peak_bytes_dealing=ran.most("peak_bytes_dealing"),
            peak_bytes_fit=ran.most("peak_bytes_fit"),
            seconds=ran.seconds,
            deal_seconds=ran.most("deal_seconds"),
        )


RUNS = {
    "distributed-bayes": bayes,
    "distributed-clicks": clicks,
    "distributed-network": network,
    "distributed-dealing": dealing,
    "distributed-address-space": address_space,
}

if __name__ == "__main__":
    main(RUNS)
