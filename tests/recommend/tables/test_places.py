"""Rows are where they stood, in few numbers."""

from hypothesis import given, settings, strategies as st

from dmc.recommend.tables.places import Places

RUNS = st.lists(
    st.tuples(st.sampled_from(["a.csv", "b.csv"]), st.lists(st.integers(1, 4), min_size=1, max_size=6), st.booleans()),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)
@given(RUNS)
def test_every_row_has_its_line(runs):
    places, expected, line = Places(), [], 0
    for origin, steps, below in runs:
        lines = []
        for step in steps:
            line += 1 if below else step
            lines.append(line)
        if below:
            places.add(origin, lines[0], len(lines))
        else:
            places.add_each(origin, lines)
        expected += [f"line {one} of {origin}" for one in lines]
    assert [places.of(row) for row in range(len(expected))] == expected


def test_neighbours_take_no_room():
    places = Places()
    for block in range(1000):
        places.add("r.csv", 2 + 7 * block, 7)
    assert len(places._runs) == 1
    assert places.of(6999) == "line 7001 of r.csv"
