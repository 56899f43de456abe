"""docs/guide/warnings.md lists every warning of the library, in its words, and no other."""

import ast
import re
from pathlib import Path

import pytest

import dmc

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "guide" / "warnings.md").read_text()


def quoted():
    """What the page quotes of warnings, as the parts between gaps: the first cells of its tables."""
    for row in PAGE.splitlines():
        told = re.match(r"\| `([^`]+)` \|", row)
        if told:
            yield tuple(part.strip() for part in told[1].split("…") if part.strip())


def calls():
    """Where a warning is given, and the words of it that stand in the code."""
    found = []
    for path in sorted(Path(dmc.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            if getattr(node.func, "id", getattr(node.func, "attr", "")) in ("warn", "tell"):
                inside = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
                if inside and " is now " not in " ".join(inside):  # a name that changed; and nothing, if it hands on
                    found.append(pytest.param("…".join(inside), id=f"{path.stem}-{node.lineno}"))
    return found


def says(words, parts):
    return all(part in words for part in parts)


@pytest.mark.parametrize("words", calls())
def test_every_warning_is_on_the_page(words):
    assert any(says(words, parts) for parts in quoted()), f"docs/guide/warnings.md has no row for: {words}"


def test_the_page_has_no_other():
    given = [case.values[0] for case in calls()]
    strangers = [parts for parts in quoted() if not any(says(words, parts) for words in given)]
    assert not strangers


def test_every_status_is_on_the_page():
    assert all(f"| {name} |" in PAGE for name in dmc.Status.__members__)
