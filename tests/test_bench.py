"""The rivals that bench/ has in a few lines of NumPy are what their papers say; its splits hold out what they say."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import sparse


@pytest.fixture(autouse=True)
def _bench(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.syspath_prepend(str(request.config.rootpath / "bench"))


@pytest.fixture
def clicks() -> np.ndarray:
    X = (np.random.default_rng(0).random((30, 12)) < 0.3).astype(np.float32)
    X[0], X[:, 0] = 1, 1  # nobody, and nothing, is without a click
    return X


def test_ease_is_ridge_regression_on_the_other_items(clicks: np.ndarray) -> None:
    from _neighbours import ease

    weights = ease(sparse.csr_matrix(clicks), l2=5.0)
    for item in range(clicks.shape[1]):
        others = np.delete(np.arange(clicks.shape[1]), item)
        A = clicks[:, others].astype(float)
        expected = np.linalg.solve(A.T @ A + 5 * np.eye(len(others)), A.T @ clicks[:, item])
        np.testing.assert_allclose(weights[others, item], expected, atol=1e-5)
    assert not weights.diagonal().any()


def test_neighbours_are_the_most_similar_items(clicks: np.ndarray) -> None:
    from _neighbours import item_knn

    weights = item_knn(sparse.csr_matrix(clicks), k=3).toarray()
    unit = clicks / np.linalg.norm(clicks, axis=0)
    cosines = unit.T @ unit - np.eye(clicks.shape[1])
    for item in range(clicks.shape[1]):  # an item's score comes from those that are likest it
        np.testing.assert_allclose(np.sort(weights[:, item])[-3:], np.sort(cosines[:, item])[-3:], rtol=1e-5)
        assert np.count_nonzero(weights[:, item]) == 3


def test_rp3beta_is_the_walk_over_popularity(clicks: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    import _neighbours

    monkeypatch.setattr(_neighbours, "BATCH", 5)  # the last one is short
    n_items, popularity = clicks.shape[1], clicks.sum(axis=0)
    weights = _neighbours.rp3beta(sparse.csr_matrix(clicks), alpha=0.7, beta=0.4, k=n_items).toarray()
    for i in range(n_items):
        for j in range(n_items):
            walks = sum((1 / popularity[i] / row.sum()) ** 0.7 for row in clicks if row[i] and row[j])
            assert weights[i, j] == pytest.approx((i != j) * walks / popularity[j] ** 0.4, rel=1e-5)


def test_biases_solve_their_damped_least_squares() -> None:
    from _contenders import Biases, Ratings

    rng = np.random.default_rng(0)
    user, item = (rng.permutation(np.repeat(np.arange(n), 200 // n)) for n in (20, 10))
    train = Ratings(user, item, rng.standard_normal(200).astype(np.float32))
    model = Biases(user_damping=3, item_damping=7, sweeps=200)
    model.prepare(train)
    model.fit()
    design = np.zeros((200, 30))
    design[np.arange(200), user] = design[np.arange(200), 20 + item] = 1
    mean = train.rating.mean(dtype=float)
    penalty = np.diag(np.repeat([3.0, 7.0], [20, 10]))
    expected = mean + design @ np.linalg.solve(design.T @ design + penalty, design.T @ (train.rating - mean))
    np.testing.assert_allclose(model.predict(user, item), expected, atol=1e-6)
    np.testing.assert_allclose(model.predict(np.array([99]), np.array([99])), mean, atol=1e-6)


def test_of_repeated_pairs_the_last_counts_and_a_tenth_is_held_out() -> None:
    from _contenders import Ratings
    from sparse_ratings import held_out, last_of_each

    user, item = np.array([0, 1, 0, 2, 0]), np.array([3, 3, 3, 0, 1])
    kept = last_of_each(Ratings(user, item, np.arange(5, dtype=np.float32)))
    assert kept.rating.tolist() == [1, 2, 3, 4]
    many = Ratings(np.arange(100), np.arange(100), np.arange(100, dtype=np.float32))
    train, test = held_out(many, seed=0)
    assert len(test.user) == 10
    assert sorted([*train.user, *test.user]) == list(range(100))


def test_lists_from_ratings_and_from_pairs_are_judged_by_the_same_items() -> None:
    from sparse_ratings import judged_lists

    rng = np.random.default_rng(0)
    user, item = np.nonzero(rng.random((40, 30)) < 0.6)
    rating, held_out = rng.integers(1, 6, len(user)).astype(np.float32), rng.random(len(user)) < 0.3
    columns = {"user": user, "item": item, "rating": rating}
    train, test = ({name: values[part] for name, values in columns.items()} for part in (~held_out, held_out))
    found = judged_lists(train, test)
    assert {reached.relevant for reached in found.values()} == {float(np.mean(test["rating"]))}
    assert len({reached.n_users for reached in found.values()}) == 1


def test_lists_leave_out_what_was_clicked(clicks: np.ndarray) -> None:
    from _click_contenders import CONTENDERS

    rows, cols = np.nonzero(clicks)
    asked = np.arange(1, len(clicks))
    for name, setting in (("popularity", {}), ("EASE", {"l2": 1.0}), ("item-kNN", {"k": 20})):
        to, what = CONTENDERS[name](rows, cols, **setting)(asked, 3)
        assert to.tolist() == np.repeat(asked, 3).tolist()
        assert not clicks[to, what].any()
        if name == "popularity":
            best = np.where(clicks[7], -1, clicks.sum(axis=0))
            assert sorted(best[what[to == 7]]) == sorted(np.sort(best)[-3:])


def test_every_alternative_is_a_field_beside_its_present_value() -> None:
    from tune import CONCERNS

    for concern in CONCERNS.values():
        present = concern.present()
        for name, values in concern.alternatives.items():
            now = getattr(present, name)  # so it is a field
            assert all(getattr(replace(present, **{name: value}), name) != now for value in values)
            if len(values) == 2 and not isinstance(now, tuple):
                assert values[0] < now < values[1], name


def _holders(instance: object) -> set[tuple[str, str]]:
    return {
        (module, name)
        for module, held in list(sys.modules.items())
        if module.partition(".")[0] == "dmc"
        for name, value in vars(held).items()
        if value is instance
    }


def test_a_replaced_instance_is_so_wherever_it_is_held_and_only_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    from tune import CONCERNS, replaced

    for concern in CONCERNS.values():
        present = concern.present()
        copied, late = ModuleType("dmc.copied"), ModuleType("dmc.late")
        copied.BY_NAME = present  # as `from module import TUNING as BY_NAME` does
        monkeypatch.setitem(sys.modules, "dmc.copied", copied)
        monkeypatch.delitem(sys.modules, "dmc.late", raising=False)
        before, other = _holders(present), replace(present)
        assert {(concern.module, concern.instance), ("dmc.copied", "BY_NAME")} <= before
        with replaced(present, other):
            assert (_holders(present), _holders(other)) == (set(), before)
            late.TUNING = concern.present()
            monkeypatch.setitem(sys.modules, "dmc.late", late)  # loaded while another stood in its place
        assert (_holders(present), _holders(other)) == (before | {("dmc.late", "TUNING")}, set())


def test_an_alternative_is_compared_with_the_present_value_on_each_set() -> None:
    from dmc.recommend import implicit
    from tune import Concern, compare

    concern = Concern("dmc.recommend.implicit", "TUNING", lambda: iter([("a", cost), ("a", cost), ("b", cost)]), {})
    concern.alternatives["max_sweeps"] = (15, 60)

    def cost() -> float:
        return implicit.TUNING.max_sweeps / 100

    less, more = compare(concern, "max_sweeps")
    assert (less["value"], less["present"], more["value"]) == (15, 30, 60)
    assert less["losses"] == {"a": 0.15, "b": 0.15}
    assert more["ratios"] == {"a": 2.0, "b": 2.0}
    assert less["ratio"] == pytest.approx(0.5)
    assert implicit.TUNING.max_sweeps == 30


def test_nothing_is_tuned_on_what_is_reported() -> None:
    import _judges
    import recovery
    import sparse_ratings
    import tables

    assert not set(_judges.SEEDS) & {*sparse_ratings.SEEDS, *tables.SEEDS, *recovery.SEEDS}


# --- several processes


@pytest.mark.parametrize(("width", "numbers"), [(10, 96), (16, 208), (32, 656), (64, 2304)])
def test_moments_are_as_many_as_the_page_says(width: int, numbers: int, request: pytest.FixtureRequest) -> None:
    import _distributed_costs as costs

    assert costs.moments(width) == numbers
    page = (request.config.rootpath / "docs" / "guide" / "several-machines.md").read_text()
    assert f"{numbers:,}" in page.partition("What a process holds and sends")[2].partition("|")[0]


def test_a_fit_sends_what_the_formula_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import _distributed_costs as costs
    import _launched
    import _long_tail
    from distributed import a_step

    size = _long_tail.Size(600, 300, 12_000)
    _long_tail.write(_long_tail.ratings(size), tmp_path / "ratings.parquet")
    ran = _launched.run(2, 1, "fit", tmp_path / "out", [tmp_path / "ratings.parquet"], arguments={"settings": {}})
    width = ran.each[0]["course"][-1][1]
    expected = costs.sent_by_bayes(300, width, 2)
    for figures in ran.each:
        assert a_step(figures["course"])[1] == pytest.approx(expected, rel=0.1)
    assert sum(figures["own_ratings"] for figures in ran.each) == 12_000


def test_planted_ratings_and_clicks_have_a_long_tail() -> None:
    import _long_tail

    size = _long_tail.Size(2_000, 500, 40_000)
    drawn = _long_tail.ratings(size)
    assert len(np.unique(drawn["user"] * 500 + drawn["item"])) == 40_000
    popular = np.sort(np.bincount(drawn["item"], minlength=500))
    assert popular[-50:].sum() > 5 * popular[:50].sum()
    expected = 0.4**2 + 0.4**2 + 0.6**2 + 0.4**2
    assert np.var(drawn["rating"]) == pytest.approx(expected, rel=0.15)
    clicks = _long_tail.clicks(size)
    assert len(clicks["user"]) == 40_000
    train, test = _long_tail.split(drawn, size)
    assert len(train["user"]) + len(test["user"]) == 40_000
    assert len(test["user"]) == pytest.approx(4_000, rel=0.1)
    assert np.isin(test["user"], train["user"]).all()


def test_no_pair_is_dealt_twice() -> None:
    from distributed import different

    rows = different(20_000, 300, 499)
    assert len(np.unique(rows["user"] * 499 + rows["item"])) == len(rows["rating"])
    assert len(rows["rating"]) == pytest.approx(20_000, rel=0.05)


def test_biases_that_are_taken_out_leave_what_als_is_to_find() -> None:
    import _long_tail
    import spark_als

    size = _long_tail.Size(2_000, 300, 60_000)
    train, test = _long_tail.split(_long_tail.ratings(size), size)
    less, left = spark_als.less_biases(train, test)
    assert np.var(left["rating"]) < 0.8 * np.var(test["rating"])
    assert abs(less["rating"].mean()) < 0.01


@pytest.mark.parametrize(("gamma", "alike"), [(4.0 ** (-2 / 3), True), (0.05, False)])
def test_outer_factors_turn_as_fast_as_a_full_network_at_the_rate_that_follows_full_says(
    gamma: float, alike: bool
) -> None:
    """Near X = σ p qᵀ what lies outside of the left subspace shrinks by 1 − ησ^(4/3) a step in a full network of three
    layers, and by 1 − γησ² in the compressed one."""
    import dmc

    sigma, eta, tilt, root = 4.0, 1e-3, 1e-4, 4.0 ** (1 / 3)
    p, q, out = np.eye(6)[:, :1], np.eye(5)[:, :1], np.eye(6)[:, 1:2]
    problem = dmc.LeastSquares(sigma * p @ q.T)
    core = np.array([[root]])
    full = dmc.Factors(root * (p + tilt * out), (core,), root * q)
    compressed = dmc.Factors(p + tilt * out, (core, core, core), q)

    def kept(start: dmc.Factors, outer_ratio: float) -> float:
        rule = dmc.steps.DiscrepantDescent(eta, outer_ratio)
        found = dmc.solve(problem, start, rule, max_steps=1, tol=0).factors.dense()
        return float((out.T @ found @ q)[0, 0]) / (sigma * tilt)

    assert kept(full, 1.0) == pytest.approx(1 - eta * sigma ** (4 / 3), abs=1e-6)
    assert kept(compressed, gamma) == pytest.approx(1 - gamma * eta * sigma**2, abs=1e-6)
    assert (kept(compressed, gamma) == pytest.approx(kept(full, 1.0), abs=1e-6)) == alike
