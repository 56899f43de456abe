"""Runs of several phases that go on where they were."""

import numpy as np
import pytest
from dmc.callbacks import Stagnation
from remembering import Remembering

from dmc.solver.kept_phases import Attributes, Course, KeptPhases, Memory, seed_again
from dmc.solver.kept_state import Unkept
from dmc.solver.loop import Run
from dmc.solver.solution import Look, Status


class Ended(Exception):
    pass


class Walk:
    """Adds random numbers; ends once it is far enough."""

    def __init__(self, rng, far):
        self.rng, self.far, self.at, self.path = rng, far, 0.0, []

    def advance(self):
        self.at += self.rng.random()
        self.path.append(self.at)

    def look(self):
        return Look(self.at, 1.0, lambda: None, Status.CONVERGED if self.at > self.far else None)


def fit(keeper, end_after=None):
    """Two walks, and numbers drawn between them."""
    rng = np.random.default_rng(3)
    steps, found = [], []

    def count(info):
        steps.append(info.n_steps)
        if len(steps) == end_after:
            raise Ended

    with Run([count], kept=KeptPhases(keeper, rng)) as run:
        for far in (3, 5):
            walk = Walk(rng, far)
            run.phase(walk.advance, walk.look, 100, course=Attributes(walk, ("at", "path")), watches=[Stagnation(50)])
            found += [walk.path, rng.random()]
    return found, run.n_steps


@pytest.mark.parametrize("end_after", [1, 2, 5, 8, 9, 12, 15])
def test_what_is_over_is_repeated_and_what_was_under_way_goes_on(end_after):
    expected = fit(Remembering())
    keeper = Remembering()
    with pytest.raises(Ended):
        fit(keeper, end_after)
    again = Remembering()
    again.kept = dict(keeper.kept)
    steps = []
    assert fit(again) == expected
    assert again.kept.keys() == {"seed", "phase 0", "phase 1", "under way"}
    last = Remembering()
    last.kept = dict(again.kept)
    assert fit(last) == expected
    assert not steps


def test_nothing_is_kept_for_nobody():
    kept = KeptPhases()
    kept.stands(Course(), (), lambda: None)
    kept.over(Course(), (), lambda: None)
    assert kept.reached(Course(), ()) is None


def test_a_seed_of_none_is_the_first_one_again():
    keeper = Remembering()
    first, second = np.random.default_rng(), np.random.default_rng()
    seed_again(keeper, first)
    seed_again(keeper, second)
    assert first.random(5).tolist() == second.random(5).tolist()


def test_those_who_look_on_remember_by_their_place_among_their_kind():
    seen = [Stagnation(1), lambda info: None, Stagnation(1)]
    for i, one in enumerate(seen):
        if i != 1:
            one._mark = (i, 0.5)
    snapshot = Memory(seen).snapshot()
    others = [Stagnation(1), Stagnation(1), Stagnation(1)]
    Memory(others).load(snapshot)
    assert [one._mark[0] for one in others] == [0, 2, 0]


class Odd(Course):
    """A state that can be kept at first."""

    def __init__(self, fails_at):
        self.fails_at, self.count = fails_at, 0

    def standing(self):
        self.count += 1
        return object() if self.count > self.fails_at else self.count

    def stand(self, standing):
        pass


def test_what_cannot_be_kept_any_more_costs_no_fit():
    keeper, course = Remembering(), Odd(20)
    with pytest.warns(UserWarning, match="from here on no checkpoint is kept"), Run(kept=KeptPhases(keeper)) as run:
        run.phase(lambda: None, lambda: None, 50, planned=True, course=course)
    assert run.status is Status.COMPLETED
    with pytest.raises(Unkept), Run(kept=KeptPhases(Remembering())) as run:
        run.phase(lambda: None, lambda: None, 50, planned=True, course=Odd(2))
