"""Many threads ask one model while others change it: every answer is that of one of the states that it had."""

from __future__ import annotations

import copy
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import dmc

SECONDS, THREADS = 120.0, 8
USERS, ITEMS = 24, 16
CHANGED_MEANWHILE = "changed the model meanwhile"


class Recorded(dmc.Recommender):
    """A recommender that remembers every state it served."""

    @property
    def _state(self) -> Any:
        return vars(self).get("served")

    @_state.setter
    def _state(self, state: Any) -> None:
        if vars(self).get("original") is self:  # and not a copy, as `fold_in` makes
            self.states.append(state)  # first: who is answered by it finds it here
        vars(self)["served"] = state


def recorded(**settings: Any) -> Recorded:
    model = Recorded(rank=3, n_threads=1, **settings)
    model.fit(ratings(np.random.default_rng(0), 150))
    model.states = [model._state]
    model.original = model
    return model


def ratings(rng: np.random.Generator, count: int) -> dict[str, Any]:
    pairs = rng.choice(USERS * ITEMS, count, replace=False)
    return {"user": pairs // ITEMS, "item": pairs % ITEMS, "rating": rng.integers(1, 6, count).astype(float)}


def asked_of(model: Any, what: str, rng: np.random.Generator) -> Any:
    """One question; the same generator asks the same of any state."""
    user, item = int(rng.integers(USERS)), int(rng.integers(ITEMS))
    if what == "predict":
        return model.predict({"user": rng.integers(0, USERS, 20), "item": rng.integers(0, ITEMS, 20)})
    if what == "recommend":
        return model.recommend([user, item], n=int(rng.integers(1, 30)), filter_already_liked_items=bool(item % 2))
    if what == "similar_items":
        return model.similar_items(item, n=5)
    if what == "similar_users":
        return model.similar_users(user, n=5)
    if what == "explain":
        return model.explain(user, item)
    if what == "user_vector":
        return {"vector": model.user_vector([item], [3.0])}
    if what == "fold_in":
        folded = model.fold_in({"user": ["new"], "item": [str(item)], "rating": [4.0]})
        return folded.predict({"user": ["new"] * ITEMS, "item": np.arange(ITEMS).astype(str)})
    if what == "save":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            model.save(path)
            return dmc.Recommender.load(path).recommend([user], n=3)
    return {"users": model.users_.ids, "factors": np.asarray(model.user_factors), "seen": model.seen_.indices}


ANSWERS = ("predict", "recommend", "similar_items", "similar_users", "explain", "user_vector", "fold_in", "save", "all")


def change(model: Any, rng: np.random.Generator) -> None:
    what = rng.integers(3)
    if what == 0:
        model.forget(users=[int(rng.choice(model.users_.ids))])
    elif what == 1:
        model.forget(items=[int(rng.choice(model.items_.ids))])
    else:
        model.partial_fit(ratings(rng, 40))


def answer(model: Any, what: str, seed: int) -> dict[str, Any] | str:
    """What it says, or why it refuses; of attributes read one by one only what each of them says."""
    try:
        found = asked_of(model, what, np.random.default_rng(seed))
    except (ValueError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return {name: np.asarray(values) for name, values in found.items()}


def equal(one: dict[str, Any] | str, other: dict[str, Any] | str, apart: bool = False) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    same = [np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f") for name in one]
    return any(same) if apart else all(same)


class Trial:
    """Threads at one model until the time is over; what they saw that no state says."""

    def __init__(self, model: Recorded, seconds: float) -> None:
        self.model, self.until = model, time.monotonic() + seconds
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()

    def run(self, threads: int) -> None:
        work: list[Callable[[int], None]] = [self.ask] * (threads - 2) + [self.change] * 2
        at_work = [threading.Thread(target=self.told, args=(of, number)) for number, of in enumerate(work)]
        for thread in at_work:
            thread.start()
        for thread in at_work:
            thread.join()

    def told(self, work: Callable[[int], None], number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            self.wrong.append(f"{type(error).__name__}: {error}")

    def ask(self, number: int) -> None:
        seed = 10**6 * number
        while time.monotonic() < self.until and len(self.wrong) < 10:
            seed += 1
            what = ANSWERS[seed % len(ANSWERS)]
            first = len(self.model.states) - 1
            found = answer(self.model, what, seed)
            self.counts[what] += 1
            before = max(first - 1, 0)  # a state is remembered a moment before it is served
            states = self.model.states[before:]
            if not any(equal(found, answer(serving(self.model, s), what, seed), what == "all") for s in states):
                self.wrong.append(f"{what}, seed {seed}: of none of {len(states)} states at that time: {found}"[:500])

    def change(self, number: int) -> None:
        rng = np.random.default_rng(number)
        while time.monotonic() < self.until and len(self.wrong) < 10:
            try:
                change(self.model, rng)
                self.counts["changes"] += 1
            except RuntimeError as error:
                if CHANGED_MEANWHILE not in str(error):
                    raise
                self.counts["refused changes"] += 1
            except ValueError as error:  # what another thread has forgotten meanwhile, or the last of its kind
                if "not known" not in str(error) and "left" not in str(error):
                    raise
            time.sleep(0.02)


def serving(model: Recorded, state: Any) -> Any:
    one = copy.copy(model)
    vars(one)["served"] = state
    return one


def run(seconds: float, threads: int = THREADS, **settings: Any) -> Trial:
    """A trial under hurried switches between threads."""
    trial = Trial(recorded(**settings), seconds)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial.run(threads)
    finally:
        sys.setswitchinterval(before)
    return trial


def main() -> int:
    """0 if every answer was that of one state."""
    wrong = 0
    for settings in ({}, {"feedback": "implicit"}):
        trial = run(SECONDS / 2, **settings)
        wrong += len(trial.wrong)
        told = ", ".join(f"{count:,} {what}" for what, count in trial.counts.items())
        print(f"{settings or 'ratings'}: {told}; {len(trial.wrong)} wrong", *trial.wrong[:5], sep="\n  ", flush=True)
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
