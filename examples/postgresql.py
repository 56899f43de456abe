"""Recommendations in PostgreSQL
=============================

Read ratings from PostgreSQL in pieces, and write lists and vectors back, in one transaction that replaces yesterday's.

It needs psycopg (3) beside dmc. Every night::

    python examples/postgresql.py "dbname=shop" model.dmc
"""

import sys
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

import psycopg

import dmc

RATINGS = "SELECT user_id, item_id, rating FROM ratings WHERE rating IS NOT NULL"
PIECE = 100_000  # rows read, or users listed, at a time
TABLES = """
CREATE TABLE IF NOT EXISTS recommendations (
    user_id bigint, place int, item_id bigint NOT NULL, prediction real NOT NULL, PRIMARY KEY (user_id, place));
CREATE TABLE IF NOT EXISTS user_vectors (user_id bigint PRIMARY KEY, vector real[] NOT NULL);
CREATE TABLE IF NOT EXISTS item_vectors (item_id bigint PRIMARY KEY, vector real[] NOT NULL);
"""


def ratings(connection: psycopg.Connection) -> Iterator[dict[str, Any]]:
    """Columns of so many rows at a time: the whole table is in memory neither as rows nor as Python's objects.

    All are of one moment, whatever is written meanwhile, and the transaction is over before the fit begins.
    """
    with connection.transaction(), connection.cursor("ratings") as cursor:  # one with a name stays on the server
        cursor.execute(RATINGS)
        while rows := cursor.fetchmany(PIECE):
            yield dict(zip(("user", "item", "rating"), zip(*rows, strict=True), strict=True))


def lists(rec: dmc.Recommender, n: int) -> Iterator[tuple[Any, int, Any, float]]:
    """The n best items of every user, with their places from 1."""
    for first in range(0, len(rec.users_), PIECE):
        found = rec.recommend(rec.users_.ids[first : first + PIECE], n, output="dict")
        columns = (found[name].tolist() for name in ("user", "item", "prediction"))
        for user, own in groupby(zip(*columns, strict=True), key=itemgetter(0)):
            for place, (_, item, prediction) in enumerate(own, 1):
                yield user, place, item, prediction


def write(connection: psycopg.Connection, rec: dmc.Recommender, n: int = 10) -> None:
    """Who reads meanwhile sees all of yesterday's, then all of today's; if anything fails, yesterday's stay."""
    of_lists = rec.ranking_  # whose products order a user's items; rec.factors_ would predict ratings
    rows: dict[str, Iterator[tuple[Any, ...]]] = {
        "recommendations": lists(rec, n),
        "user_vectors": zip(rec.users_.ids.tolist(), of_lists.U.tolist(), strict=True),
        "item_vectors": zip(rec.items_.ids.tolist(), of_lists.V.tolist(), strict=True),
    }
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(TABLES)
        for table, of_table in rows.items():
            cursor.execute(f"DELETE FROM {table}")  # TRUNCATE would let all readers wait
            with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                for row in of_table:
                    copy.write_row(row)


def main(database: str, model: str = "model.dmc") -> None:
    with psycopg.connect(database, autocommit=True) as connection:  # transactions: only where they are opened
        rec = dmc.Recommender().fit(ratings(connection), duplicates="last")
        rec.save(model)
        write(connection, rec)


if __name__ == "__main__":
    main(*sys.argv[1:])
