"""A problem whose rows are dealt among processes, against the same one in one process."""

from functools import cache
from typing import Any

import dealt_cases
import numpy as np
import pytest
from dealt_cases import CASES, DEALS

from dmc._group import ALONE, Group
from dmc.solver import initial
from dmc.solver.dealt import DealtLeastSquares
from dmc.solver.gradient_check import check_problem
from dmc.solver.loop import solve
from dmc.solver.problem import MaskedLeastSquares
from dmc.solver.rank_path import RankPath
from processes import run_processes

pytest.importorskip("torch")

LOCAL = ["norm of the gradient", "norm of U", "curvature", "norm of the target"]


@cache
def in_processes(size: int) -> list[Any]:
    """All that is asked of a group of that size, as starting one takes seconds."""
    return run_processes(size, all_of_a_process)


def all_of_a_process(group: Group) -> dict[str, Any]:
    return {
        "solved": dealt_cases.all_solved(group, list(CASES)),
        "products": dealt_cases.products(group),
        "local": {name: dealt_cases.with_a_local_number(group, name) for name in LOCAL},
        "sent": dealt_cases.bytes_of_steps(group, (60, 900), 8, 3),
        "few sent": dealt_cases.bytes_of_steps(group, (60, 100), 4, 1),
    }


@cache
def in_one(name: str, dtype: str) -> dict[str, Any]:
    return dealt_cases.in_one_process(name, dtype)


def difference(found: Any, wanted: Any) -> float:
    return float(np.max(np.abs(np.asarray(found) - wanted)) / np.max(np.abs(wanted)))


def predictions(parts: list[dict[str, Any]]) -> Any:
    return np.concatenate([part["own"] for part in parts])


@pytest.mark.parametrize("size", sorted(DEALS))
@pytest.mark.parametrize("name", sorted(CASES))
def test_several_processes_do_what_one_does(name: str, size: int) -> None:
    parts, wanted = [of["solved"][name, "float64"] for of in in_processes(size)], in_one(name, "float64")
    assert difference(predictions(parts), wanted["own"]) < 1e-10
    for what in ("values", "ratios", "scales"):
        assert difference(parts[0][what], wanted[what]) < 1e-10


@pytest.mark.parametrize("size", sorted(DEALS))
@pytest.mark.parametrize("name", sorted(CASES))
def test_in_single_precision_they_differ_by_its_rounding(name: str, size: int) -> None:
    parts, wanted = [of["solved"][name, "float32"] for of in in_processes(size)], in_one(name, "float32")
    # Solutions of loosely solved systems are as far off one another as they are off those of double precision.
    rounding = difference(wanted["own"], in_one(name, "float64")["own"])
    assert difference(predictions(parts), wanted["own"]) < (max(1e-6, 2 * rounding) if "newton" in name else 1e-6)


@pytest.mark.parametrize("size", sorted(DEALS))
def test_all_processes_have_the_same_bits_of_what_is_shared(size: int) -> None:
    first, *others = (of["solved"] for of in in_processes(size))
    for case in first:
        for other in others:
            for what in ("V", "value", "values", "ratios", "scales"):
                np.testing.assert_array_equal(other[case][what], first[case][what])


@pytest.mark.parametrize("size", sorted(DEALS))
def test_products_of_all_rows(size: int) -> None:
    parts, wanted = [of["products"] for of in in_processes(size)], dealt_cases.products(ALONE)
    for what in wanted:
        found = np.concatenate([part[what] for part in parts]) if what.startswith("own") else parts[-1][what]
        np.testing.assert_allclose(found, wanted[what], rtol=1e-12, atol=1e-12, err_msg=what)


@pytest.mark.parametrize("size", sorted(DEALS))
@pytest.mark.parametrize("name", LOCAL)
def test_a_number_of_own_rows_in_place_of_all_is_noticed(name: str, size: int) -> None:
    parts, wanted = [of["local"][name] for of in in_processes(size)], in_one("descent, one core", "float64")
    if name == "norm of the gradient":  # by which a run ends, but no factor moves
        assert difference(parts[0]["ratios"], wanted["ratios"]) > 1e-6
    else:
        assert difference(predictions(parts), wanted["own"]) > 1e-6


@pytest.mark.parametrize("size", sorted(DEALS))
def test_a_step_sends_the_columns_gradient_and_no_more(size: int) -> None:
    for of in in_processes(size):
        sent, numbers = of["sent"]
        assert 0.9 < sent / (2 * (size - 1) / size * 8 * numbers) <= 1.1


def test_little_is_sent_at_once() -> None:
    for of in in_processes(3):
        sent, numbers = of["few sent"]
        assert 2 * 8 * numbers < sent < 1.1 * 2 * 8 * numbers


@pytest.mark.parametrize("name", sorted(CASES))
def test_in_one_process_it_is_the_problem_of_one_process(name: str) -> None:
    case = CASES[name]
    dealt, rows = dealt_cases.problem(case, np.float64, ALONE)
    penalties = dealt.l2 if case.l2 else 0.0
    observed, weights = dealt_cases.whole(np.float64)
    given = weights if case.weights else None
    other = MaskedLeastSquares(
        observed, given, penalties, case.kernel, device=case.device, unobserved_weight=case.unobserved_weight
    )
    start = dealt_cases.start(case, np.float64, rows)
    found, wanted = (solve(p, start, case.step, max_steps=4) for p in (dealt, other))
    assert found.value == wanted.value
    for a, b in zip(found.factors.arrays, wanted.factors.arrays, strict=True):
        np.testing.assert_array_equal(a, b)


class OneOfTwo(Group):
    """As if there were another process, that has nothing."""

    size = 2


def test_what_is_for_one_process_alone_says_so() -> None:
    observed, _ = dealt_cases.whole(np.float64)
    problem, at = DealtLeastSquares(observed, OneOfTwo()), initial.gaussian(observed.shape, 2)
    with pytest.raises(ValueError, match="RankPath is for one process and the rows of this problem are dealt among 2"):
        solve(problem, at, RankPath(3))
    with pytest.raises(ValueError, match="dealt among 2 processes; check it in one process"):
        check_problem(problem, at)


def test_its_gradient_is_the_derivative_of_its_value() -> None:
    problem, rows = dealt_cases.problem(CASES["descent, zeros"], np.float64, ALONE)
    assert check_problem(problem, dealt_cases.start(CASES["descent, zeros"], np.float64, rows)) < 1e-6


def test_it_moves_between_devices_with_its_group() -> None:
    observed, _ = dealt_cases.whole(np.float64)
    problem, group = DealtLeastSquares(observed, OneOfTwo(), l2=0.1), OneOfTwo()
    moved = DealtLeastSquares(observed, group, l2=0.1).to("cpu")
    assert problem.to(None) is problem
    assert (moved.device, moved.group) == ("cpu", group)
