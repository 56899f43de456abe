"""An estimator that is fitted again under the eyes of other threads."""

import copy
import sys
import threading
import time

import numpy as np
import pytest

import dmc


@pytest.fixture
def hurried():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def table(sign: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    X = sign * (3 + rng.random((9, 1)) @ rng.random((1, 7)))
    X[rng.random(X.shape) < 0.2] = np.nan
    return X


def test_each_answer_is_of_one_fit(hurried):
    tables = table(1.0), 1000 * table(-1.0)
    asked = {
        "predict": lambda model: model.predict([0, 3], [1, 2], return_std=True)[0],
        "complete": lambda model: model.complete(),
        "transform": lambda model: model.transform(tables[0]),
        "sample": lambda model: model.sample(1)[0],
        "score": lambda model: np.array([model.score(tables[1])]),
    }
    known = {what: [ask(dmc.MatrixCompletion(rank=1).fit(X)) for X in tables] for what, ask in asked.items()}
    fitted = [dmc.MatrixCompletion(rank=1).fit(X) for X in tables]
    model, over, wrong = copy.copy(fitted[0]), threading.Event(), []

    def ask():
        while not over.is_set():
            for what, question in asked.items():
                found = question(model)
                if not any(np.array_equal(found, one) for one in known[what]):
                    wrong.append(what)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(400):  # as `fit` does when it has ended
        model.__dict__ = vars(copy.copy(fitted[turn % 2]))
        time.sleep(0.002)
    over.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_is_asked_keeps_its_name_and_signature():
    assert dmc.MatrixCompletion.predict.__name__ == "predict"
    assert "return_std" in dmc.MatrixCompletion.predict.__wrapped__.__annotations__
