"""Blocks cut by NumPy are what the csv module reads, wherever one ends."""

import csv
import io

import pytest
from hypothesis import example, given, settings, strategies as st

from dmc.recommend.tables import delimited, text_source
from dmc.recommend.tables.delimited import Fields
from dmc.recommend.tables.packed_column import PackedColumn
from dmc.recommend.tables.table import Table
from dmc.recommend.tables.text_source import blocks

FIELDS = st.sampled_from(
    [
        "",
        "7",
        "-3",
        "007",
        "4.0",
        "2.5",
        " x",
        "é",
        "日本",
        "a b",
        '"q,r"',
        '"two\nlines"',
        "a long one of letters",
        '""',
        '"7"',
        '"say ""x"",""y"""',
        'a "b" c',
        '"a""b"',
    ]
)
ROWS = st.lists(st.lists(FIELDS, min_size=3, max_size=3), min_size=1, max_size=20)


def packed(text: str, delimiter: str, needed: tuple[int, ...] = ()) -> list[list[str]]:
    names = ["a", "b", "c"]
    fields = Fields(names, delimiter, "r.csv", list(needed), {name: PackedColumn() for name in names})
    fields.read(blocks(io.BytesIO(text.encode()), "r.csv"), 0)
    return [column.text().tolist() for column in fields.packed.values()]


def by_csv(text: str, delimiter: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=delimiter != "\t")
    return [list(column) for column in zip(*(row for row in reader if row), strict=True)]


@settings(deadline=None)
@given(
    rows=ROWS,
    delimiter=st.sampled_from([",", "\t", ";", "|"]),
    end=st.sampled_from(["\n", "\r\n", "\n\n"]),
    last=st.booleans(),
    block=st.sampled_from([1, 2, 3, 5, 7, 64, 1 << 20]),
)
@example(rows=[["1", "2", "3"]] * 3, delimiter=",", end="\n", last=False, block=4)
def test_blocks_are_what_the_csv_module_reads(rows, delimiter, end, last, block):
    text = end.join(delimiter.join(row) for row in rows) + (end if last else "")
    expected = by_csv(text, delimiter)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_source, "BLOCK", block)
        assert packed(text, delimiter) == expected


@pytest.mark.parametrize("block", [1, 2, 3, 4, 5, 6, 7, 100])
def test_two_colons_are_one_delimiter_wherever_a_block_ends(block, monkeypatch):
    monkeypatch.setattr(text_source, "BLOCK", block)
    assert packed("1::x::3.5\n22::y:z::4\n", "::") == [["1", "22"], ["x", "y:z"], ["3.5", "4"]]


def test_a_plain_block_never_meets_the_csv_module(monkeypatch):
    monkeypatch.setattr(delimited, "RowReader", None)
    for line in ("{},u{},{}.5\r\n", '{},"u{}","{}"\n'):
        text = "".join(line.format(i, i % 7, i % 5) for i in range(3000))
        assert packed(text, ",", (0, 1, 2))[1] == [f"u{i % 7}" for i in range(3000)]


@pytest.mark.parametrize("block", [20, 1 << 20])
@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["u,1,2"] * 9 + [",3,1"], "the a in line 10 of r.csv is empty; fill it in, or remove that line"),
        (
            ["u,1,2", "u,,2", "", "u,,3", "u,,9"],
            "the b in line 2 of r.csv is empty, and so it is in 2 lines below; fill",
        ),
        (
            ["u,1,2"] * 9 + ["u,1"],
            "line 10 of r.csv has 2 fields instead of 3 (separated by ,); the file is cut off or",
        ),
        (["u,1,2", "u,1,2,3", "u,1"], "line 2 of r.csv has 4 fields instead of 3"),
    ],
)
def test_what_is_wrong_is_told_by_its_line(lines, message, block, monkeypatch):
    monkeypatch.setattr(text_source, "BLOCK", block)
    with pytest.raises(ValueError, match="line") as caught:
        packed("\n".join(lines), ",", (0, 1))
    assert message in str(caught.value)


def test_only_what_is_asked_for_is_kept(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("user,item,rating,review\n" + "".join(f"u{i},{i},3,text {i}\n" for i in range(50)))
    table = Table.open(path, only=("user", "rating"))
    assert table.names == ["user", "item", "rating", "review"]
    assert list(table.take([0])) == ["user", "rating"]
    assert len(table) == 50


@pytest.mark.parametrize("block", [16, 1 << 20])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            '1,2,3\n1,"2,3\n' + "1,2,3\n" * 20,
            "the row in line 2 of r.csv opens a quote that never closes; close it",
        ),
        (
            '1,2,3\n1,"2" x,3\n',
            "line 2 of r.csv cannot be read as fields (text after a closing quote); fix",
        ),
        ('1,2,3\n\n1,"\n' + '","\n' * 500, "the row in line 3 of r.csv opens a quote that "),
        (
            '1,2,3\n1,"' + "x\n" * 800,
            "the row in line 2 of r.csv opens a quote that does not close within 1,000",
        ),
        ("1,2,3\r\r\n\r1,2\r", "line 4 of r.csv has 2 fields instead of 3"),
    ],
    ids=["to the end", "text behind it", "endless fields", "an endless field", "ends of lines"],
)
def test_rows_that_go_wrong_are_told_by_their_line(text, told, block, monkeypatch):
    monkeypatch.setattr(text_source, "BLOCK", block)
    monkeypatch.setattr(text_source, "MAX_LINE", 1000)
    with pytest.raises(ValueError, match="line") as caught:
        packed(text, ",")
    assert str(caught.value).startswith(told)


def test_a_row_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(text_source, "MAX_LINE", 1000)
    parts = iter(['1,2,3\n1,"\n', *['","\n'] * 500])
    with pytest.raises(ValueError, match=r"the row in line 2 of r.csv opens a quote that does not close within 1"):
        delimited.RowReader(parts, ",", "r.csv").some(9)
    assert len(list(parts)) > 200


def test_a_field_may_be_as_long_as_a_line_on_either_way():
    """The csv module takes 131,072 letters, for all of the process; that is put back."""
    before, long = csv.field_size_limit(), "x" * 200_000
    assert packed(f"{long},2,3\n", ",")[0] == packed(f"{long}, 2,3\n", ",")[0] == [long]
    assert csv.field_size_limit() == before
    with pytest.raises(ValueError, match="2 fields"):
        packed(f"{long}, 2\n", ",")
    assert csv.field_size_limit() == before


def test_two_colons_in_quotes_are_text():
    found = [["1", "2"], ["a::b", "x\ty"], ["3", "4"]]
    assert packed('1::"a::b"::3\n2::x\ty::4\n', "::") == found
    assert packed('1::"a::b"::3\n2::x\ty::4\n'.replace("3", '"3\n"'), "::")[1] == found[1]


def test_many_columns(tmp_path):
    names = ["user", "item", "rating", *(f"c{i}" for i in range(20_000))]
    (tmp_path / "r.csv").write_text(",".join(names) + "\n" + (",".join("7" for _ in names) + "\n") * 3)
    table = Table.open(tmp_path / "r.csv")
    assert table.column("c19999").tolist() == ["7"] * 3
    with pytest.raises(ValueError, match=r"no column 'x', only 'user', .* and 19,983 more; name the"):
        table.ids("x")
