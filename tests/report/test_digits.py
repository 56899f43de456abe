"""Figures have as many digits as their errors leave them."""

import math
import re

import numpy as np
import pytest

from dmc.report.digits import Measured, is_number, plain, rounded, written


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (0.92347, 0.0113, "0.923 ± 0.011"),
        (0.92347, 0.0354, "0.923 ± 0.035"),
        (0.827, 0.119, "0.83 ± 0.12"),  # this and the next are the Particle Data Group's examples of its rule
        (0.827, 0.367, "0.8 ± 0.4"),
        (0.94683, 0.0089, "0.947 ± 0.009"),
        (0.94683, 0.00996, "0.947 ± 0.010"),
        (123456.0, 2300.0, "123,500 ± 2,300"),
        (123456.0, 46000.0, "120,000 ± 50,000"),
        (2.5e9, 1.2e8, "2.50e+09 ± 1.2e+08"),
        (1.0223e-6, 3.4e-8, "1.022e−06 ± 3.4e−08"),
        (-0.0681, 0.0046, "−0.068 ± 0.005"),
        (-0.0001, 0.0046, "0.000 ± 0.005"),  # no minus before a zero
        (0.0, 0.0046, "0.000 ± 0.005"),
        (3.0, 1e-12, "3.00000 ± 1.0e−12"),  # six digits at most
        (0.5, None, "0.500"),
        (0.5, 0.0, "0.500"),
        (0.5, math.nan, "0.500"),
        (math.nan, 0.1, "–"),
        (-math.inf, None, "−∞"),
    ],
)
def test_digits_go_by_the_error(value, error, expected):
    assert written(Measured(value, error)) == expected
    assert written(Measured(value, error, bare=True)) == rounded(value, error) == expected.split(" ± ")[0]


def test_what_is_written_is_within_half_a_digit_that_is_small_beside_the_error():
    rng = np.random.default_rng(0)
    for value, size in zip(rng.normal(0, 10, 500), rng.uniform(-3, 1, 500), strict=True):
        error = 10**size
        text = rounded(value, error).replace("−", "-").replace(",", "")
        assert abs(float(text) - value) <= 0.15 * error
        decimals = len(re.sub(r"^[^.]*\.?", "", text))
        assert 10.0**-decimals > 0.02 * error  # and no digit more than that


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        (math.nan, "–"),
        (True, "True"),
        ("text", "text"),
        (1234567, "1,234,567"),
        (np.int64(12345), "12,345"),
        (0.88462, "0.885"),
        (np.float32(0.88462), "0.885"),
        (1234.5678, "1,230"),
        (1.5e-7, "1.50e−07"),
        (0.0, "0"),
        (-0.5, "−0.500"),
    ],
)
def test_cells(value, expected):
    assert written(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, "1"),
        (0.5, "0.5"),
        (3.25, "3.25"),
        (-2, "−2"),
        (1e6, "1,000,000"),
        (1e9, "1.00e+09"),
        (7197224.5, "7,200,000"),
    ],
)
def test_values_of_the_data(value, expected):
    assert plain(value) == expected


def test_columns_of_numbers():
    assert all(map(is_number, (1, 0.5, np.int64(1), np.float32(1), Measured(1.0))))
    assert not any(map(is_number, (True, "1", None)))
