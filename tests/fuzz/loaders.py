"""Loaders of model files, fed with damaged, crafted and foreign files: each is refused in words, or answers well."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import dmc
from fuzz.damaged_files import BYTES, CRAFTED, FOREIGN
from fuzz.targets import Fault, Tried

Answers = list[Any]  # arrays and numbers, in a fixed order
PATH = Path("file.dmc")


class Loader:
    """A class with `save` and `load`, and small models of it."""

    def __init__(
        self,
        name: str,
        models: Callable[[], Iterator[tuple[str, Callable[[Path], None]]]],
        ask: Callable[[Path], Answers],
    ) -> None:
        self.name, self._models, self._ask = name, models, ask

    def prepare(self, folder: Path) -> None:
        self.corpus: list[bytes] = []
        self.answers: list[Answers] = []
        for _, save in self._models():
            save(PATH)
            self.corpus.append(PATH.read_bytes())
            self.answers.append(self._ask(PATH))

    def attempt(self, rng: np.random.Generator) -> Tried:
        number = int(rng.integers(len(self.corpus)))
        whole, way = self.corpus[number], float(rng.random())
        if way < 0.1:
            raw, crafted = whole if way < 0.02 else FOREIGN[int(rng.integers(len(FOREIGN)))], False
        elif way < 0.4:
            raw, crafted = BYTES[int(rng.integers(len(BYTES)))](whole, rng), False
        else:
            raw, crafted = CRAFTED[int(rng.integers(len(CRAFTED)))](whole, rng), True
        PATH.write_bytes(raw)
        try:
            found = self._ask(PATH)
        except np.linalg.LinAlgError:  # numbers that nobody would fit, so far apart that a matrix is singular
            if not crafted:
                raise
            return Tried(answered=False, size=len(raw))
        except (ValueError, FloatingPointError) as error:
            if raw == whole:
                raise Fault(f"a good file was refused: {error}") from error
            _refused_in_words(error)
            return Tried(answered=False, size=len(raw))
        if raw == whole or not crafted:
            _refuse_difference(found, self.answers[number], raw == whole)
        _refuse_nonsense(found)
        return Tried(size=len(raw))


def _refused_in_words(error: Exception) -> None:
    told = str(error)
    if type(error) not in (ValueError, FloatingPointError) or not told or "\n" in told or len(told) > 1000:
        raise Fault(f"no sentence: {type(error).__name__}: {told[:200]!r}") from error


def _refuse_difference(found: Answers, expected: Answers, whole: bool) -> None:
    for one, other in zip(found, expected, strict=True):
        if not np.array_equal(np.asarray(one), np.asarray(other)):
            raise Fault(
                "a good file answers otherwise" if whole else "a damaged file answers otherwise, and does not say so"
            )


def _refuse_nonsense(found: Answers) -> None:
    for number, one in enumerate(found):
        values = np.asarray(one)
        if values.dtype.kind in "fc" and not np.isfinite(values).all():
            raise Fault(f"answer {number} holds numbers that are not finite")


# --- recommenders


def _ratings(users: int = 30, items: int = 20, share: float = 0.6) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    rows, cols = np.nonzero(rng.random((users, items)) < share)
    return {
        "user": np.array([f"u{row}" for row in rows]),
        "item": cols,
        "rating": rng.integers(1, 6, len(rows)).astype(float),
    }


def _recommenders() -> Iterator[tuple[str, Callable[[Path], None]]]:
    table, users = _ratings(), [f"u{row}" for row in range(30)]
    features = {"user": users, "age": np.arange(30.0), "job": ["a", "b", "c"] * 10}
    for name, settings, given in (
        ("bayes", {"intervals": True}, {}),
        ("features", {"ensemble": 2}, {"user_features": features}),
        ("network", {"model": "network"}, {}),
        ("clicks", {"feedback": "implicit"}, {"user_features": features}),
        ("weights", {}, {"weight": "weight"}),
    ):
        own = table | ({"weight": np.linspace(0.5, 2, len(table["user"]))} if "weight" in given else {})
        model = dmc.Recommender(rank=3, **settings).fit(own, **given)
        yield name, model.save
        yield f"bare {name}", lambda path, model=model: model.save(path, ratings=False)


def _ask_recommender(path: Path) -> Answers:
    model = dmc.Recommender.load(path)
    users, items = model.users_.ids[:4].tolist(), model.items_.ids[:4].tolist()
    user, item, rating = model.columns_
    n = min(len(users), len(items))
    pairs = {user: users[:n], item: items[:n]}
    found = [model.predict(pairs)["prediction"], model.predict({user: ["?", 7], item: [items[0], "?"]})["prediction"]]
    if model.intervals:
        found += [model.predict(pairs, interval=0.9)[end] for end in ("lower", "upper")]
    bare = model._state.without_ratings is not None
    found += [model.recommend(users, 3, filter_already_liked_items=not bare)[item]]
    found += [model.similar_items(items[0], 3)["similarity"], model.user_vector(items[:2], [1.0, 2.0])]
    if not bare:
        found.append(model.observations_.values)
        found.append(
            model.fold_in({user: ["new"], item: [items[0]], rating: [2.0]} | _weight(model)).predict(pairs)[
                "prediction"
            ]
        )
        found += list(model.explain(users[0], items[0]).values())[1:]
    return found


def _weight(model: Any) -> dict[str, Any]:
    return {} if model._state.weight is None else {model._state.weight: [1.0]}


# --- completions


def _completions() -> Iterator[tuple[str, Callable[[Path], None]]]:
    rng = np.random.default_rng(0)
    X = np.where(rng.random((20, 12)) < 0.8, rng.standard_normal((20, 2)) @ rng.standard_normal((2, 12)), np.nan)
    for scale in ("columns", "rows", "none"):
        yield scale, dmc.MatrixCompletion(scale=scale, min_value=-99.0).fit(X).save


def _ask_completion(path: Path) -> Answers:
    model = dmc.MatrixCompletion.load(path)
    m, n = model.factors_.shape
    rows, cols = np.arange(3) % m, np.arange(3) % n
    new = np.full((1, n), np.nan)
    new[0, ::2] = 1.0
    values, deviations = model.predict(rows, cols, return_std=True)
    deviations = np.where(np.isfinite(deviations), deviations, -1)  # NaN of what is undetermined, which a warning says
    return [model.complete(), values, deviations, model.transform(new)]


def _tensors() -> Iterator[tuple[str, Callable[[Path], None]]]:
    rng = np.random.default_rng(0)
    X = np.einsum("ir,jr,kr->ijk", *(rng.standard_normal((size, 2)) for size in (7, 6, 5)))
    X = np.where(rng.random(X.shape) < 0.8, X, np.nan)
    for tube, transform in ((0, "dft"), (2, "dct"), (2, np.linalg.qr(rng.standard_normal((5, 5)))[0]), ("auto", "dft")):
        yield str(tube), dmc.TensorCompletion(tube=tube, transform=transform).fit(X).save


def _ask_tensor(path: Path) -> Answers:
    model = dmc.TensorCompletion.load(path)
    whole = model.complete()
    return [whole, model.predict(*(np.zeros(2, int) for _ in range(3)))]


# --- adapters


def _network() -> Any:
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))


def _adapters() -> Iterator[tuple[str, Callable[[Path], None]]]:
    from dmc.nn import DeepLoRA

    for settings in ({"rank": 2}, {"rank": 1, "layers": 2, "alpha": 4.0, "modules_to_save": ["2"]}):
        yield "", DeepLoRA(["0"], **settings).attach(_network()).save


def _ask_adapter(path: Path) -> Answers:
    import warnings

    import torch

    from dmc.nn import DeepLoRA

    model = _network()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*are not finite")
        try:
            DeepLoRA.load(path, model)
        except UserWarning as told:  # which is a word
            raise ValueError(str(told)) from None
    return [model(torch.ones(2, 6)).detach().numpy()]


# --- models in folders


class Folders:
    """A model of several processes: its list, and its files."""

    name = "shards"

    def prepare(self, folder: Path) -> None:
        import importlib

        pa = importlib.import_module("pyarrow")
        from dmc import distributed

        self.whole, self.spoilt = Path("whole"), Path("spoilt")
        distributed.Recommender(rank=2).fit([pa.RecordBatch.from_pydict(_ratings())]).save(self.whole)
        self.answers = _ask_recommender(self.whole)

    def attempt(self, rng: np.random.Generator) -> Tried:
        shutil.rmtree(self.spoilt, ignore_errors=True)
        shutil.copytree(self.whole, self.spoilt)
        paths = sorted(self.spoilt.iterdir())
        path = paths[int(rng.integers(len(paths)))]
        if path.suffix == ".json":
            told = json.loads(path.read_text())
            key = str(rng.choice(sorted(told)))
            told[key] = [{}, [], "x", {"../../x": [0]}, {"x": "y"}, {paths[1].name: [10**9]}, 2, None][
                int(rng.integers(8))
            ]
            path.write_text(json.dumps(told))
        else:
            path.write_bytes(BYTES[int(rng.integers(len(BYTES)))](path.read_bytes(), rng))
        size = sum(of.stat().st_size for of in paths)
        try:
            found = _ask_recommender(self.spoilt)
        except (ValueError, FileNotFoundError) as error:
            if isinstance(error, ValueError):
                _refused_in_words(error)
            return Tried(answered=False, size=size)
        _refuse_difference(found, self.answers, whole=False)
        return Tried(size=size)


TARGETS: list[Any] = [
    Loader("recommender", _recommenders, _ask_recommender),
    Loader("completion", _completions, _ask_completion),
    Loader("tensor", _tensors, _ask_tensor),
]
if importlib.util.find_spec("torch"):
    TARGETS.append(Loader("adapter", _adapters, _ask_adapter))
if importlib.util.find_spec("pyarrow"):
    TARGETS.append(Folders())
