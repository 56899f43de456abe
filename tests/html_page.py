"""A page as its readers get it: its text, its figures, and whether it holds together and needs nothing else."""

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "hr", "input"}
LOADING = {"script", "link", "img", "iframe", "object", "embed", "audio", "video", "source", "base", "form", "image"}


class Page(HTMLParser):
    """Attributes: title, text (all of it), figures (their alternative texts), tables (how many)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source, self.text, self.title = text, "", ""
        self.figures: list[str] = []
        self.tables = 0
        self.problems: list[str] = []
        self._open: list[str] = []
        self._ids: list[str] = []
        self._named: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.note(tag, dict(attrs))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.note(tag, dict(attrs))

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"</{tag}> at {self.getpos()} closes nothing")

    def handle_data(self, data):
        if self._open[-1:] == ["title"]:
            self.title += data
        if "style" not in self._open:
            self.text += data

    def note(self, tag, attrs):
        self.tables += tag == "table"
        if tag in LOADING:
            self.problems.append(f"<{tag}> loads something")
        if tag == "svg":
            self.figures.append(attrs.get("aria-label", ""))
            if attrs.get("role") != "img" or not attrs.get("aria-label"):
                self.problems.append("a figure has no alternative text")
        if "id" in attrs:
            self._ids.append(attrs["id"])
        for name, value in attrs.items():
            if name.startswith("on"):
                self.problems.append(f"{name} runs a script")
            addresses = re.findall(r"url\(([^)]*)\)", value or "")
            addresses += [value] if name in ("href", "src", "xlink:href", "srcset", "action") else []
            for address in addresses:
                if address.startswith("#"):
                    self._named.append(address[1:])
                else:
                    self.problems.append(f"{name}={address} is outside")
            if name in ("aria-labelledby", "aria-describedby"):
                self._named.append(value)

    def check(self) -> None:
        assert self.source.startswith("<!DOCTYPE html>\n")
        assert not self._open, f"never closed: {self._open}"
        assert not self.problems
        assert len(self._ids) == len(set(self._ids)), "an id is given twice"
        assert set(self._named) <= set(self._ids), "something points to an id that is not there"
        style = re.search("<style>(.*?)</style>", self.source, re.DOTALL)
        assert style is not None
        assert "url(" not in style[1]
        assert "@import" not in style[1]
        assert "://" not in self.source
