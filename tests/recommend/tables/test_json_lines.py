"""JSON lines are read in pieces: columns are the same whatever their size, and whatever the values are."""

import json

import pytest
from hypothesis import given, settings, strategies as st

from dmc.recommend.tables import json_lines
from dmc.recommend.tables.json_lines import Objects
from dmc.recommend.tables.packed_column import PackedColumn

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
