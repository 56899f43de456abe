"""An HTML page of sections, each a sentence, a diagram and its numbers: complete in itself, on light or dark ground."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from dmc import __version__, plots
from dmc.plots import Panel

Row = Sequence[object]


@dataclass(frozen=True)
class Section:
    """A part of the page: what is seen, a table of its numbers, and a diagram of them.

    Attributes
    ----------
    title, text : str
    header : sequence of str
        Of the table; its first column names the lines.
    rows : sequence of rows
        Text, or numbers that are written by `written`.
    panel : Panel, optional
    """

    title: str
    text: str
    header: Sequence[str]
    rows: Sequence[Row]
    panel: Panel | None = None


# No address of another machine may be asked for anything: browsers hold the page to it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
NOTICE, NUMBER = ' class="notice"', ' class="number"'
STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1f2328; --soft: #59636e; --rule: #c9d1d9; --shade: #f6f8fa;
  --first: #2b6cb0; --second: #c05621; }
@media (prefers-color-scheme: dark) { :root { --ground: #14181d; --ink: #e6edf3; --soft: #9ea7b3; --rule: #4a525c;
  --shade: #1e242b; --first: #6cb0f5; --second: #f0935a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 3rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { margin: 0 0 .25rem; font-size: 1.7rem; line-height: 1.25; }
h2 { margin: 0 0 .25rem; font-size: 1.2rem; }
p { margin: 0 0 .75rem; max-width: 46rem; }
.soft, figcaption, footer { color: var(--soft); }
.notice { padding: .6rem .9rem; border-left: 4px solid var(--second); background: var(--shade); }
section { margin-top: 2rem; padding-top: 1.25rem; border-top: 1px solid var(--rule); }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .6rem; margin: 1.25rem 0; }
.facts div { padding: .5rem .75rem; border-radius: .4rem; background: var(--shade); }
.facts dt { color: var(--soft); font-size: .85rem; }
.facts dd { margin: 0; font-size: 1.15rem; font-weight: 600; }
.pair { display: grid; gap: 1rem 2rem; align-items: start; }
@media (min-width: 56rem) { .pair { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); } }
figure { margin: 0; }
figure svg { display: block; width: 100%; height: auto; max-width: 36rem; fill: var(--ink); }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
figure svg text { font-family: system-ui, sans-serif !important; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .5rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule); }
th { font-weight: 600; }
thead th { color: var(--soft); }
.number { text-align: right; white-space: nowrap; }
thead .number { white-space: normal; }
@media (max-width: 30rem) { th, td { padding: .25rem .3rem; } table { font-size: .85rem; } }
footer { margin-top: 2.5rem; font-size: .85rem; }
@media print { section { break-inside: avoid; } }
"""


def html(
    title: str,
    under: str,
    facts: Mapping[str, object],
    notice: str,
    sections: Sequence[Section],
    warns: bool = False,
) -> str:
    """The page, as HTML that loads nothing and runs no scripts.

    Parameters
    ----------
    title, under : str
        Its heading, and a sentence below.
    facts : mapping from str to text or numbers
        The most important ones.
    notice : str
        What has to be known to read the page; set off if it `warns`.
    sections : sequence of Section

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    shown = (f"<div><dt>{escape(key)}</dt><dd>{escape(written(value))}</dd></div>" for key, value in facts.items())
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            f"<h1>{escape(title)}</h1>",
            f'<p class="soft">{escape(under)}</p>',
            '<dl class="facts">',
            *shown,
            "</dl>",
            f"<p{NOTICE if warns else ''}>{escape(notice)}</p>",
            *(_section(number, section) for number, section in enumerate(sections, 1)),
            f"<footer>Written by dmc {escape(__version__)}. This page loads nothing and runs no scripts.</footer>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _section(number: int, section: Section) -> str:
    parts = [_table(section)]
    if section.panel is not None:
        alt = f"{section.title}: {section.panel.ylabel} by {section.panel.xlabel}. The table has the numbers."
        parts.insert(0, f"<figure>{plots.svg(section.panel, f'figure-{number}', alt)}</figure>")
    inside = "\n".join(parts)
    return (
        f'<section aria-labelledby="part-{number}"><h2 id="part-{number}">{escape(section.title)}</h2>\n'
        f"<p>{escape(section.text)}</p>\n"
        + (f'<div class="pair">{inside}</div>' if section.panel is not None else inside)
        + "</section>"
    )


def _table(section: Section) -> str:
    numeric = [any(isinstance(row[i], (int, float)) for row in section.rows) for i in range(len(section.header))]
    head = _cells("th", section.header, numeric, ' scope="col"')
    lines = [
        f'<th scope="row">{escape(written(row[0]))}</th>' + _cells("td", row[1:], numeric[1:]) for row in section.rows
    ]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return (
        f'<div class="wide"><table aria-label="{escape(section.title)}"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cells(tag: str, values: Iterable[object], numeric: Sequence[bool], more: str = "") -> str:
    return "".join(
        f"<{tag}{more}{NUMBER if number else ''}>{escape(written(value))}</{tag}>"
        for value, number in zip(values, numeric, strict=True)
    )


def written(value: Any) -> str:
    """A number as a reader wants it; text as it is; a dash for what there is not."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, (bool, str)):
        return str(value)
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    return f"{value:,.3f}" if 1e-2 <= abs(value) < 1e4 else f"{value:.3g}"
