"""README is short, every table and figure of bench/ has its page, and the commands printed beside them exist."""

import re

import pytest


@pytest.fixture(autouse=True)
def _bench(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.syspath_prepend(str(request.config.rootpath / "bench"))


def test_every_page_has_its_tables_and_every_figure_a_page(request: pytest.FixtureRequest) -> None:
    import report
    from _figures import FIGURES

    root = request.config.rootpath
    marked, shown = {}, set()
    for page in (root / "README.md", *sorted((root / "docs").rglob("*.md"))):
        text = page.read_text()
        if names := re.findall(r"<!-- bench:(\w+) -->", text):
            marked[str(page.relative_to(root))] = names
        for path in re.findall(r"\(([^)]+figures/[^)]+\.png)\)|src(?:set)?=\"([^\"]+figures/[^\"]+)\"", text):
            file = page.parent / "".join(path)
            assert file.is_file(), f"{page.name} shows {file}"
            shown.add(file.stem.removesuffix("-dark"))
    assert marked == {page: [section.__name__ for section in sections] for page, sections in report.PAGES.items()}
    assert shown == set(FIGURES)


def test_the_readme_is_two_screens_long(request: pytest.FixtureRequest) -> None:
    text = (request.config.rootpath / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    assert text.count("|---") > 0
    assert len(re.findall("<!-- bench:", text)) == 1


def test_the_commands_beside_the_tables_exist(request: pytest.FixtureRequest) -> None:
    from _harness import catalogue

    runs, root = catalogue(), request.config.rootpath
    targets = re.findall(
        r"^([\w-]+):",
        (root / "Makefile").read_text() + (root / "packaging" / "packages.mk").read_text(),
        flags=re.MULTILINE,
    )
    for page in (root / "docs").rglob("*.md"):
        text = page.read_text()
        for said in re.findall(r"`dmc bench ([^`]+)`", text):
            assert set(said.split()) <= {*runs, "NAME", "NAME…", "all"}, f"{page.name}: dmc bench {said}"
        for script, said in re.findall(r"bin/python bench/(\w+)\.py ([^`]+)`", text):
            assert {runs[name][0].stem for name in said.split()} == {script}, f"{page.name}: {script}.py {said}"
        assert set(re.findall(r"`make ([\w-]+)`", text)) <= set(targets), page.name
