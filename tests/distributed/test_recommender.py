"""A recommender of several processes is that of one."""

import re
import warnings

import numpy as np
import pytest
from fitted import batches, fit, ratings, whole

import dmc
import dmc.distributed
from dmc._group import ALONE
from dmc.distributed import Recommender, file_of, load, recommender
from processes import run_processes

SETTINGS = {
    "ratings": ({}, False),
    "ratings of rank 2": ({"rank": 2}, False),
    "clicks": ({"feedback": "implicit"}, True),
    "clicks on a device": ({"feedback": "implicit", "rank": 8, "device": "cpu"}, True),
    "network": ({"model": "network", "rank": 4}, False),
    "network on a device": ({"model": "network", "rank": 4, "device": "cpu"}, False),
}


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("case", SETTINGS)
@pytest.mark.filterwarnings("ignore:the preferences did not converge:UserWarning")
def test_it_predicts_as_one_process_does(case, size):
    settings, clicks = SETTINGS[case]
    users, predicted = whole([fit(ALONE, settings, clicks)])
    found = run_processes(size, fit, settings, clicks)
    ours, of_all = whole(found)
    np.testing.assert_array_equal(ours, users)
    assert np.abs(of_all - predicted).max() < 1e-3 * predicted.std()
    assert len({of_one[2:5] for of_one in found}) == 1
    assert found[0][4] == fit(ALONE, settings, clicks)[4]  # the range of all ratings


@pytest.mark.parametrize("weight", [None, "weight"])
def test_it_finds_what_one_fit_of_all_does(weight, monkeypatch):
    monkeypatch.setattr(recommender, "ROWS", 64)  # of 300 users at a time
    table = ratings()
    if weight is not None:
        table[weight] = np.random.default_rng(1).uniform(0.5, 2, len(table["user"])).astype(np.float32)
    theirs = dmc.Recommender().fit(table, weight=weight)
    own = Recommender().fit(batches(table, 0, 1), weight=weight).own_
    np.testing.assert_array_equal(own.observations_.cols, theirs.observations_.cols)
    if weight is not None:
        np.testing.assert_array_equal(own.observations_.weights, theirs.observations_.weights)
    np.testing.assert_array_equal(own.users_.ids, theirs.users_.ids)
    np.testing.assert_array_equal(own.observations_.values, theirs.observations_.values)
    assert own.rank_ == theirs.rank_
    assert own.noise_ == pytest.approx(theirs.noise_, rel=1e-2)
    ours, expected = (of.predict(table)["prediction"] for of in (own, theirs))
    assert np.abs(ours - expected).max() < 0.1 * expected.std()


@pytest.mark.parametrize("case", ["ratings", "clicks", "network"])
def test_a_model_of_several_processes_is_read_by_one(case, tmp_path):
    settings, clicks = SETTINGS[case]
    folder = tmp_path / "model"
    found = run_processes(3, fit, settings, clicks, str(folder))
    users, predicted = whole(found)
    model = dmc.Recommender.load(folder)
    np.testing.assert_array_equal(model.users_.ids, users)
    np.testing.assert_array_equal(model.mean_ + model.user_factors @ model.item_factors.T, predicted)
    some = found[0][0]
    part = load(folder, some[:5])
    np.testing.assert_array_equal(part.users_.ids, np.sort(some))
    assert len(set(file_of(folder, users))) == 3
    lists = model.recommend(some[:3], 4)
    np.testing.assert_array_equal(part.recommend(some[:3], 4)["item"], lists["item"])
    best = np.argsort(
        -np.where(np.isin(np.arange(80), model.seen_.indices[slice(*model.seen_.indptr[:2])]), -99, predicted[0])
    )
    np.testing.assert_array_equal(model.recommend(users[:1], 4)["item"], model.items_.ids[best[:4]])


def test_clean_ratings_are_told_of():
    rng = np.random.default_rng(0)
    positions = rng.permutation(100 * 40)[:2500]
    U, V = rng.standard_normal((100, 2)), rng.standard_normal((40, 2))
    user, item = positions // 40, positions % 40
    table = {"user": user, "item": item, "rating": (U[user] * V[item]).sum(axis=1).astype(np.float32)}
    with pytest.warns(UserWarning, match="show no noise above .*, in one process, finishes such fits exactly"):
        Recommender().fit(batches(table, 0, 1))


def _all_alike(group):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        table = ratings() | {"rating": np.full(len(ratings()["user"]), 4, np.float32)}
        Recommender().fit(batches(table, group.rank, group.size), group=group)
    return [str(one.message) for one in said]


def test_ratings_that_are_all_the_same_are_told_of_once():
    first, *others = run_processes(3, _all_alike)
    assert any("ratings are 4, so there is nothing to learn" in sentence for sentence in first)
    assert others == [[], []]


def _others(group, settings, given):
    try:
        fit(group, settings[group.rank], **given[group.rank])
    except (ValueError, FileNotFoundError) as error:
        return type(error).__name__, str(error)
    return None


def _dislikes(group):
    table = ratings(clicks=True) | {"rating": np.full(len(ratings(clicks=True)["user"]), -1, np.float32)}
    try:
        Recommender(feedback="implicit").fit(batches(table, group.rank, group.size), group=group)
    except ValueError as error:
        return isinstance(error, dmc.distributed.ElsewhereError), str(error)
    return None


def test_dislikes_alone_are_told_of_once():
    found = run_processes(2, _dislikes)
    assert [elsewhere for elsewhere, _ in found] == [False, True]
    assert all("no count is above 0" in sentence for _, sentence in found)


DIFFERENT = {
    "settings": ([{"rank": 2}, {"rank": 3}], [{}, {}], "rank is 2 in process 0 and 3 in process 1"),
    "columns": ([{}, {}], [{}, {"rating": "stars"}], "columns is .* in process 0"),
    "duplicates": ([{}, {}], [{"duplicates": "mean"}, {}], "duplicates is 'mean' in process 0 and 'error'"),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_processes_that_disagree_say_so(case):
    settings, given, said = DIFFERENT[case]
    first, second = run_processes(2, _others, settings, given)
    assert (first[0], second[0]) == ("ValueError", "ElsewhereValueError")
    assert first[1] == second[1]
    assert re.search(said, first[1])


def _stopped(group):
    def ask(info):
        return group.rank == 1 and info.n_steps >= 2

    return fit(group, {"callbacks": [ask]})


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_one_process_stops_all_behind_the_same_sweep():
    assert [of_one[2] for of_one in run_processes(2, _stopped)] == [2, 2]


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"random_state": None}, TypeError, "random_state"),
        ({"rank": 0}, ValueError, "rank is 0"),
        ({"depth": 2, "model": "bayes"}, ValueError, "model 'bayes' has no depth"),
    ],
    ids=["seed", "rank", "depth"],
)
def test_settings_are_checked(settings, kind, said):
    with pytest.raises(kind, match=said):
        Recommender(**settings)
