"""Constants of the Bayesian fit."""

from dataclasses import fields

from dmc.recommend.bayesian import TUNING
from dmc.recommend.bayesian_tuning import VariationalTuning


def test_each_constant_is_described():
    told = VariationalTuning.__doc__.split("Attributes")[1]
    assert all(of.name in told for of in fields(VariationalTuning))


def test_a_fit_can_grow_and_a_sample_is_smaller_than_what_it_is_of():
    assert TUNING.growth > 1
    assert TUNING.min_start_width <= TUNING.max_start_width
    assert TUNING.sample < TUNING.large
