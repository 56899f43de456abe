"""Factors of dealt rows in one piece again."""

from typing import Any

import numpy as np
import pytest

from dmc._group import ALONE, Group
from dmc.distributed.problem import gather_factors
from dmc.factors import Factors
from dmc.solver import initial
from processes import run_processes

pytest.importorskip("torch")

ENDS = (0, 4, 4, 9)


def whole(dtype: Any) -> Factors:
    f = initial.gaussian((9, 5), 3, 1, dtype=dtype)
    return Factors(f.U, f.cores, f.V, np.arange(9, dtype=dtype), np.ones(5, dtype))


def gathered(group: Group) -> list[Factors]:
    own = slice(ENDS[group.rank], ENDS[group.rank + 1])
    f, g = whole(np.float32), whole(np.float64)
    biased = Factors(f.U[own], f.cores, f.V, f.row_bias[own], f.column_bias)
    plain = Factors(g.U[own], g.cores, g.V)
    return [gather_factors(biased, group), gather_factors(plain.to("cpu"), group).to(None)]


def test_every_process_has_all_rows() -> None:
    for biased, plain in run_processes(3, gathered):
        for found, wanted in zip(biased.arrays, whole(np.float32).arrays, strict=True):
            np.testing.assert_array_equal(found, wanted)
        assert biased.U.dtype == np.float32
        np.testing.assert_array_equal(plain.U, whole(np.float64).U)
        assert plain.row_bias is None


def test_one_process_has_them_already() -> None:
    np.testing.assert_array_equal(gather_factors(whole(np.float64), ALONE).dense(), whole(np.float64).dense())
