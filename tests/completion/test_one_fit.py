"""An estimator that is fitted again while it is asked."""

import copy
from typing import Any, ClassVar

import numpy as np
import pytest

import dmc


class Fickle(dmc.MatrixCompletion):
    """One that another thread has fitted again, to other data, whenever an attribute was read."""

    watched: ClassVar[Any] = None
    fits: ClassVar[list[dict[str, Any]]] = []

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if self is Fickle.watched and name in Fickle.fits[0]:
            Fickle.fits.reverse()
            self.__dict__ = Fickle.fits[0]
        return found


def table(sign: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    X = sign * (3 + rng.random((9, 1)) @ rng.random((1, 7)))
    X[rng.random(X.shape) < 0.2] = np.nan
    return X


TABLES = table(1.0), 1000 * table(-1.0)
ASKED = {
    "predict": lambda model: model.predict([0, 3], [1, 2], return_std=True)[1],
    "complete": lambda model: model.complete(unknown=np.nan),
    "transform": lambda model: model.transform(TABLES[0]),
    "sample": lambda model: model.sample(1)[0],
    "score": lambda model: model.score(TABLES[1]),
}


@pytest.fixture(scope="module")
def fitted():
    return [dmc.MatrixCompletion(rank=1).fit(X) for X in TABLES]


@pytest.mark.parametrize("what", ASKED)
def test_each_answer_is_of_one_fit(what, fitted, monkeypatch):
    known = [ASKED[what](copy.copy(model)) for model in fitted]
    model = Fickle(rank=1)
    monkeypatch.setattr(Fickle, "fits", [dict(vars(model)) for model in fitted])
    model.__dict__ = Fickle.fits[0]
    monkeypatch.setattr(Fickle, "watched", model)
    found = ASKED[what](model)
    assert any(np.array_equal(found, one, equal_nan=True) for one in known)


def test_what_is_asked_keeps_its_name_and_signature():
    assert dmc.MatrixCompletion.predict.__name__ == "predict"
    assert "return_std" in dmc.MatrixCompletion.predict.__wrapped__.__annotations__
