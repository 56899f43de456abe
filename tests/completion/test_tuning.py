"""Every tuned number says what it means, and can be replaced alone."""

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from dmc.completion import tuning

ALL = [numbers for name, numbers in vars(tuning).items() if name.isupper()]
EACH = [*ALL, tuning.RESTARTS.restarts[0]]


@pytest.mark.parametrize("numbers", EACH, ids=lambda numbers: type(numbers).__name__)
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


def test_restarts_differ_from_each_other_and_from_the_first_path():
    """A path that is repeated as it was leads where it led."""
    restarts = tuning.RESTARTS.restarts
    assert len(set(restarts)) == len(restarts) > tuning.RESTARTS.doubtful
    for restart in restarts:
        assert tuning.RANK_SEARCH.path_decay + (restart.share != 0) * 0.01 <= restart.decay < 1
        assert restart.spread >= 0
        assert restart.share is None or 0 <= restart.share < 1


def test_their_thresholds_stand_in_order():
    numbers = tuning.RANK_SEARCH
    assert numbers.last_step < numbers.row_rounding < numbers.max_rounding
    assert 1 < numbers.min_oversampling < numbers.ample_oversampling
    assert tuning.RESTARTS.wrong_turn_ratio < 1
    assert tuning.RESTARTS.worthwhile <= 1 <= tuning.RESTARTS.patience
