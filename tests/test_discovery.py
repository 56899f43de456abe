"""The pieces by which the rank is found, each against a case whose answer is known."""

import numpy as np
import pytest

from dmc import datasets, diagnostics, discovery, observe
from dmc.discovery import Discovery
from dmc.factors import Factors


@pytest.fixture
def problem():
    return datasets.planted((80, 60), 3, 0.4)


def nothing(shape) -> Factors:
    return Factors(np.zeros((shape[0], 0)), (), np.zeros((shape[1], 0)))


@pytest.mark.parametrize(
    ("s", "kept"),
    [
        ([1.0], 1),
        ([1.0, 0.9, 0.8, 1e-6, 1e-6], 3),
        ([1.0, 1e-6, 1e-6], 1),
        ([1.0, 0.5, 1e-3, 1e-5, 2e-6], 2),  # the third has grown, but hardly
        ([1.0, 0.9, 1e-4, 1e-9], 2),  # the largest ratio stands below what has grown
        ([1.0, 0.5, 0.0, 0.0], 2),
    ],
)
def test_the_cut_is_at_the_gap_of_what_has_grown(s, kept):
    assert discovery._gap(np.array(s)) == kept


@pytest.mark.parametrize("shape", [(30, 30), (100, 20), (7, 400)])
def test_the_default_bound_leaves_more_entries_than_degrees_of_freedom(shape):
    m, n = shape
    for share in (0.1, 0.3, 0.7):
        observed = observe(np.ones(shape), np.random.default_rng(0).random(shape) < share)
        r = discovery.default_bound(observed)
        assert r == 1 or 1.2 * r * (m + n - r) <= observed.n_observed
        larger = r + 1
        assert r in (50, m, n) or 1.2 * larger * (m + n - larger) > observed.n_observed
    assert discovery.default_bound(observe(np.ones(shape))) == min(m, n, 50)


def test_a_deep_phase_shows_the_planted_directions():
    problem = datasets.planted((80, 60), 3, 0.8)  # with fewer entries it may take a second round
    run = Discovery(problem.observations, 0.05, np.random.default_rng(0), [])
    found = run.discover(nothing((80, 60)), 6, 3, np.random.default_rng(0))
    assert found.width == 3
    assert diagnostics.principal_angles(found.U, problem.A).max() < 0.1
    assert diagnostics.principal_angles(found.V, problem.B).max() < 0.1


def test_nothing_is_discovered_in_noise(problem):
    """A model that explains all but the noise ends the rounds by the sign-flip test."""
    noise = np.random.default_rng(1).standard_normal(problem.observations.n_observed)
    run = Discovery(
        problem.observations.with_values(problem.observations.values + noise), 0.05, np.random.default_rng(0), []
    )
    grown = run.grow(6, 3, np.random.default_rng(0))
    assert run.discover(grown, 3, 3, np.random.default_rng(0)).width == 0
    assert [phase["phase"] for phase in run.history][:2] == ["deep", "polish"]


def test_directions_without_a_share_are_trimmed(problem):
    run = Discovery(problem.observations, 0.05, np.random.default_rng(0), [])
    padded = Factors(np.hstack([problem.A, np.zeros((80, 2))]), (), np.hstack([problem.B, np.ones((60, 2))]))
    finished = run.finish(problem.observations, padded)
    assert finished.width == 3
    assert run.exact(run.error(finished))


def test_too_few_entries_hold_nothing_out():
    run = Discovery(observe(np.ones((3, 4))), 0.05, np.random.default_rng(0), [])
    assert run.held_out is None
    assert run.train.n_observed == 12
