"""What the tests of commands share."""

import io
import sys

import pytest


@pytest.fixture(scope="session")
def titles(tmp_path_factory):
    path = tmp_path_factory.mktemp("titles") / "titles.csv"
    path.write_text("id,title\n" + "".join(f'{i},"Film {i}, the"\n' for i in range(20)))
    return path


@pytest.fixture
def stdin(monkeypatch):
    """Puts text, or bytes, where a program reads its standard input."""

    def put(content):
        content = content.encode() if isinstance(content, str) else content
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))

    return put
