"""Sections on predicted ratings, of ratings whose errors are known by hand."""

import numpy as np
import pytest

from dmc.report import rating_sections
from dmc.report.digits import Measured
from dmc.report.judged import JudgedRatings


def judged(own=False, **changes):
    n = 400
    actual = np.tile([1.0, 2.0, 4.0, 5.0], n // 4)
    predicted = np.clip(actual + np.repeat([-0.5, 0.5], n // 2), 1, 5)
    fields = {"actual": actual, "predicted": predicted, "lower": None, "upper": None} | changes
    return JudgedRatings(np.arange(n) % 50, np.arange(n) % 2 * 200, **fields, own=own)


def test_coverage_says_whether_it_keeps_its_promise():
    assert rating_sections.coverage(judged()) is None
    for off, words in ((0.6, "more than was promised"), (0.4, "less than was promised")):
        found = judged(lower=judged().predicted - off, upper=judged().predicted + off)
        section = rating_sections.coverage(found)
        assert words in section.text
        whole = section.rows[-1]
        assert whole[:2] == ("all", 400)
        assert whole[6] == pytest.approx(2 * off)
        low, high = whole[4].value, whole[5].value
        assert low < whole[3].value <= high
        line = section.panel.lines[1]
        assert (np.array(line.whiskers[0]) <= line.y).all()  # the uncertainty is in the figure
        assert (np.array(line.whiskers[1]) >= line.y).all()
    sure = judged(lower=np.where(np.arange(400) % 10 == 0, 9, 0), upper=np.full(400, 9))
    assert "agrees with the promised share." in rating_sections.coverage(sure).text
    own = judged(own=True, lower=judged().predicted - 1, upper=judged().predicted + 1)
    assert "makes the share too good: use --test." in rating_sections.coverage(own).text


def test_calibration_has_errors_by_user():
    section = rating_sections.calibration(judged())
    assert sum(row[1] for row in section.rows) == 400
    assert all(isinstance(row[3], Measured) for row in section.rows)
    assert section.panel.lines[1].whiskers is not None


def test_distribution_of_a_scale_and_of_many_values():
    section = rating_sections.distribution(judged())
    assert [row[0] for row in section.rows] == ["1", "2", "4", "5"]
    assert [row[1].value for row in section.rows] == [0.25] * 4
    many = judged(actual=np.linspace(-1e6, 1e6, 400))
    rows = rating_sections.distribution(many).rows
    assert len(rows) == rating_sections.MAX_DISTINCT
    assert sum(row[1].value for row in rows) == pytest.approx(1)
    assert rows[0][0] == "−1,000,000 to −900,000"


def test_ends_of_what_has_no_error_are_not_drawn():
    low, high = rating_sections.ends((Measured(1.0, 0.1), Measured(2.0)))
    assert (low[0], high[0]) == pytest.approx((0.8, 1.2))
    assert np.isnan([low[1], high[1]]).all()


def test_names_below_an_axis_are_short():
    assert [rating_sections.short(name) for name in ("0", "3–9", "1,000–2,999", "100,000+")] == ["0", "3", "1k", "100k"]
