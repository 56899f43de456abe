"""The finish without penalty, and the gap among singular values."""

import numpy as np
import pytest

from dmc.tubal.slice_finish import FinishPoint, finish_step, gap
from dmc.tubal.slices import SliceFactors
from planted_tensors import planted, slices_of


def near(X: np.ndarray, problem: object, rank: int) -> SliceFactors:
    P, s, Qh = np.linalg.svd(problem.transform.forward(np.moveaxis(X, 2, 0)), full_matrices=False)
    root = np.sqrt(s[:, None, :rank])
    return SliceFactors(P[:, :, :rank] * root, Qh.conj().transpose(0, 2, 1)[:, :, :rank] * root)


def test_it_ends_at_rounding_and_never_rises() -> None:
    X, _, mask = planted()
    problem = slices_of(X, mask)
    rng = np.random.default_rng(0)
    point = FinishPoint.of(problem, near(X + 0.1 * rng.standard_normal(X.shape), problem, 2))
    for _ in range(12):
        before, point = point, finish_step(problem, point)
        assert point.value <= before.value == point.before
    assert np.abs(np.moveaxis(problem.tensor(point.model), 0, 2) - X).max() < 1e-12
    again = finish_step(problem, point)
    assert again.value <= point.value


@pytest.mark.parametrize(("s", "expected"), [([[1, 0.5, 1e-9], [0.8, 1e-10, 0]], (1e-9, 0.5)), ([[1, 0.5, 0.3]], None)])
def test_the_gap_lies_between_two_kinds(s: list, expected: tuple | None) -> None:
    found = gap(np.array(s), 1e3)
    assert found is None if expected is None else expected[0] < found < expected[1]
    assert gap(np.array([[1.0, 0.0]]), 1e3) is None
