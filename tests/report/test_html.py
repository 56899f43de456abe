"""A page is well-formed, complete in itself, and shows text as text, whatever is in it."""

from datetime import UTC, datetime

import pytest

from dmc import plots
from dmc.report import html
from dmc.report.digits import Measured
from dmc.report.html import Section, Verdict
from html_page import Page

EVIL = "<script>alert('&\"')</script>"
PANEL = plots.Panel("", "step", "error", [plots.Line([0, 1, 2], [3, 2, 1], "falling", {"color": plots.FIRST})])


def whole(warns=False):
    sections = [
        Section("With a figure", "Text & more", ("step", "error"), [("one", 1.5), ("two", 2_000)], PANEL),
        Section(EVIL, EVIL, (EVIL, "value"), [(EVIL, EVIL), ("none", None)]),
        Section("Another figure", "", ("step", "error"), [("one", 1)], PANEL),
    ]
    facts = {EVIL: EVIL, "count": 12_345, "error": Measured(0.51234, 0.012)}
    return html.html(EVIL, EVIL, Verdict(EVIL, EVIL, warns), facts, sections, datetime(2026, 3, 7, 16, 5, tzinfo=UTC))


def test_text_is_text_wherever_it_stands():
    text = whole()
    assert "<script" not in text
    found = Page(text)
    assert found.title == f"{EVIL}"
    assert found.text.count(EVIL) == 12  # in title and heading, below it, verdict, facts, heading, sentence, table
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


def test_the_date_and_the_verdict_stand_on_top():
    text = Page(whole()).text
    places = [text.index(part) for part in ("7 March 2026, 16:05 UTC, by dmc", "0.512 ± 0.012", "With a figure")]
    assert places == sorted(places)
    assert '<time datetime="2026-03-07T16:05Z">' in whole()


def test_a_wide_table_stands_below_its_figure():
    narrow = Section("Narrow", "", ("step", "error"), [("one", 1)], PANEL)
    wide = Section("Wide", "", tuple("abcdef"), [("one", *[Measured(1234.5, 0.012)] * 5)], PANEL)
    pages = [
        html.html("", "", Verdict("", ""), {}, [section], datetime(2026, 3, 7, tzinfo=UTC))
        for section in (narrow, wide)
    ]
    assert ['class="pair"' in page for page in pages] == [True, False]


def test_a_warning_is_set_off():
    assert 'class="notice"' not in whole()
    assert 'class="notice"' in whole(warns=True)
