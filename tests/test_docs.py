"""The site, as far as it is not built: every page is reached, every public name has one, and what pages name exists."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

import dmc
import public_names

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(
    page for page in DOCS.rglob("*.md") if not page.relative_to(DOCS).parts[0].startswith(("auto_", "tutorials"))
)
BUILT = ("auto_examples/", "auto_tutorials/")  # by sphinx-gallery


def name_of(page: Path) -> str:
    return page.relative_to(DOCS).with_suffix("").as_posix()


def entries(kind: str, text: str) -> list[str]:
    """What the directives of that kind list: a toctree's pages, the names of an autosummary."""
    blocks = re.findall(rf"^(?:```\{{{kind}\}}|\.\. {kind}::)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    lines = (line.strip() for block in blocks for line in block.splitlines())
    return [re.sub(r".*<(.*)>", r"\1", line) for line in lines if line and not line.startswith(":")]


def listed() -> Counter[str]:
    """How often each page stands in a toctree."""
    found = Counter(["index"])
    for page in PAGES:
        folder = page.parent.relative_to(DOCS).as_posix()
        found.update(f"{folder}/{entry}".removeprefix("./") for entry in entries("toctree", page.read_text()))
    return found


def test_every_page_is_in_one_toctree() -> None:
    pages = {name_of(page) for page in PAGES}
    found = listed()
    assert {name: count for name, count in found.items() if count > 1} == {}
    assert pages - set(found) == set()
    assert {name for name in set(found) - pages if not name.startswith(BUILT)} == set()


def resolved(name: str) -> object:
    """The object of a dotted name below `dmc`."""
    found: object = dmc
    for part in name.split(".")[1:]:
        found = getattr(found, part)
    return found


def test_every_public_name_is_on_one_page_of_the_reference() -> None:
    names = [name for page in PAGES if page.parent.name == "api" for name in entries("autosummary", page.read_text())]
    # Frameworks may not be here: their modules declare their names in a line each.
    of_frameworks = {name for name in names if name.startswith("dmc.integrations.")}
    here = Counter(id(resolved(name)) for name in names if name not in of_frameworks)
    public = {
        id(name.value): name.path for name in public_names.public_names() if name.path.split(".")[1] != "integrations"
    }
    assert {path for key, path in public.items() if here[key] != 1} == set(), "not on one page of docs/api"
    assert {name for name in set(names) - of_frameworks if id(resolved(name)) not in public} == set(), "not public"
    assert of_frameworks == {f"{module}.{name}" for module in public_names.INTEGRATIONS for name in declared(module)}


def declared(module: str) -> list[str]:
    file = Path(dmc.__file__).parent.parent.joinpath(*module.split("."))
    source = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    return re.findall(
        r'"(\w+)"', re.findall(r"^__all__ = \[(.*?)\]", source.read_text(), flags=re.DOTALL | re.MULTILINE)[0]
    )


NAMED = re.compile(r"`(dmc(?:\.[A-Za-z]\w*)+)(?:\([^`]*\))?`")


def exists(name: str) -> bool:
    try:
        resolved(name)
    except AttributeError:  # what `fit` sets, a class describes
        owner, _, attribute = name.rpartition(".")
        return attribute.endswith("_") and re.search(rf"\b{attribute}\b", resolved(owner).__doc__ or "") is not None
    return True


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_names_in_a_page_exist(page: Path) -> None:
    names = [name for name in NAMED.findall(page.read_text()) if not name.startswith("dmc.integrations")]
    assert [name for name in dict.fromkeys(names) if not exists(name)] == [], f"{page.name} names what is not there"


def anchors(page: Path) -> set[str]:
    """Where links into a page may lead: its headings, as myst-parser and code hosts call them."""
    titles = re.findall(r"^#{1,3} (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_into_a_page_lead_to_a_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        file = (page.parent / target) if target else page
        assert anchor in anchors(file), f"{page.name} links to {target}#{anchor}"
