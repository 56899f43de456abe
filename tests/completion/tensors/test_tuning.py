"""The constants are documented, each."""

import dataclasses

from dmc.completion.tensors.tuning import TENSORS, TensorTuning


def test_every_constant_says_what_it_is() -> None:
    documented = TensorTuning.__doc__ or ""
    assert all(field.name in documented for field in dataclasses.fields(TENSORS))
