"""Every tuned number says what it means, and can be replaced alone."""

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from dmc.completion import tuning

ALL = [numbers for name, numbers in vars(tuning).items() if name.isupper()]


@pytest.mark.parametrize("numbers", ALL, ids=lambda numbers: type(numbers).__name__)
def test_each_is_documented(numbers):
    documented = type(numbers).__doc__.partition("Attributes\n")[2]
    for field in fields(numbers):
        assert any(
            field.name in line.partition(" : ")[0].split(", ") for line in map(str.strip, documented.splitlines())
        )


def test_they_are_replaced_field_by_field_and_not_written_to():
    other = replace(tuning.RANK_SEARCH, path_decay=0.5)
    assert other.path_decay == 0.5
    assert other.rounds == tuning.RANK_SEARCH.rounds
    with pytest.raises(FrozenInstanceError):
        tuning.RANK_SEARCH.path_decay = 0.5
