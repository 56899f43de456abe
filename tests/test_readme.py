"""The README is true: its code runs, its commands exist, its figures are those of bench/results."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert capsys.readouterr().out
    if "truth" in names:  # the claim in the comment
        error = np.linalg.norm(names["model"].complete() - names["truth"]) / np.linalg.norm(names["truth"])
        assert error < 1e-12
        assert names["model"].rank_ == 5


def test_shell_commands_run(tmp_path: Path) -> None:
    ratings = [
        "user,item,rating",
        *(f"user {u},{i},{1 + (u + i) % 5}" for u in range(40) for i in range(30) if (u * i) % 3),
    ]
    (tmp_path / "ratings.csv").write_text("\n".join(ratings) + "\n")
    (tmp_path / "newer.csv").write_text("user,item,rating\nuser 3,0,4\nuser 4,3,5\n")
    (tmp_path / "pairs.csv").write_text("user,item\nuser 3,7\n")
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for line in "".join(blocks("sh")).splitlines():
        program, *arguments = shlex.split(line)
        if program == "make":
            assert arguments[0] in targets
        else:
            assert program == "dmc"
            subprocess.run([sys.executable, "-m", "dmc", *arguments], cwd=tmp_path, check=True, capture_output=True)


def test_figures_are_those_of_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import report

    assert report.written(README) == README


def test_figures_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import report

    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert len(shown) >= 2
    drawn = {f"bench/figures/{name}.png" for name in report.FIGURES}
    assert set(shown) <= drawn
    assert all((ROOT / path).is_file() for path in shown)
