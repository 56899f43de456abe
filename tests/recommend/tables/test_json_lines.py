"""JSON lines are read in pieces: columns are the same whatever their size, and whatever the values are."""

import json

import pytest
from hypothesis import given, settings, strategies as st

from dmc.recommend.tables import json_lines
from dmc.recommend.tables.json_lines import Objects
from dmc.recommend.tables.packed_column import PackedColumn
from dmc.recommend.tables.table import Table

VALUES = st.sampled_from([1, 2.5, "x", "7", None, True, 2**53 + 1, 2**64, ["a", "b"], ["c", "d"], {"k": [1]}])
OBJECTS = st.lists(
    st.dictionaries(st.sampled_from(["user", "item", "tags"]), VALUES, min_size=1), min_size=1, max_size=20
)


def read(objects, only=None):
    found = Objects(only)
    found.read(iter(["".join(json.dumps(one) + "\n" for one in objects).encode()]), "r.jsonl")
    return found


@settings(deadline=None)
@given(objects=OBJECTS, rows=st.sampled_from([1, 2, 3, 7, 1000]))
def test_columns_hold_what_stands_there(objects, rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines, "ROWS", rows)
        found = read(objects)
    names = list(dict.fromkeys(name for one in objects for name in one))
    assert set(found.names) == set(names)
    for name, column in found.packed.items():
        values = (column.text() if isinstance(column, PackedColumn) else column.array()).tolist()
        assert values == [one.get(name) for one in objects]


def test_texts_are_packed_and_others_left_out():
    found = read([{"user": f"u{i % 3}", "item": i, "note": "x" * i} for i in range(50)], {"user", "item"})
    assert found.names == ["user", "item", "note"]
    assert list(found.packed) == ["user", "item"]
    assert isinstance(found.packed["user"], PackedColumn)
    assert found.packed["item"].array().dtype.kind == "i"


LINE = '{"user": 1, "item": 2, "rating": 3}'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"user": 1, "user": 2}', "it has 2 values of 'user'"),
        ('{"user": 1, "more": {"a": 1, "a": 2}}', "it has 2 values of 'a'"),
        ('{"user": 1}, {"user": 2', "Extra data at letter 12"),
        ('{"user": 1} {"user": 2}', "Extra data at letter 13"),
        ('{"user": 1,}', "Expecting property name enclosed in double quotes at letter 12"),
        ("[" * 100_000, "it nests too deep"),
        ('{"user": ' * 100_000, "it nests too deep"),
        (
            '{"user": ' + "9" * 5000 + "}",
            "Exceeds the limit (4300 digits) for integer string conversion: value",
        ),
        ('{"user": "a\\u0000"}', "its user has NUL or an unpaired surrogate"),
        ('{"user": "a\\ud83d"}', "its user has NUL or an unpaired surrogate"),
        ('{"u\\ud83d": 1}', "a name has NUL or an unpaired surrogate"),
        ("true", "a bool"),
        ("NaN", "a float"),
    ],
)
def test_lines_that_are_no_object(line, reason):
    given = iter([f"{LINE}\n\n{line}\n".encode()])
    with pytest.raises(ValueError, match="line") as caught:
        Objects(None, ("user", "item")).read(given, "r.jsonl")
    assert str(caught.value).startswith(f"line 3 of r.jsonl is not a JSON object ({reason}")
    assert str(caught.value).endswith("); give one object a line, or fix that line")


def test_lines_are_read_one_by_one():
    """Two objects on a line and one on two are as many as lines, but none that may be read."""
    with pytest.raises(ValueError, match=r"line 1 of r.jsonl is not a JSON object"):
        Objects(None).read(iter([b'{"user": 1}, {"user": 2\n,"item": 3}\n']), "r.jsonl")


def test_marks_stand_for_what_is_no_letter_where_no_id_does():
    found, mark = Objects(None, ("user",)), "\N{REPLACEMENT CHARACTER}"
    lines = [b'{"user": "a", "note": "cut \\ud83d"}', b'{"user": "b", "note": "\\ud83d\\ude00\\u0000"}']
    found.read(iter([b"\n".join(lines)]), "r.jsonl")
    assert found.packed["note"].text().tolist() == [f"cut {mark}", f"\N{GRINNING FACE}{mark}"]


def test_as_many_names_as_lines_take_the_room_of_the_lines():
    """Each line with a name of its own: a table of all of them would have a billion cells."""
    count = 30_000
    text = "".join(f'{{"user": {i}, "k{i}": "x"}}\n' for i in range(count)).encode()
    found = Objects(None)
    found.read(iter([text]), "r.jsonl")
    assert len(found.names) == count + 1
    last = found.packed[f"k{count - 1}"].array()
    assert len(last) == count
    assert last[-2:].tolist() == [None, "x"]
    assert found.packed["user"].array().tolist() == list(range(count))


def test_truth_values_are_0_and_1_as_in_frames(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"user": true, "item": 1, "rating": true}\n{"user": false, "item": 1, "rating": false}\n')
    table = Table.open(path)
    assert table.ids("user").tolist() == [1, 0]
    assert table.numbers("rating").tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("[1]", "column 'user' holds list in place of an id, the first in line 3 of PATH; give one for each"),
        (
            '{"a": 1}',
            "column 'user' holds dict in place of an id, the first in line 3 of PATH; give one for each",
        ),
        ("null", "column 'user' holds 1 missing id, the first in line 3 of PATH; drop those rows"),
        ("NaN", "column 'user' holds 1 missing id, the first in line 3 of PATH; drop those rows"),
        ("-Infinity", "column 'user' holds 1 infinite id, the first in line 3 of PATH; drop those rows"),
        ('""', "column 'user' holds 1 empty id, the first in line 3 of PATH; drop those rows"),
    ],
)
def test_values_that_are_no_ids_are_told_by_their_line(value, told, tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(f'{LINE}\n\n{{"user": {value}, "item": 2, "rating": 3}}\n')
    with pytest.raises(ValueError, match="user") as caught:
        Table.open(path).ids("user")
    assert str(caught.value).startswith(told.replace("PATH", str(path)))


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1},""\n{"a":2}\n',
        '{"a":1},5\n{"a":2}\n',
        '{"a":[{}\n{}]}\n{"b":1},{"c":2}\n',
        '{"a":"x\n{"b":"y"}\n',
        '{"a":1}\r{"a":2}\n',
        '{"a":1},\n{"a":2}\n',
        '{"a":1\n,"b":2}\n',
        '{"a" :1,"a"\t:2}\n{"a":": :"}\n',
        '[{"a":1}\n{"a":2}]\n',
    ],
)
def test_lines_that_are_no_objects_by_themselves_are_not_read_together(text):
    assert json_lines._plain(text, ()) is None


def test_texts_may_hold_colons_and_braces():
    text = '{"a":"12:30","b":": {x}"}\n{"a":"\\":","b":"\\u00e9"}\n'
    assert json_lines._plain(text, ()) == [{"a": "12:30", "b": ": {x}"}, {"a": '":', "b": "é"}]
