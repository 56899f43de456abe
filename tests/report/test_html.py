"""A page is well-formed, complete in itself, and shows text as text, whatever is in it."""

import math

import pytest

from dmc import plots
from dmc.report import html
from dmc.report.html import Section
from html_page import Page

EVIL = "<script>alert('&\"')</script>"
PANEL = plots.Panel("", "step", "error", [plots.Line([0, 1, 2], [3, 2, 1], "falling", {"color": plots.FIRST})])


def whole(**changes):
    sections = [
        Section("With a figure", "Text & more", ("step", "error"), [("one", 1.5), ("two", 2_000)], PANEL),
        Section(EVIL, EVIL, (EVIL, "value"), [(EVIL, EVIL), ("none", None)]),
        Section("Another figure", "", ("step", "error"), [("one", 1)], PANEL),
    ]
    return html.html(EVIL, EVIL, {EVIL: EVIL, "count": 12_345}, EVIL, sections, **changes)


def test_text_is_text_wherever_it_stands():
    text = whole()
    assert "<script" not in text
    found = Page(text)
    assert found.title == f"{EVIL}"
    assert found.text.count(EVIL) == 11  # in title and heading, below it, facts, notice, heading, sentence, table
    assert "Text & more" in found.text


def test_a_page_is_well_formed_and_loads_nothing():
    Page(whole()).check()


def test_what_is_not_well_formed_or_not_complete_is_found():
    """So that the check above is one."""
    good = whole()
    for bad in (
        good.replace("</section>", "", 1),
        good.replace("<p>", '<p><img alt="x" src="https://example.org/x.png">', 1),
        good.replace("</body>", '<link rel="stylesheet" href="//example.org/x.css"></body>'),
        good.replace("stroke: ", "stroke: url(https://example.org/x.svg#a); stroke: ", 1),
        good.replace('id="part-2"', 'id="part-1"'),
        good.replace("<p>", '<p onclick="x()">', 1),
        good.replace("aria-label=", "aria-lable=", 1),
        good.replace("url(#figure-1-", "url(#figure-9-", 1),
    ):
        assert bad != good
        with pytest.raises(AssertionError):
            Page(bad).check()


def test_each_figure_has_a_text_and_a_table_beside_it():
    found = Page(whole())
    assert found.figures == [
        "With a figure: error by step. The table has the numbers.",
        "Another figure: error by step. The table has the numbers.",
    ]
    assert found.tables == 3


def test_a_warning_is_set_off():
    assert 'class="notice"' not in whole()
    assert 'class="notice"' in whole(warns=True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        (math.nan, "–"),
        (True, "True"),
        ("text", "text"),
        (1234567, "1,234,567"),
        (0.88462, "0.885"),
        (1234.5678, "1,234.568"),
        (1.5e-7, "1.5e-07"),
        (0.0, "0"),
        (-0.5, "-0.500"),
    ],
)
def test_numbers_as_a_reader_wants_them(value, expected):
    assert html.written(value) == expected
