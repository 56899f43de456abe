"""The README and docs/ are true: their code runs, the commands exist, the figures are those of bench/results."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import dmc
from dmc.cli import program as program_of_dmc
from processes import free_port

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MACHINES = ROOT / "docs" / "guide" / "several-machines.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
HOSTS = {"cornac", "lenskit", "pyspark", "surprise"}  # which have an environment of their own

PYTHON = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", flags=re.DOTALL | re.MULTILINE)
DECIMAL = re.compile(r"-?\d+\.\d*")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def python_blocks(*, of_hosts: bool) -> list:
    """Every block of every page and the output shown below it, named after both; of hosts, or the others."""
    imported = re.compile(rf"^(?:from|import) (?:{'|'.join(sorted(HOSTS))})\b", flags=re.MULTILINE)
    return [
        pytest.param(code, shown, id=f"{page.stem}-{i}")
        for page in PAGES
        for i, (code, shown) in enumerate(PYTHON.findall(page.read_text()))
        if of_hosts == bool(imported.search(code))
    ]


def assert_same_output(told: str, shown: str) -> None:
    """Word by word; decimals may differ a little from machine to machine."""
    told, shown = (" ".join(text.split()) for text in (told, shown))
    assert DECIMAL.split(told) == DECIMAL.split(shown)
    found, expected = (list(map(float, DECIMAL.findall(text))) for text in (told, shown))
    assert found == pytest.approx(expected, rel=0.02, abs=0.011)


@pytest.mark.parametrize(("code", "shown"), python_blocks(of_hosts=True))
def test_python_runs_beside_its_host(
    code: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """In the hosts' own environments: `make integrations`, `make spark`."""
    for host in re.findall(r"^(?:from|import) (\w+)", code, flags=re.MULTILINE):
        if host in HOSTS:
            pytest.importorskip(host, reason=f"{host} is not installed here; its environment runs this (Makefile)")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "a page's block", "exec"), {})
    if shown:
        assert_same_output(capsys.readouterr().out, shown)


@pytest.mark.parametrize(("code", "shown"), python_blocks(of_hosts=False))
def test_python_runs(
    code: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(code, "a page's block", "exec"), names)
    told = capsys.readouterr().out
    assert told
    if shown:
        assert_same_output(told, shown)
    if "truth" in names:  # the claim in the comment
        error = np.linalg.norm(names["model"].complete() - names["truth"]) / np.linalg.norm(names["truth"])
        assert error < 1e-12
        assert names["model"].rank_ == 5
    if "recovered" in names:  # a row of a table, again; one more or less may be luck on another machine
        monkeypatch.syspath_prepend(str(ROOT / "bench"))
        from _harness import cases

        row = cases("recovery", "uniform | ")["300×300 | 5 | 1.4 | 1 | uniform, as drawn"]
        assert names["recovered"] / len(names["seeds"]) == pytest.approx(row["of_determined"], abs=0.1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name} links to {target}"


def shell_lines() -> list[str]:
    """The commands of all pages, once each: first those of the page that makes the files others read."""
    first = ROOT / "docs" / "guide" / "command-line.md"
    text = "".join(block for page in [first, *PAGES] for block in blocks("sh", page.read_text()))
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
    return list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))


def write_samples(folder: Path) -> None:
    """The files that the commands read."""
    ratings = [f"user {u},{i},{1 + (u + i) % 5}" for u in range(40) for i in range(30) if (u * i) % 3]
    clicks = [f"user {u},{i}" for u in range(40) for i in range(30) if (u + i) % 3 == 0]
    days = [
        [
            f"v{u},SKU{i},2025-05-{day:02}T{(7 * u + i) % 24:02}:00:00"
            for u in range(30)
            for i in range(20)
            if (u + i) % 3
        ]
        for day in (1, 2)
    ]
    readings = [f"{day},{day % 7}.5,{'' if day == 3 else f'{day % 7 + 1}.0'},{day % 5}.25" for day in range(20)]
    texts = {
        "ratings.csv": ["user,item,rating", *ratings],
        "newer.csv": ["user,item,rating", "user 3,0,4", "user 4,3,5"],
        "pairs.csv": ["user,item", "user 3,7"],
        "clicks.csv": ["user,item", *clicks],
        "today.csv": ["user,item", "user 3,1", "somebody new,2", "user 5,new"],
        "day1.csv": ["visitor,product,when", *days[0]],
        "day2.csv": ["visitor,product,when", *days[1], "new,SKU1,2025-05-02T08:00:00"],
        "readings.csv": ["day,oslo,bergen,tromso", *readings],
        "table.csv": ["day,oslo,bergen,tromso", *readings],
    }
    for name, lines in texts.items():
        (folder / name).write_text("\n".join(lines) + "\n")


@pytest.mark.filterwarnings("default")  # the program shows them
def test_shell_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_samples(tmp_path)
    monkeypatch.chdir(tmp_path)
    ran = 0
    for line in shell_lines():
        program, *arguments = shlex.split(line, comments=True)
        if program == "dmc" and arguments[0] not in ("bench", "demo"):  # which have tests of their own
            assert program_of_dmc.run(arguments) == 0, line
            ran += 1
    assert ran > 10


def test_make_has_the_targets_that_pages_name() -> None:
    rules = (ROOT / "Makefile").read_text() + (ROOT / "packaging" / "packages.mk").read_text()
    targets = re.findall(r"^([\w-]+):", rules, flags=re.MULTILINE)
    named = [
        target for line in shell_lines() if line.startswith("make ") for target in shlex.split(line, comments=True)[1:]
    ]
    assert named
    assert set(named) <= set(targets)


def torchrun(command: str, folder: Path, more: dict[str, str]) -> subprocess.Popen:
    program, *arguments = shlex.split(command)
    line = [sys.executable, "-m", "torch.distributed.run", *arguments]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"} | more
    assert program == "torchrun"
    return subprocess.Popen(
        line, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def write_ratings(folder: Path) -> None:
    """120 users and 40 items in two files."""
    folder.mkdir()
    for part in range(2):
        pairs = [(u, i) for u in range(part, 120, 2) for i in range(40) if (u * i + u + i) % 4]
        rows = {"user": [f"user {u}" for u, _ in pairs], "item": [i for _, i in pairs]}
        rows["rating"] = [float(1 + (u + i) % 5) for u, i in pairs]
        parquet.write_table(pa.table(rows), folder / f"{part}.parquet")


def torchrun_commands() -> list:
    lines = [line for page in PAGES for line in "".join(blocks("sh", page.read_text())).splitlines()]
    return [line for line in dict.fromkeys(lines) if line.startswith("torchrun")]


@pytest.mark.parametrize("command", torchrun_commands(), ids=range(len(torchrun_commands())))
def test_commands_of_several_processes_run(command: str, tmp_path: Path) -> None:
    write_ratings(tmp_path / "ratings")
    hosts = 2 if "--nnodes=2" in command else 1  # both of them are this one
    port = free_port()
    said = command.replace("first-host:29400", f"127.0.0.1:{port}")
    if hosts == 1:
        said = said.replace("torchrun", f"torchrun --master-addr=127.0.0.1 --master-port={port}", 1)
    agents = [torchrun(said, tmp_path, {}) for _ in range(hosts)]
    told = [agent.communicate(timeout=180) for agent in agents]
    assert [agent.returncode for agent in agents] == [0] * hosts, told
    assert "".join(out for out, _ in told).count("120 users and 40 items") == 1
    model = dmc.Recommender.load(tmp_path / "model")
    assert len(model.users_) == 120
    assert len(list((tmp_path / "model").glob("users-*.dmc"))) == 2 * hosts


def test_the_program_of_several_machines_runs_in_two(tmp_path: Path) -> None:
    code = next(code for code in blocks("python", MACHINES.read_text()) if "connected(" in code)
    (tmp_path / "program.py").write_text(code)
    line = f"torchrun --master-addr=127.0.0.1 --master-port={free_port()} --nproc-per-node=2 program.py"
    agent = torchrun(line, tmp_path, {"PYTHONPATH": str(ROOT)})
    out, err = agent.communicate(timeout=180)
    assert agent.returncode == 0, err
    assert out.count("Recommender(") == 2
    users = dmc.Recommender.load(tmp_path / "model").users_.ids
    assert {user.rpartition(" ")[2] for user in users.tolist()} == {"0", "1"}  # those of both


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "<!-- bench:" in page.read_text()], ids=lambda page: page.stem
)
def test_tables_are_those_of_the_results(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import report

    assert report.written(str(page.relative_to(ROOT))) == page.read_text()
