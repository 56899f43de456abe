"""A few kills of each fit that is kept in a file; `python -m fuzz.checkpointed_fits` does many."""

import random

import pytest

from fuzz import checkpointed_fits


@pytest.mark.parametrize("name", checkpointed_fits.FITS)
def test_a_fit_that_is_killed_goes_on_from_its_checkpoint(name, tmp_path):
    assert not checkpointed_fits.killed(name, tmp_path, random.Random(7), kills=2)
