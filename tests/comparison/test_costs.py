"""Costs are told before memory is taken: of what exists they are true, and what would take days is refused."""

import math

import pytest

import dmc
from dmc.comparison.costs import FEW, NetworkSize, duration, operations_per_second, refusal

FULL_20_000 = NetworkSize(20_000, 20_000, 20_000, 1, 400_000_000)


@pytest.mark.parametrize(
    ("factors", "size"),
    [
        (dmc.initial.orthogonal((30, 20), 3), NetworkSize(30, 20, 30, 1, 100)),
        (dmc.initial.narrow((30, 20), 4, 4), NetworkSize(30, 20, 4, 2, 100)),
        (dmc.initial.gaussian((30, 20), 8, depth=3), NetworkSize(30, 20, 8, 3, 100)),
    ],
)
def test_parameters_are_counted(factors, size):
    assert size.n_parameters == factors.n_parameters


def test_a_step_of_square_layers_is_twenty_cubes():
    d = 500
    assert NetworkSize(d, d, d, 1, d * d).step_operations == pytest.approx(20 * d**3)


def test_narrow_factors_cost_by_the_entries():
    assert NetworkSize(10_000, 10_000, 4, 0, 1000).step_operations == 6 * 4 * 2000


def test_days_are_refused_and_told_from_how_many_steps():
    why = refusal("full width", FULL_20_000, 6e10, 5000, 30)
    step = 20 * 20_000**3 / 6e10
    assert why.startswith(f"full width was not run: 5,000 steps would take about {round(5004 * step / 86_400)} days")
    assert "estimated from 0 steps" in why


def test_what_no_memory_holds_is_refused():
    huge = NetworkSize(10**7, 10**7, 10**7, 1, 10)
    assert "this machine has" in refusal("full width", huge, 1e30, 10, 1e9)


def test_a_few_steps_have_to_fit():
    size = NetworkSize(1000, 1000, 1000, 1, 10**5)
    needed = (size.setup_operations + FEW * size.step_operations) / 1e9
    assert refusal("it", size, 1e9, 10**6, 1.01 * needed) == ""
    assert refusal("it", size, 1e9, 10**6, 0.99 * needed)


def test_the_machine_multiplies():
    assert 1e7 < operations_per_second() < math.inf


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "0.25 s"),
        (30, "30 s"),
        (119, "119 s"),
        (120, "2 min"),
        (9000, "2.5 h"),
        (1e7, "116 days"),
        (1e9, "11,574 days"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
