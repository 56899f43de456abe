"""Tables written in pieces: the same whatever the pieces, in each format; files that appear whole or not at all."""

import json
import os
import threading

import numpy as np
import pyarrow.parquet
import pytest

from dmc.cli import writers
from dmc.cli.wording import WrongUse

COLUMNS = {
    "item": np.array(["a,b", 'c"d', "é"]),
    "n": np.array([1, 2, 3]),
    "score": np.float32([0.5, 1 / 3, np.nan]),
    "known": np.array([True, False, True]),
}
CSV = 'item,n,score,known\n"a,b",1,0.5,true\n"c""d",2,0.333333,false\né,3,,true\n'
OBJECTS = [
    {"item": "a,b", "n": 1, "score": 0.5, "known": True},
    {"item": 'c"d', "n": 2, "score": float(np.float32(1 / 3)), "known": False},
    {"item": "é", "n": 3, "score": None, "known": True},
]


def written(output, in_json=False, size=3, **more):
    with writers.table_writer(output, in_json, "rows", **more) as write:
        for first in range(0, 3, size):
            write({name: values[first : first + size] for name, values in COLUMNS.items()})


@pytest.fixture(params=[1, 2, 3])
def size(request, monkeypatch):
    """Rows in a piece; and the text of two is made at a time."""
    monkeypatch.setattr(writers, "ROWS", 2)
    return request.param


def test_csv(size, tmp_path, capsys):
    written(None, size=size)
    assert capsys.readouterr().out == CSV
    for name, expected in {"out": CSV, "out.csv": CSV}.items():
        written(tmp_path / name, size=size)
        assert (tmp_path / name).read_text() == expected
    written(tmp_path / "out.tsv", size=size)
    assert (tmp_path / "out.tsv").read_text().startswith("item\tn\tscore\tknown\na,b\t1\t0.5\ttrue\n")
    assert capsys.readouterr().out == ""


def test_json(size, tmp_path, capsys):
    written(None, True, size, mean=2.5)
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {"mean": 2.5, "rows": OBJECTS}
    written(tmp_path / "out.jsonl", True, size, mean=2.5)
    told = {"mean": 2.5, "output": str(tmp_path / "out.jsonl"), "n_rows": 3}
    assert json.loads(capsys.readouterr().out) == told
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == OBJECTS


def test_parquet(size, tmp_path):
    written(tmp_path / "out.parquet", size=size)
    found = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert found.schema.names == list(COLUMNS)
    assert [str(field.type) for field in found.schema] == ["string", "int64", "float", "bool"]
    np.testing.assert_array_equal(found["score"].to_numpy(), COLUMNS["score"])
    assert found["item"].to_pylist() == COLUMNS["item"].tolist()


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet", None])
def test_no_rows(name, tmp_path, capsys):
    output = None if name is None else tmp_path / name
    with writers.table_writer(output, name is None, "rows") as write:
        write({key: values[:0] for key, values in COLUMNS.items()})
    if name is None:
        assert json.loads(capsys.readouterr().out) == {"rows": []}
    elif name == "out.parquet":
        assert pyarrow.parquet.read_table(output).schema.names == list(COLUMNS)
    else:
        assert output.read_text() == ("item,n,score,known\n" if name == "out.csv" else "")


def test_ids_of_another_encoding_come_back_as_they_were_or_are_refused(tmp_path):
    columns = {"user": np.array([b"Am\xe9lie".decode("utf-8", "surrogateescape")])}
    with writers.table_writer(tmp_path / "out", False, "") as write:
        write(columns)
    assert (tmp_path / "out").read_bytes() == b"user\nAm\xe9lie\n"
    with (
        pytest.raises(ValueError, match=r"is not UTF-8 and Parquet holds no other text; write \.csv"),
        writers.table_writer(tmp_path / "out.parquet", False, "") as write,
    ):
        write(columns)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_file_appears_whole_or_not_at_all(name, error, tmp_path):
    (tmp_path / name).write_text("before")

    def fail():
        with writers.table_writer(tmp_path / name, False, "rows") as write:
            write(COLUMNS)
            raise error

    with pytest.raises(error):
        fail()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "before")]


def test_a_link_stays_one_and_a_pipe_is_written_to(tmp_path):
    (tmp_path / "real.csv").write_text("before")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    written(tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text() == CSV

    os.mkfifo(tmp_path / "pipe.csv")
    writer = threading.Thread(target=written, args=(tmp_path / "pipe.csv",))
    writer.start()
    assert (tmp_path / "pipe.csv").read_text() == CSV
    writer.join()
    assert (tmp_path / "pipe.csv").is_fifo()


def test_what_is_in_place_is_whole_and_what_is_no_file_is_written_through(tmp_path):
    through = {"/dev/stdout": True, "/dev/null": True, "/dev/shm/out.csv": False, "x" * 300 + ".csv": False}
    for path, expected in through.items():
        assert writers.written_through(tmp_path / path) is expected  # an absolute one stays what it is
    with pytest.raises(OSError, match="cannot be written \\(file name too long\\)"):
        writers.check_table_output(tmp_path / ("x" * 300 + ".csv"))


def test_check_table_output(tmp_path, monkeypatch):
    for name in (None, "a", "a.CSV", "a.tsv", "a.jsonl", "a.parquet"):
        writers.check_table_output(name and tmp_path / name)
    with pytest.raises(WrongUse, match=r"a.xlsx ends in .xlsx; tables are written as .csv, .tsv, .jsonl or .parq"):
        writers.check_table_output(tmp_path / "a.xlsx")
    monkeypatch.setattr(writers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="Parquet needs pyarrow, which is not installed; run: pip install pyarrow"):
        writers.check_table_output(tmp_path / "a.parquet")


def test_times_of_a_table_are_written_as_such(tmp_path):
    columns = {"when": np.array(["2024-01-02T03:04:05"], "datetime64[s]")}
    assert writers.as_delimited(columns, True) == b"when\n2024-01-02T03:04:05\n"
    assert writers.as_json_lines(columns) == b'{"when": "2024-01-02T03:04:05"}\n'
