"""What is served is one object: made once, handed out read-only, and never half of it replaced."""

import copy
import pickle
import threading
from functools import partial

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from test_recommender import part, planted

from dmc import Recommender
from dmc.recommend import fitting
from dmc.recommend.state import Lazy, Origin, grown


@pytest.fixture(scope="module")
def table():
    return planted()


@pytest.fixture(scope="module")
def fitted(table):
    return Recommender(intervals=True).fit(table)


# --- made when first asked for


def test_made_once_whichever_threads_ask():
    gate, made, found = threading.Barrier(8), [], []

    def make():
        made.append(1)
        return object()

    lazy = Lazy(make)

    def ask():
        gate.wait()
        found.append(lazy())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert lazy.made
    assert len(set(map(id, found))) == 1


def test_what_failed_is_tried_again():
    answers = [KeyboardInterrupt(), 7]

    def make():
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    lazy = Lazy(make)
    with pytest.raises(KeyboardInterrupt):
        lazy()
    assert not lazy.made
    assert lazy() == lazy() == 7


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda lazy: pickle.loads(pickle.dumps(lazy))])
def test_a_copy_makes_its_own(how):
    lazy = Lazy(partial(int, "12"))
    twin = how(lazy)
    assert twin() == 12
    assert not lazy.made
    assert how(twin).made
    assert how(twin)() == 12


# --- handed out


def test_nothing_that_is_handed_out_can_be_written_to(fitted):
    f = fitted.factors_
    arrays = [fitted.user_factors, fitted.item_factors, *f.arrays, fitted.users_.ids, fitted.items_.ids]
    for array in (*arrays, fitted.observations_.values):
        with pytest.raises(ValueError, match="read-only"):
            array[:1] = array[:1]
    fitted.history_[0]["noise"] = "changed"
    assert fitted.history_[0]["noise"] != "changed"
    for name in ("mean_", "users_", "status_", "rank_"):
        with pytest.raises(AttributeError):
            setattr(fitted, name, None)


def test_whether_it_is_fitted(fitted):
    new = Recommender()
    with pytest.raises(NotFittedError, match="call fit"):
        _ = new.status_
    assert not hasattr(new, "users_")
    assert hasattr(fitted, "users_")


# --- grown


def test_two_steps_are_one(table):
    """A chain of folded models nobody asked for a list leads back to the first, as one step would."""
    first = Recommender().fit(table)
    one = {"user": ["aaa", "user 3"], "item": ["né 003", "zzz"], "rating": [5.0, 2.0]}
    two = {"user": ["bbb", "aaa", "user 5"], "item": ["zzz", "aaa", "né 004"], "rating": [1.0, 4.0, 3.0]}
    chain = first.fold_in(one).fold_in(two)._state
    both = first.fold_in({name: one[name] + two[name] for name in one})._state
    assert chain.origin.ranking is both.origin.ranking is first._state.ranking
    for a, b in zip(chain.origin[1:], both.origin[1:], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(*(state.ranking().right[:, :64] for state in (chain, both)), atol=1e-6)
    after = fitting.fold_in(first._settings(), chain, one)
    assert after.origin.ranking is chain.ranking  # which was made meanwhile


def test_lines_that_are_new_in_between_stay_new(fitted):
    ranking = Lazy(lambda: None)
    root = Origin(ranking, np.array([-1, 0, 1]), np.array([0, -1]), np.array([True, False, False]))
    before = copy.copy(fitted._state)
    object.__setattr__(before, "origin", root)
    step = Origin(Lazy(lambda: None), np.array([0, 1, -1, 2]), np.array([1, 0]), np.array([False, False, True, True]))
    found = grown(before, step)
    assert found.ranking is ranking
    assert found.row_of.tolist() == [-1, 0, -1, 1]
    assert found.column_of.tolist() == [-1, 0]
    assert found.changed.tolist() == [True, False, True, True]


# --- replaced


def answers(rec, asked):
    """All that a server may be asked, as one value that can be compared; each alone has to be of one model."""
    users, items = asked
    return {
        "predict": tuple(rec.predict({"user": users, "item": items}, interval=0.8)["prediction"].tolist()),
        "recommend": tuple(rec.recommend(users[0], 5)["prediction"].tolist()),
        "similar": tuple(rec.similar_items(items[0], 5)["similarity"].tolist()),
        "explain": tuple(rec.explain(users[0], items[0], 4)["contribution"].tolist()),
        "vector": tuple(rec.user_vector(items[:2], [5.0, 1.0]).tolist()),
        "fold_in": tuple(
            rec.fold_in({"user": ["!"], "item": items[:1], "rating": [2.0]})
            .predict({"user": ["!", users[0]], "item": items[:2]})["prediction"]
            .tolist()
        ),
    }


@pytest.mark.parametrize("loaded", [False, True])
def test_answers_while_it_is_fitted_further_are_of_one_model(loaded, table, tmp_path):
    rec = Recommender(intervals=True).fit(table)
    if loaded:
        rec.save(tmp_path / "model")
        rec = Recommender.load(tmp_path / "model", mmap=True)
    asked = table["user"][:3].tolist(), table["item"][:3].tolist()
    right, got, wrong, done = [answers(rec, asked)], [], [], threading.Event()

    def serve(number):
        try:
            while not done.is_set():
                got.append(answers(rec, asked))
                rec.save(tmp_path / f"saved {number}")
                saved = Recommender.load(tmp_path / f"saved {number}")
                got.append({"predict": answers(saved, asked)["predict"]})
        except BaseException as error:  # told below
            wrong.append(repr(error))

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for k in range(5):  # users before and behind all others: every line's number changes
        rec.partial_fit({"user": [f"aa {k}", f"zz {k}"], "item": ["né 003", f"a new one {k}"], "rating": [4.0, 1.0]})
        right.append(answers(rec, asked))
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len({answer["predict"] for answer in right}) == 6
    for name in right[0]:
        known = {answer[name] for answer in right}
        assert {answer[name] for answer in got if name in answer} <= known, name


def test_nothing_new_changes_nothing(table):
    rec = Recommender().fit(table)
    state = rec._state
    assert rec.partial_fit(part(table, slice(3))) is rec
    assert rec._state is state
    rec.partial_fit({**part(table, slice(1)), "rating": [0.5 if table["rating"][0] > 1 else 5.0]})
    assert rec._state is not state
    clicks = Recommender(feedback="implicit").fit({"user": [1, 1, 2], "item": [1, 2, 1]})
    once = clicks._state
    assert clicks.partial_fit({"user": [1], "item": [1]})._state is not once  # it happened once more


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_what_ends_a_fit_leaves_the_state_whole(error, table):
    def fails(info):
        raise error("no more")

    rec = Recommender().fit(table)
    state, before = rec._state, rec.recommend(n=3)
    rec.callbacks = [fails]
    more = {"user": ["new"], "item": ["new"], "rating": [5.0]}
    for fit in (rec.partial_fit, rec.fit):
        with pytest.raises(error, match="no more"):
            fit(more)
    assert rec._state is state
    for name, values in rec.recommend(n=3).items():
        np.testing.assert_array_equal(values, before[name])


def test_ctrl_c_behind_the_sweeps_leaves_the_state_whole(table, monkeypatch):
    rec = Recommender().fit(table)
    state = rec._state

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("dmc.recommend.ensemble.served", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rec.partial_fit({"user": ["new"], "item": ["new"], "rating": [5.0]})
    assert rec._state is state
