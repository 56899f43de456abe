"""Times of any kind can be sorted; what is none is told by its row."""

import datetime

import numpy as np
import pytest

from dmc.recommend.tables.times import as_times


def where(row: int) -> str:
    return f"line {row + 2} of r.csv"


def objects(*values):
    found = np.empty(len(values), object)
    found[:] = values
    return found


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([3, 1]), [3, 1]),
        (np.array(["3", " 1e2"]), [3.0, 100.0]),
        (np.array(["1970-01-02", "1970-01-01T00:00:01+00:00"]), [86400.0, 1.0]),
        (np.array(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]), [-62135647200.0, 253402351199.0]),
        (objects(datetime.date(1970, 1, 2), datetime.datetime(1970, 1, 1, 1)), [86400.0, 3600.0]),
        (np.array([2**64 - 1, 1], np.uint64), [2**64 - 1, 1]),
    ],
    ids=["numbers", "in text", "dates", "the ends of the calendar", "objects", "unsigned"],
)
def test_times(values, expected):
    assert as_times(values, "when", where).tolist() == expected


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.array([1.0, np.inf]), "column 'when' holds 1 infinite time, the first in line 3 of r.csv; drop"),
        (
            np.array(["1", "1e999"]),
            "column 'when' holds 1 infinite time, the first in line 3 of r.csv; drop those rows",
        ),
        (objects(None, "2024-01-01"), "column 'when' holds 1 missing time, the first in line 2 of r.csv; drop those"),
        (np.array(["2024-01-01", "٢٠٢٤"]), "column 'when' holds '٢٠٢٤' in line 3 of r.csv, which is not a time; give"),
        (np.array(["2024-01-01", "1_000"]), "column 'when' holds '1_000' in line 3 of r.csv, which is not a time;"),
        (
            objects(np.array([1, 2]), np.array([3])),
            "column 'when' holds ndarray in place of a time, the first in row",
        ),
        (np.array([1j]), "column 'when' has dtype complex128; give a time for each entry"),
    ],
)
def test_times_that_are_none(values, told):
    with pytest.raises(ValueError, match="when") as caught:
        as_times(values, "when", where)
    assert str(caught.value).startswith(told)
