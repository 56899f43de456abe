"""A second and a half of what fuzz/one_state.py tries for two minutes."""

from fuzz import one_state


def test_each_answer_under_threads_is_that_of_one_state():
    trial = one_state.run(1.5)
    assert not trial.wrong, trial.wrong
    assert len(trial.model.states) > 1
    assert trial.counts.keys() >= set(one_state.ANSWERS)
