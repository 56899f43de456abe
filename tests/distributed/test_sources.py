"""Parquet read by several processes: each its share of the rows; and what is wrong with files, told by one of them."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_data import TABLE, bad_data
from dealing_cases import COLUMNS, Case, dealt, write

from dmc._group import ALONE, Group
from dmc.distributed import rows, sources
from processes import run_processes


def read(group: Group, source: Any) -> tuple[list[int], list[str], list[bytes | None]]:
    """The items that a process reads, names of columns, and places."""
    found = list(sources.batches(source, COLUMNS, group))
    items = [item for batch in found for item in batch.column("item").to_pylist()]
    return (
        items,
        sorted({name for batch in found for name in batch.schema.names}),
        [batch.schema.metadata[rows.PLACE] for batch in found],
    )


def test_each_process_reads_neighbouring_row_groups(tmp_path: Path) -> None:
    source = write(tmp_path / "all", {**TABLE, "item": np.arange(600), "other": np.zeros(600)}, rows=50)
    first, second, third = run_processes(3, read, source)
    assert first[0] + second[0] + third[0] == list(range(600))
    assert all(150 <= len(one[0]) <= 250 for one in (first, second, third))
    assert first[1] == ["item", "rating", "user"]


def test_a_batch_knows_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "ROWS", 30)
    source = write(tmp_path / "all", TABLE, (), rows=50)
    places = [f'["{source}/part-0.parquet", {row}]'.encode() for row in (0, 30, 50, 80)]
    assert read(ALONE, source)[2][:4] == places


def test_a_folder_is_searched_without_its_hidden_files(tmp_path: Path) -> None:
    write(tmp_path / "all" / "year=2020", TABLE, ())
    write(tmp_path / "all" / "_temporary", TABLE, ())
    write(tmp_path / "all" / ".cache", TABLE, ())
    (tmp_path / "all" / "_SUCCESS").write_text("")
    (tmp_path / "all" / "notes.txt").write_text("")
    (tmp_path / "all" / "_part.parquet").write_bytes(b"")
    assert len(read(ALONE, tmp_path / "all")[0]) == 600
    one = tmp_path / "all" / "year=2020" / "part-0.parquet"
    assert len(read(ALONE, [one, str(one)])[0]) == 1200
    assert len(read(ALONE, tmp_path / "all" / "year=*")[0]) == 600


def test_types_that_go_together(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    types = [
        (pa.int32(), pa.string(), pa.float32()),
        (pa.int64(), pa.large_string(), pa.float64()),
        (pa.uint8(), pa.string(), pa.decimal128(5, 1)),
        (pa.int16(), pa.dictionary(pa.int8(), pa.string()), pa.int8()),
    ]
    for i, (users, items, values) in enumerate(types):
        columns = {"user": pa.array([i], users), "item": pa.array([f"{i}"], items), "rating": pa.array([i], values)}
        pq.write_table(pa.table(columns), tmp_path / "all" / f"{i}.parquet")
    nobody = pa.table({"user": pa.array([], pa.null()), "other": pa.array([], pa.null())})
    pq.write_table(nobody, tmp_path / "all" / "4.parquet")  # as pandas writes a shard without rows
    found: Any = dealt(ALONE, {"all": Case(tmp_path / "all")})["all"]
    assert sorted(found.users.tolist()) == [0, 1, 2, 3]
    assert found.values.sum() == 6


def test_bad_input_is_told_once(tmp_path: Path) -> None:
    """One process has a sentence, of the class that it would be alone; the other is of that class too, and silent."""
    cases = bad_data(tmp_path)
    found = run_processes(2, dealt, {name: case for name, (case, _) in cases.items()})
    wrong = []
    for name, (_, sentence) in cases.items():
        loud, quiet = sorted((str(one[name]) for one in found), key=lambda told: told.startswith("Elsewhere"))
        if not loud.startswith(sentence) or quiet != f"Elsewhere{loud}" or "\n" in loud:
            wrong.append((name, loud, quiet))
    assert wrong == []


def test_bad_input_of_one_process_alone(tmp_path: Path) -> None:
    cases = {name: one for name, one in bad_data(tmp_path).items() if name != "mixed batches"}
    found = dealt(ALONE, {name: case for name, (case, _) in cases.items()})
    told = {name: str(one) for name, one in found.items()}
    assert [name for name in told if not told[name].startswith(cases[name][1])] == []


def differing(group: Group, folders: list[str]) -> str:
    os.chdir(folders[group.rank])
    try:
        sources.batches("all", COLUMNS, group)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def test_processes_that_see_other_files(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for i, folder in enumerate(folders):
        write(folder / "all", TABLE, (0.5,) * i)
    first, second = run_processes(2, differing, [str(folder) for folder in folders])
    assert first == (
        "ValueError: process 1 finds other Parquet files than process 0 (2 in place of 1); give all processes the same "
        "files, as on a file system that they share"
    )
    assert second == f"Elsewhere{first}"


def test_a_damaged_page_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow takes some for the end of a column: fewer rows than the footer tells of are an error."""
    path = write(tmp_path / "all", TABLE, ())
    monkeypatch.setattr(sources.Piece, "size", 7)
    with pytest.raises(ValueError, match=r"cannot be read as Parquet \(it holds 50 rows, and its footer says 7\); w"):
        read(ALONE, path)


def test_pages_with_checksums_are_checked(tmp_path: Path) -> None:
    table = pa.table({"user": np.arange(1000), "item": np.arange(1000), "rating": np.ones(1000)})
    path = tmp_path / "r.parquet"
    pq.write_table(table, path, use_dictionary=False, compression="none", write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"r.parquet cannot be read as Parquet \(.*CRC checksum.*\); write it again"):
        read(ALONE, path)


def test_large_row_groups_are_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "all", TABLE, ())
    expected = read(ALONE, path)
    monkeypatch.setattr(sources, "LARGE", 0)
    assert read(ALONE, path) == expected


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.parquet")
    for source in (tmp_path, tmp_path / "pipe.parquet"):
        with pytest.raises(ValueError, match=r"pipe.parquet is not a regular file, which Parquet needs; write it to"):
            read(ALONE, source)
