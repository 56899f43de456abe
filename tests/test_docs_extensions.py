"""The site's own extensions, on one page of what is odd: twins of figures, links from names, formulas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx")
pytest.importorskip("myst_parser")

EXTENSIONS = Path(__file__).parent.parent / "docs" / "_extensions"
CONF = f"""
import sys
sys.path.insert(0, {str(EXTENSIONS)!r})
project = "odd"
extensions = ["myst_parser", "sphinx.ext.autodoc", "dark", "links", "mathml", "reference"]
myst_enable_extensions = ["dollarmath"]
html_math_renderer = "mathml"
"""
PAGE = r"""# Odd things

![drawn twice](figure.png) ![alone](alone.png) ![elsewhere](https://example.org/figure.png)

`dmc.solve(a, b)`, [**`dmc.solve`**](https://example.org), `dmc.nothing`

$\sqrt{x}$ and $\nonsense$

```{eval-rst}
.. py:function:: dmc.solve(x)
```
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The page, and what was said while it was built."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "conf.py").write_text(CONF)
    (folder / "index.md").write_text(PAGE)
    for name in ("figure.png", "figure-dark.png", "alone.png"):
        (folder / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", folder, folder / "out"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return (folder / "out" / "index.html").read_text(), ended.stderr


def test_a_figure_with_a_twin_is_shown_once_in_light_and_once_in_dark(built: tuple[str, str]) -> None:
    page, _ = built
    assert page.count('class="only-light"') == page.count('class="only-dark"') == 1
    assert 'class="only-dark" src="_images/figure-dark.png"' in page


def test_a_name_leads_to_the_reference_unless_it_is_in_a_link(built: tuple[str, str]) -> None:
    page, _ = built
    assert page.count('<a class="reference internal" href="#dmc.solve"><code') == 1
    assert "<strong><code" in page


def test_a_formula_that_cannot_be_read_is_told_with_its_place(built: tuple[str, str]) -> None:
    page, said = built
    assert page.count("<math") == 1
    assert "index.md:7" in said
    assert r"\nonsense" in said
