"""An HTML page of sections, each a sentence, a diagram and its numbers: complete in itself, on light or dark ground."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from dmc import __version__, plots
from dmc.plots import Panel
from dmc.report.digits import is_number, written

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
        Text, or numbers: see `dmc.report.digits.written`.
    panel : Panel, optional
    """

    title: str
    text: str
    header: Sequence[str]
    rows: Sequence[Row]
    panel: Panel | None = None


@dataclass(frozen=True)
class Verdict:
    """What the page comes to.

    Attributes
    ----------
    lead, text : str
        In a few words, and the figures that it rests on.
    warns : bool
        Whether it is one to be warned of.
    """

    lead: str
    text: str
    warns: bool = False


# No address of another machine may be asked for anything: browsers hold the page to it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
BESIDE, GAP = 60, 2  # letters of a row that there is room for beside a figure, and between two columns
NOTICE, VERDICT, NUMBER, SHORT = (f' class="{name}"' for name in ("notice", "verdict", "number", "short"))
FOOTER = (
    "± is one standard error: how far a figure would be off by chance with other users. Figures have as many digits as "
    "it leaves them, or three where it is not known. This page loads nothing and runs no scripts."
)
_LIGHT, _DARK = (
    " ".join(f"--{role}: {color};" for role, color in {"ground": theme.ground, **theme.roles}.items())
    for theme in (plots.LIGHT, plots.DARK)
)
STYLE = (
    f"""
:root {{ color-scheme: light dark; --shade: #f6f8fa; {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ --shade: #1e242b; {_DARK} }} }}
"""
    + """
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 3rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { margin: 0 0 .25rem; font-size: 1.7rem; line-height: 1.25; }
h2 { margin: 0 0 .25rem; font-size: 1.2rem; }
p { margin: 0 0 .75rem; max-width: 46rem; }
.soft, figcaption, footer { color: var(--soft); }
.notice, .verdict { margin-top: 1rem; padding: .6rem .9rem; background: var(--shade);
  border-left: 4px solid var(--first); }
.notice { border-left-color: var(--second); }
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
.short { white-space: nowrap; }
thead .number { white-space: normal; }
figure + .wide { margin-top: .5rem; }
@media (max-width: 30rem) { th, td { padding: .25rem .3rem; } table { font-size: .85rem; } }
footer { margin-top: 2.5rem; font-size: .85rem; }
@media print { section { break-inside: avoid; } }
"""
)


def html(
    title: str,
    under: str,
    verdict: Verdict,
    facts: Mapping[str, object],
    sections: Sequence[Section],
    written_at: datetime,
) -> str:
    """The page, as HTML that loads nothing and runs no scripts.

    Parameters
    ----------
    title, under : str
        Its heading, and a sentence below.
    verdict : Verdict
        What stands on top; set off if it `warns`.
    facts : mapping from str to text or numbers
        The most important ones.
    sections : sequence of Section
    written_at : datetime
        In UTC.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    when = f'<time datetime="{written_at:%Y-%m-%dT%H:%MZ}">{written_at.day} {written_at:%B %Y, %H:%M} UTC</time>'
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
            f'<p class="soft">{when}, by dmc {escape(__version__)}. {escape(under)}</p>',
            f"<p{NOTICE if verdict.warns else VERDICT}>",
            f"<strong>{escape(verdict.lead)}</strong> {escape(verdict.text)}</p>",
            '<dl class="facts">',
            *shown,
            "</dl>",
            *(_section(number, section) for number, section in enumerate(sections, 1)),
            f"<footer>{FOOTER}</footer>",
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
    beside = section.panel is not None and _width(section) <= BESIDE
    return (
        f'<section aria-labelledby="part-{number}"><h2 id="part-{number}">{escape(section.title)}</h2>\n'
        f"<p>{escape(section.text)}</p>\n" + (f'<div class="pair">{inside}</div>' if beside else inside) + "</section>"
    )


def _width(section: Section) -> int:
    """Letters of a row of the table."""
    columns = zip(*section.rows, strict=True)
    return sum(max(len(written(value)) + GAP for value in column) for column in columns)


def _table(section: Section) -> str:
    numeric = [any(is_number(row[i]) for row in section.rows) for i in range(len(section.header))]
    head = _cells("th", section.header, numeric, ' scope="col"')
    lines = [
        f'<th scope="row"{SHORT if len(written(row[0])) < 14 else ""}>{escape(written(row[0]))}</th>'
        + _cells("td", row[1:], numeric[1:])
        for row in section.rows
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
