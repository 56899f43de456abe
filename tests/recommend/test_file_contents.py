"""Files of recommenders whose digest holds, and whose contents do not: each damage is refused in one sentence."""

import re

import numpy as np
import pytest
from test_recommender import part, planted

from dmc import Recommender, model_file

KINDS = {
    "bayes": {"intervals": True},
    "network": {"model": "network", "rank": 3},
    "clicks": {"feedback": "implicit", "rank": 4},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Arrays and headers of each kind, with its ratings and without."""
    folder = tmp_path_factory.mktemp("models")
    table = part(planted(), slice(900))
    users = np.unique(table["user"])
    features = {"user_features": {"user": users, "age": np.arange(len(users))}}
    found = {}
    for name, settings in KINDS.items():
        model = Recommender(**settings).fit(table, **({} if name == "network" else features))
        for ratings in (True, False):
            model.save(folder / name, ratings=ratings)
            found[name, ratings] = model_file.load(folder / name, "Recommender")
    return found


def spoilt(saved, path, kind, change, ratings=True):
    arrays, header = saved[kind, ratings]
    header = model_file.json.loads(model_file.json.dumps(header))
    arrays = {name: array.copy() for name, array in arrays.items()}
    change(arrays, header)
    model_file.save(path, "Recommender", arrays, header)
    return path


@pytest.mark.parametrize("ratings", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_right_is_taken(kind, ratings, saved, tmp_path):
    Recommender.load(spoilt(saved, tmp_path / "model", kind, lambda arrays, header: None, ratings))


def put(name, value, at=0):
    def change(arrays, header):
        arrays[name].reshape(-1)[at] = value

    return change


def set_(value, *path):
    def change(arrays, header):
        for key in path[:-1]:
            header = header[key]
        header[path[-1]] = value

    return change


WRONG = {
    "factors that are none": ("bayes", put("left", np.nan), "'right' and 'left' have products that are not finite"),
    "infinite factors": ("clicks", put("right", np.inf), "'right' and 'left' have products that are not finite"),
    "an id twice": (
        "bayes",
        lambda a, h: a["users"].__setitem__(1, a["users"][0]),
        "'users' is not in ascending order",
    ),
    "one id too few": ("bayes", lambda a, h: a.update(users=a["users"][:-1]), "'left' has shape .* users\\+1 is"),
    "pointers behind the end": ("network", put("seen.pointers", 10**6, -1), "'seen.pointers' does not divide"),
    "pointers that fall": ("network", put("seen.pointers", 10**6, 3), "'seen.pointers' does not divide"),
    "an item that is none": ("clicks", put("seen.indices", 10**6), "'seen.indices' holds numbers outside of 0 to"),
    "an item twice": ("clicks", put("seen.indices", 0, 1), "'seen.indices' is not in ascending order"),
    "no rating": ("bayes", put("ratings", np.nan), "'ratings' holds numbers that are not finite"),
    "no click": ("clicks", put("ratings", 0), "'ratings' holds zeros"),
    "no covariance": ("network", put("model.0.rows.covariance", -1), "'model.0.rows.covariance' is not a covariance"),
    "a prior of another size": (
        *("bayes", lambda a, h: a.update({"model.0.rows.weights": a["model.0.rows.weights"][:-1]})),
        "'model.0.rows.variances' has shape",
    ),
    "features that nobody has": (
        "bayes",
        set_([None, None], "encodings"),
        "attributes of rows, and its features make 0",
    ),
    "residuals in no order": ("bayes", put("intervals.residuals", 9.0, 3), "'intervals.residuals' are not residuals"),
    "an unknown array": (
        "bayes",
        lambda a, h: a.update(more=np.zeros(1)),
        "it holds 'more', which no model of its kind has",
    ),
    "a missing array": ("network", lambda a, h: a.pop("model.0.V"), "it lacks 'model.0.V'"),
    "negative noise": ("bayes", set_(-1.0, "noise"), "its header.noise is -1.0, and has to be"),
    "no mean": ("bayes", set_(float("nan"), "mean"), "its header.mean is nan"),
    "a model too many": ("clicks", lambda a, h: h["models"].append(h["models"][0]), "it lacks 'model.1.U'"),
    "no model": ("clicks", set_([], "models"), "it holds no model"),
    "a rank of 0": ("bayes", set_(0, "settings", "rank"), "its header.settings.rank is 0"),
    "settings that no model has": ("bayes", set_(2.0, "settings", "l2"), "l2 is 2.0, and model 'bayes' has no l2"),
    "an unknown model": ("bayes", set_("trees", "settings", "model"), "its header.settings.model is 'trees'"),
    "another model": ("bayes", set_(None, "settings", "model"), "settings.model is not one for its settings.feedback"),
    "a range backwards": ("bayes", set_([5.0, 1.0], "range"), "its range does not go from the lowest rating"),
    "one column for two": ("bayes", set_(["user", "user", "rating"], "columns"), "two of its columns have one name"),
    "an unknown status": ("bayes", set_("GOOD", "status"), "its header.status is 'GOOD'"),
    "a history nested without end": (
        "bayes",
        set_([eval("[" * 30 + "]" * 30)], "history"),
        "its header.history.* is list",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_refused_in_one_sentence(case, saved, tmp_path):
    kind, change, message = WRONG[case]
    path = spoilt(saved, tmp_path / "model", kind, change)
    with pytest.raises(
        ValueError, match=f"^{re.escape(str(path))} is damaged: .*{message}.*; save the model again$"
    ) as told:
        Recommender.load(path)
    assert type(told.value) is ValueError


WITHOUT = {
    "counts for bounds": ("bayes", lambda a, h: a.pop("counts.users"), "it lacks 'counts.users'"),
    "how many there were": ("network", lambda a, h: h.pop("n_observed"), "its header lacks 'n_observed'"),
    "rows in its model": (
        *("network", lambda a, h: a.update({"model.0.U": np.zeros((2, a["model.0.U"].shape[1]), np.float32)})),
        "'model.0.U' has shape",
    ),
}


@pytest.mark.parametrize("case", WITHOUT)
def test_files_without_ratings(case, saved, tmp_path):
    kind, change, message = WITHOUT[case]
    with pytest.raises(ValueError, match=f"is damaged: {message}"):
        Recommender.load(spoilt(saved, tmp_path / "model", kind, change, ratings=False))


def test_a_mapped_file_is_believed_unless_it_is_to_be_verified(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(model_file, "SMALL", 0)
    path = spoilt(saved, tmp_path / "model", "bayes", put("left", np.nan))
    Recommender.load(path, mmap=True)
    with pytest.raises(ValueError, match="have products that are not finite"):
        Recommender.load(path, mmap=True, verify=True)
    longer = spoilt(saved, tmp_path / "longer", "bayes", lambda a, h: a.update(left=a["left"][1:]))
    with pytest.raises(ValueError, match="'left' has shape"):
        Recommender.load(longer, mmap=True)
