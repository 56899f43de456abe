"""Every fit that is kept in a file: stopped again and again, it ends as one that never was."""

import json
import os
import warnings

import numpy as np
import pytest
from dmc.callbacks import Checkpoint, History

import dmc
from dmc import model_file
from dmc.recommend import bayesian
from dmc.solver import checkpoint

RNG = np.random.default_rng(2)


pytestmark = pytest.mark.filterwarnings("ignore")  # of fits that are small


def planted(m, n, rank, noise, share=0.55):
    whole = RNG.standard_normal((m, rank)) @ RNG.standard_normal((rank, n)) + noise * RNG.standard_normal((m, n))
    return np.where(RNG.random((m, n)) < share, whole, np.nan)


EXACT, NOISY = planted(40, 30, 2, 0), planted(40, 30, 2, 0.4)
WRONG = np.where(RNG.random(EXACT.shape) < 0.03, EXACT + 50, EXACT)
UNITS = planted(120, 6, 2, 0.5, 0.8) * 10.0 ** np.arange(6) + 100
APART = np.block([[EXACT[20:, 15:], np.full((20, 15), np.nan)], [np.full((20, 15), np.nan), EXACT[:20, :15]]])
USERS, ITEMS = np.nonzero(RNG.random((150, 60)) < 0.3)
LIKES = (RNG.standard_normal((150, 2)) @ RNG.standard_normal((2, 60)))[USERS, ITEMS]
RATINGS = {"user": USERS, "item": ITEMS, "rating": (3 + LIKES + 0.5 * RNG.standard_normal(len(USERS))).astype("f4")}
CLICKS = {"user": USERS[LIKES > 0], "item": ITEMS[LIKES > 0]}
TENSOR = np.where(RNG.random((8, 7, 5)) < 0.7, np.einsum("i,j,k->ijk", *(RNG.random(n) + 1 for n in (8, 7, 5))), np.nan)


class Killed(Exception):
    """In the place of a kill."""


class Kill:
    """At so many looks of this process."""

    def __init__(self, at):
        self.left = at

    def __call__(self, info):
        self.left -= 1
        if self.left == 0 and info.status is None:
            raise Killed


def of_table(model):
    rest = [{name: value for name, value in record.items() if name != "seconds"} for record in model.history_]
    return [model.complete()], [model.n_iter_, model.status_, rest]


def of_ratings(model):
    arrays = [model.user_factors, model.item_factors]
    if model.intervals:
        arrays += model.predict(RATINGS, interval=0.9)
    return arrays, [model.n_iter_, model.status_, model.history_]


def completion(data, **settings):
    return lambda callbacks: of_table(dmc.MatrixCompletion(**settings, callbacks=callbacks).fit(data))


def recommender(data, **settings):
    return lambda callbacks: of_ratings(dmc.Recommender(**settings, callbacks=callbacks).fit(data))


FITS = {
    "exact": completion(EXACT),
    "noisy": completion(NOISY, rank=3),
    "float32": completion(EXACT.astype(np.float32)),
    "robust": completion(WRONG, loss="robust"),
    "units": completion(UNITS),
    "blocks": completion(APART, rank=2),
    "tensor": lambda callbacks: of_table(dmc.TensorCompletion(tube=2, callbacks=callbacks).fit(TENSOR)),
    "bayes": recommender(RATINGS),
    "sample": recommender(RATINGS),
    "intervals": recommender(RATINGS, intervals=True, ensemble=2),
    "network": recommender(RATINGS, model="network", rank=2, depth=1),
    "clicks": recommender(CLICKS, feedback="implicit"),
    "many clicks": recommender(CLICKS, feedback="implicit", rank=8, ensemble=2),
}


@pytest.mark.parametrize("name", FITS)
def test_a_fit_that_is_ended_ends_as_one_that_was_not(name, tmp_path, monkeypatch):
    if name == "sample":
        monkeypatch.setattr(bayesian, "TUNING", bayesian.replace(bayesian.TUNING, large=1_000, sample=1_500))
    monkeypatch.setattr(checkpoint, "SPARING", 0)  # else short fits would be kept too seldom to come further
    fit, path, whole = FITS[name], tmp_path / "c", History()
    arrays, told = fit([whole])
    kills, looks, found = 0, History(), None
    while found is None:
        looks = History()
        try:
            found = fit([looks, Checkpoint(path), Kill(len(whole.records) // 5 + 2)])
        except Killed:
            kills += 1
    assert kills >= 2 or len(whole.records) < 20
    for ours, theirs in zip(found[0], arrays, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert found[1] == told
    for column in ("n_steps", "value"):
        assert looks.column(column).tolist() == whole.column(column).tolist()
    kept = Checkpoint(path)
    again = fit([kept, Kill(len(whole.records) // 2 + 2)])  # which has ended, and so is not fitted anew
    assert kept.resumed
    np.testing.assert_array_equal(again[0][0], arrays[0])
    assert os.listdir(tmp_path) == ["c"]


def test_a_fit_without_a_seed_goes_on_with_the_one_it_had(tmp_path):
    def fit(*callbacks):
        return dmc.Recommender(random_state=None, callbacks=callbacks).fit(RATINGS).user_factors

    with pytest.raises(Killed):
        fit(Checkpoint(tmp_path / "c", 0), Kill(4))
    kept = (tmp_path / "c").read_bytes()
    found = []
    for _ in range(2):
        (tmp_path / "c").write_bytes(kept)
        found.append(fit(Checkpoint(tmp_path / "c")))
    np.testing.assert_array_equal(*found)


def test_other_settings_and_data_are_refused_until_the_fit_has_ended(tmp_path):
    kept = Checkpoint(tmp_path / "c", 0)
    with pytest.raises(Killed):
        dmc.MatrixCompletion(callbacks=[kept, Kill(5)]).fit(EXACT)
    with pytest.raises(
        ValueError, match=r"with depth = 3, which is 2 here; resume that one, give this fit another path"
    ):
        dmc.MatrixCompletion(depth=2, callbacks=[kept]).fit(EXACT)
    with pytest.raises(ValueError, match="of other data"):
        dmc.MatrixCompletion(callbacks=[kept]).fit(EXACT, sample_weight=np.arange(40) + 1)
    with pytest.raises(ValueError, match="with fit = MatrixCompletion, which is Recommender here"):
        dmc.Recommender(callbacks=[kept]).fit(RATINGS)
    dmc.MatrixCompletion(callbacks=[kept], n_threads=1, verbose=False).fit(EXACT)
    dmc.Recommender(callbacks=[kept]).fit(RATINGS)
    assert not kept.resumed


def test_a_model_that_is_fitted_further_keeps_no_checkpoint(tmp_path):
    model = dmc.Recommender(callbacks=[Checkpoint(tmp_path / "c", 0)]).fit(RATINGS)
    before = (tmp_path / "c").read_bytes()
    model.partial_fit({"user": [999, 999], "item": [0, 1], "rating": [5.0, 4.0]})
    assert (tmp_path / "c").read_bytes() == before


def test_a_grid_search_with_one_process_gives_each_fit_the_path_in_turn(tmp_path):
    from sklearn.model_selection import GridSearchCV

    search = GridSearchCV(dmc.MatrixCompletion(callbacks=[Checkpoint(tmp_path / "c")]), {"depth": [1, 3]}, cv=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(np.nan_to_num(EXACT))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_several_processes_have_a_folder():
    pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match="keeps no checkpoints; give its folder to fit, as checkpoint"):
        dmc.distributed.Recommender(callbacks=[Checkpoint("c")])


@pytest.mark.parametrize(
    ("name", "snapshot"), [("bayes", "sweep"), ("bayes", "presence"), ("bayes", "seed"), ("network", "step")]
)
def test_a_snapshot_that_lacks_something_is_told_as_damage(name, snapshot, tmp_path):
    path = tmp_path / "c"
    with pytest.raises(Killed):
        FITS[name]([Checkpoint(path, 0), Kill(4)])
    arrays, header = model_file.load(path, "Checkpoint")
    numbers = json.loads(header["names"][snapshot][0])
    for key in sorted(numbers.keys() - {"lowest"}):  # which is of a phase to come
        left = {other: value for other, value in numbers.items() if other != key}
        names = header["names"] | {snapshot: [json.dumps(left), *header["names"][snapshot][1:]]}
        model_file.save(path, "Checkpoint", arrays, header | {"names": names})
        with pytest.raises(ValueError, match="is damaged; give another path, or remove it"):
            FITS[name]([Checkpoint(path)])
