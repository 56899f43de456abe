"""Preferences from clicks: against a dense weighted problem, on planted tastes, and through the Recommender."""

import numpy as np
import pytest

import dmc
from dmc import Factors, MaskedLeastSquares, Observations, kernels
from dmc.recommend import implicit
from dmc.recommend.all_pairs import confidence
from dmc.recommend.implicit_search import Search
from dmc.solver.solution import Status


def tastes(seed=0, m=60, n=40):
    """Clicks of users who like one half of the items, and what they have not clicked on of it yet."""
    rng = np.random.default_rng(seed)
    likes = (np.arange(m)[:, None] % 2) == (np.arange(n) % 2)
    clicked = likes & (rng.random((m, n)) < 0.4)
    rows, cols = np.nonzero(clicked)
    counts = rng.integers(1, 20, len(rows)).astype(np.float32)
    return Observations.from_entries(rows, cols, counts, (m, n)), likes, clicked


def test_all_pairs_count_as_the_dense_problem_says():
    rng = np.random.default_rng(1)
    X = (rng.random((9, 7)) < 0.5) * rng.integers(1, 5, (9, 7)).astype(float)
    observed, weights = dmc.observe(X, X > 0), None
    weights = 1 + observed.values
    W = np.where(X > 0, 1 + X, 0.3)
    at = dmc.initial.gaussian((9, 7), 3, 2, 0.7)
    problem = MaskedLeastSquares(observed, weights, l2=0.2, unobserved_weight=0.3)

    def dense(f):
        penalty = 0.1 * (np.sum(f.left**2) + np.sum(f.right**2))
        return 0.5 * np.sum(W * (f.dense() - X) ** 2) + penalty

    value, grad = problem.value_and_grad(at)
    assert value == pytest.approx(dense(at))
    assert problem.value(at) == pytest.approx(dense(at))
    assert problem.curvature == pytest.approx(W.mean())
    np.testing.assert_allclose(problem.residual(at), at.at(observed.rows, observed.cols) - observed.values)
    for place, d in ((("U",), grad.U), (("cores", 1), grad.cores[1]), (("V",), grad.V)):
        step = np.zeros(d.shape)
        step[1, 2] = 1e-6

        def moved(sign, place=place, step=step):
            parts = {"U": at.U, "cores": list(at.cores), "V": at.V}
            if place[0] == "cores":
                parts["cores"][place[1]] = at.cores[place[1]] + sign * step
            else:
                parts[place[0]] = parts[place[0]] + sign * step
            return dense(Factors(**parts))

        assert (moved(1) - moved(-1)) / 2e-6 == pytest.approx(d[1, 2], rel=1e-5)
    two = dmc.initial.gaussian((9, 7), 3, 0, 0.7)
    rows = problem.grams(0, two.V)
    np.testing.assert_allclose(rows[4], (two.V.T * W[4]) @ two.V + 0.2 * np.eye(3), rtol=1e-10)
    on_torch = problem.to("cpu").value_and_grad(at.to("cpu"))
    assert float(on_torch[0]) == pytest.approx(value)


def test_weights_stay_as_they_were_given():
    observed, weights = dmc.observe(np.eye(3), np.eye(3) > 0), np.full(3, 2.0)
    at = dmc.initial.gaussian((3, 3), 2, 0, 0.7)
    problem = MaskedLeastSquares(observed, weights)
    value = problem.value(at)
    weights[:] = 9
    pytest.importorskip("torch")
    assert problem.to("cpu").value(at.to("cpu")) == pytest.approx(value)


def test_unobserved_entries_weigh_less_than_observed_ones():
    with pytest.raises(ValueError, match=r"unobserved_weight is 1 and the smallest weight 1; weigh observed entries"):
        MaskedLeastSquares(dmc.observe(np.eye(3), np.eye(3) > 0), unobserved_weight=1.0)


def test_tastes_are_found_and_what_is_chosen_is_about_one():
    counts, likes, clicked = tastes()
    model = implicit.fit(counts, 8)
    X = model.factors.dense()
    assert X[clicked].mean() > 0.6
    assert X[likes & ~clicked].min() > X[~likes].max()


@pytest.mark.parametrize("with_counts", [False, True])
def test_recommending_by_clicks(with_counts, tmp_path):
    counts, likes, clicked = tastes()
    table = {"user": counts.rows, "item": counts.cols} | ({"rating": counts.values} if with_counts else {})
    rec = dmc.Recommender(feedback="implicit").fit(table)
    found = rec.recommend(n=5)
    assert likes[found["user"], found["item"]].all()
    assert not clicked[found["user"], found["item"]].any()
    more = rec.fold_in({"user": [1000] * 3, "item": [0, 2, 4]})
    assert (more.recommend(1000, 5)["item"] % 2 == 0).all()
    assert likes[0, rec.explain(0, 2)["item"]].all()
    assert (rec.similar_items(0, 5)["similar"] % 2 == 0).all()
    rec.partial_fit({"user": [1000] * 3, "item": [0, 2, 4]})
    assert (rec.recommend(1000, 5)["item"] % 2 == 0).all()
    rec.save(tmp_path / "clicks.dmc")
    loaded = dmc.Recommender.load(tmp_path / "clicks.dmc")
    np.testing.assert_array_equal(loaded.recommend(n=3)["item"], rec.recommend(n=3)["item"])
    np.testing.assert_allclose(loaded.explain(0, 2)["contribution"], rec.explain(0, 2)["contribution"])


@pytest.mark.parametrize("settings", [{"intervals": True}, {"depth": 2}])
def test_what_preferences_do_not_have(settings):
    with pytest.raises(ValueError, match="feedback is 'implicit', whose preferences have no"):
        dmc.Recommender(feedback="implicit", **settings)


def test_a_fit_from_a_fitted_model_is_where_it_was():
    counts, *_ = tastes(m=300, n=80)
    model = implicit.fit(counts, 16)
    again = implicit.fit(counts, start=model)
    assert again.status is Status.CONVERGED
    assert len(again.errors) <= 2
    X = model.factors.dense()
    assert np.abs(again.factors.dense() - X).max() < 0.05 * np.abs(X).max()
    assert again.settings == model.settings


def test_the_same_seed_gives_the_same_model_for_any_number_of_threads():
    counts, *_ = tastes(m=300, n=200)
    fits = []
    for n_threads in (1, 2):
        with kernels.threads(n_threads):
            fits.append(implicit.fit(counts, seed=3))
    np.testing.assert_array_equal(fits[0].factors.U, fits[1].factors.U)
    assert fits[0].searched == fits[1].searched


def test_what_was_searched_is_told():
    counts, *_ = tastes(m=300, n=200)
    rec = dmc.Recommender(feedback="implicit").fit({"user": counts.rows, "item": counts.cols})
    trials = [record for record in rec.history_ if "ndcg" in record]
    assert {"phase", "n_steps", "rank", "ridge", "ndcg", "noise"} == set(trials[0])
    assert {64, 128} <= {trial["rank"] for trial in trials}
    best = max((trial for trial in trials if trial["rank"] == 64), key=lambda trial: trial["ndcg"])
    assert best["ndcg"] > trials[0]["ndcg"] - 1e-9
    given = dmc.Recommender(32, feedback="implicit").fit({"user": counts.rows, "item": counts.cols})
    assert {trial["rank"] for trial in given.history_ if "ndcg" in trial} == {32}
    assert given.factors_.U.shape[1] == 32


@pytest.mark.parametrize(
    "entries",
    [
        [(0, 0)],
        [(0, 0), (0, 1), (1, 2)],
        [(i, j) for i in range(20) for j in range(30)],
        [(i, 0) for i in range(50)],
        [(0, j) for j in range(50)],
        [(i, i % 7 + 3) for i in range(900)],
    ],
    ids=["one", "2x3", "all", "one item", "one user", "empty items"],
)
@pytest.mark.parametrize("count", [1, 1e6])
def test_odd_tables_of_clicks_are_fitted(entries, count):
    rows, cols = np.array(entries).T
    counts = Observations.from_entries(rows, cols, np.full(len(rows), count, np.float32))
    for rank in (None, 500):
        model = implicit.fit(counts, rank)
        assert np.isfinite(model.factors.dense()).all()
        assert model.factors.width <= min(counts.shape)
        assert model.rank <= min(counts.shape)
        assert (model.factors.at(rows, cols) > 0.2).all()
    assert not model.factors.V[counts.pattern.column_counts == 0].any()


def test_very_sparse_clicks_are_told_apart():
    """At a density of .0008 zeros of a weight chosen at .04 drown all but the first directions."""
    rng = np.random.default_rng(0)
    groups, m, n = 40, 4000, 4000
    rows = np.repeat(np.arange(m), 4)
    cols = rng.integers(0, n // groups, len(rows)) * groups + rows % groups
    counts = Observations.from_entries(rows, cols, np.ones(len(rows), np.float32), (m, n), "sum")
    model = implicit.fit(counts)
    best, _ = model.factors.top_n(np.arange(0, m, 7), 10, exclude=counts.pattern.by_row)
    assert np.mean(best % groups == np.arange(0, m, 7)[:, None] % groups) > 0.9
    assert model.rank >= groups - 1


def test_an_interrupt_ends_the_fit_with_what_was_reached():
    counts, *_ = tastes(m=300, n=200)

    for when in (0, 3, 12):

        def interrupt(info, when=when):
            if info.n_steps == when and info.status is None:
                raise KeyboardInterrupt

        model = implicit.fit(counts, callbacks=[interrupt])
        assert (model.status, model.stopped_by, model.n_iter) == (Status.STOPPED, "interrupt", when)
        assert np.isfinite(model.factors.dense()).all()


def test_an_interrupt_between_two_fits_keeps_the_best_of_them(monkeypatch):
    counts, *_ = tastes(m=300, n=200)
    judge, judged = Search._judge, []

    def interrupted(search, tried):
        judged.append(tried)
        if len(judged) == 3:
            raise KeyboardInterrupt
        return judge(search, tried)

    monkeypatch.setattr(Search, "_judge", interrupted)
    model = implicit.fit(counts)
    assert (model.status, model.stopped_by) == (Status.STOPPED, "interrupt")
    assert len(model.searched) == 2
    best = max(model.searched, key=lambda trial: trial["ndcg"])
    assert model.settings.ridge == best["ridge"]
    assert model.factors.U.any()


def test_history_is_what_was_measured_in_its_order():
    counts, *_ = tastes(m=300, n=200)
    told = []
    model = implicit.fit(counts, callbacks=[told.append])
    sweeps = [record for record in model.history if "value" in record]
    assert [record["n_steps"] for record in sweeps] == list(range(1, model.n_iter + 1))
    assert [record["value"] for record in sweeps if record["phase"] == "fit"] == model.errors
    assert sweeps[-1]["value"] == pytest.approx(told[-1].value)
    assert [record["n_steps"] for record in model.history] == sorted(record["n_steps"] for record in model.history)
    trials = [record for record in model.history if "ndcg" in record]
    assert trials == model.searched
    assert {record["phase"] for record in trials} == {"search"}
    assert sum(record["phase"] == "fit" for record in model.history) == len(model.errors)


def test_a_callback_ends_the_search_too():
    counts, *_ = tastes(m=300, n=200)
    told = []

    def stop(info):
        told.append(info)
        return info.n_steps >= 2

    model = implicit.fit(counts, callbacks=[stop])
    assert model.status is Status.STOPPED
    assert told[-1].status is Status.STOPPED
    assert told[-1].n_steps == 2


def test_what_did_not_happen_is_left_out():
    with pytest.raises(ValueError, match="1 count is 0; leave out rows of what did not happen"):
        dmc.Recommender(feedback="implicit").fit({"user": [0, 1], "item": [0, 1], "rating": [0, 2]})


def test_a_part_of_a_count_weighs_so_much_less():
    np.testing.assert_allclose(confidence(np.array([1e-3, 0.5, 1, np.e, -0.5])), [1e-3, 0.5, 1, 2, 0.5])
    hours = {"user": [0, 1, 1], "item": [0, 1, 0], "rating": [0.01, 0.5, 2.0]}
    assert np.isfinite(dmc.Recommender(feedback="implicit").fit(hours).predict(hours)["prediction"]).all()


def test_better_than_popularity_on_real_clicks(data_folder):
    train, test = (np.loadtxt(data_folder / "ml-100k" / name, dtype=int) for name in ("u1.base", "u1.test"))
    train, test = (part[part[:, 2] >= 4] for part in (train, test))
    rec = dmc.Recommender(feedback="implicit").fit({"user": train[:, 0], "item": train[:, 1]})
    judged = {"user": test[:, 0], "item": test[:, 1], "rating": test[:, 2]}
    ours = dmc.evaluation.evaluate(rec, judged, n=10, relevant=4)
    assert ours.ndcg > 0.425  # that of implicit 0.7's ALS, at the best of its grid: .4245; of popularity .25


def test_clicks_that_repeat_are_added_up():
    log = {"user": [0, 0, 0, 1], "item": [0, 0, 1, 1]}
    rec = dmc.Recommender(2, feedback="implicit").fit(log)
    np.testing.assert_array_equal(rec.observations_.values, [2, 1, 1])
    rec.partial_fit({"user": [0], "item": [0]})
    np.testing.assert_array_equal(rec.observations_.values, [3, 1, 1])


def clicks_of(m, n, seed=0, first=0):
    counts, *_ = tastes(seed, m, n)
    return {"user": counts.rows + first, "item": counts.cols + first}


@pytest.mark.filterwarnings("ignore:the preferences did not converge")
@pytest.mark.parametrize("device", [None, "cpu"])
def test_new_users_of_new_items_are_learnt(device):
    """All zeros on both sides is a saddle that no sweep leaves."""
    if device is not None:
        pytest.importorskip("torch")
    rec = dmc.Recommender(feedback="implicit", device=device).fit(clicks_of(60, 40))
    rec.partial_fit(clicks_of(30, 20, 1, first=1000))
    found = rec.recommend(np.arange(1000, 1030), 3)
    assert ((found["item"] - found["user"]) % 2 == 0).all()
    assert (found["item"] >= 1000).all()
    assert (found["prediction"] > 0.05).all()


@pytest.mark.parametrize("rank", [None, 12])
def test_a_model_of_a_few_clicks_grows_with_them(rank):
    with pytest.warns(UserWarning, match="1 user chose all of 1 item: there are no preferences to learn"):
        rec = dmc.Recommender(rank, feedback="implicit").fit({"user": [0], "item": [0]})
    rec.partial_fit(table := clicks_of(300, 80))
    whole = dmc.Recommender(rank, feedback="implicit").fit({key: np.append(ids, 0) for key, ids in table.items()})
    assert rec.factors_.U.shape == whole.factors_.U.shape
    np.testing.assert_allclose(rec.predict(table)["prediction"], whole.predict(table)["prediction"], atol=1e-3)


def test_a_rank_that_was_asked_for_is_reached_when_there_are_as_many_items():
    rec = dmc.Recommender(30, feedback="implicit").fit(clicks_of(60, 20))
    rec.partial_fit({"user": np.arange(20), "item": np.arange(20) + 100})
    assert rec.factors_.U.shape[1] == 30


def test_what_was_searched_stays_told_after_more_clicks(tmp_path):
    rec = dmc.Recommender(8, feedback="implicit").fit(clicks_of(300, 80))
    trials, n_clicks = [record for record in rec.history_ if "ndcg" in record], rec.n_observed_
    assert trials
    rec.save(tmp_path / "model")
    loaded = dmc.Recommender.load(tmp_path / "model")
    for model in (rec, loaded):
        model.partial_fit({"user": [1], "item": [0]})
        assert [record for record in model.history_ if "ndcg" in record] == trials
        assert model._state.fitted().models[0].n_searched == n_clicks


def test_preferences_that_say_nothing_are_told():
    i, j = map(np.ravel, np.indices((6, 5)))
    with pytest.warns(
        UserWarning, match="6 users chose all of 5 items: there are no preferences to learn; give more items"
    ):
        dmc.Recommender(feedback="implicit").fit({"user": i, "item": j})
    with pytest.warns(UserWarning, match="every preference is 0: the fit ended before its first sweep; fit again"):
        dmc.Recommender(feedback="implicit", callbacks=[lambda info: True]).fit(clicks_of(60, 40))


def test_a_column_of_counts_that_is_named_has_to_be_there():
    table = {"user": [0, 0, 1], "item": [0, 1, 1], "plays": [9, 1, 1]}
    rec = dmc.Recommender(feedback="implicit")
    with pytest.raises(ValueError, match="the table has no column 'play', only 'user', 'item', 'plays'"):
        rec.fit(table, rating="play")
    assert rec.fit(table, rating="plays").observations_.values.max() == 9
    assert rec.fit(table).observations_.values.max() == 1


def test_a_dislike_is_added_to_the_clicks_before_it():
    rec = dmc.Recommender(feedback="implicit")
    rec.fit({"user": [0, 0, 1], "item": [0, 0, 1], "rating": [3, -1, 1]})
    assert rec.observations_.values.tolist() == [2, 1]
    rec.partial_fit({"user": [0], "item": [0], "rating": [-2]})
    assert rec.observations_.values.tolist() == [0, 1]
    assert rec.recommend(0, 2)["item"].tolist() == [1]  # what has been told of a pair is known


def test_nobody_who_likes_anything():
    with pytest.raises(ValueError, match="no count is above 0, so there are no preferences to learn"):
        dmc.Recommender(feedback="implicit").fit({"user": [0, 1], "item": [0, 1], "rating": [-1, -2]})


def test_what_is_like_the_disliked_is_liked_less():
    counts, *_ = tastes(m=200)
    rng = np.random.default_rng(1)
    user, item = np.nonzero(rng.random((40, 40)) < 0.3)  # forty more users choose of both kinds
    user += 200
    odd = item % 4 == 1
    told = {"user": np.append(counts.rows, user), "item": np.append(counts.cols, item)}
    asked = {"user": np.repeat(np.arange(200, 240), 10), "item": np.tile(np.arange(3, 40, 4), 40)}  # the other odd ones
    predicted = []
    for sign in (1.0, -1.0):
        ratings = np.append(np.ones(counts.n_observed), np.where(odd, sign, 1.0))
        rec = dmc.Recommender(4, feedback="implicit").fit({**told, "rating": ratings})
        predicted.append(rec.predict(asked)["prediction"].mean())
        pairs = dict(zip(("user", "item"), (user[odd], item[odd]), strict=True))
        predicted.append(rec.predict(pairs)["prediction"].mean())
    liked, chosen, disliked, refused = predicted
    assert disliked < 0.6 * liked
    assert refused < 0.5 * chosen
    assert not np.isin(rec.recommend(200, 40)["item"], item[(user == 200) & odd]).any()


def test_clicks_of_long_ago_fade():
    """Users who have changed sides are listed what they choose now, where age counts, and some of both where not."""
    rng = np.random.default_rng(0)
    user, item = np.nonzero(rng.random((300, 40)) < 0.3)
    side = np.where(user < 150, user % 2, 0)
    first, later = ((item % 2) == side), ((item % 2) == 1 - side)
    old, new = (np.flatnonzero(which & (rng.random(len(user)) < 0.8)) for which in (first, later))
    at = np.concatenate([old, new])
    table = {"user": user[at], "item": item[at], "w": np.append(np.full(len(old), 0.02), np.ones(len(new)))}
    asked = {"user": np.repeat(np.arange(300), 40), "item": np.tile(np.arange(40), 300)}
    now = (asked["item"] % 2) == 1 - np.where(asked["user"] < 150, asked["user"] % 2, 0)
    gaps = []
    for weight in (None, "w"):
        rec = dmc.Recommender(4, feedback="implicit").fit(table, weight=weight)
        predicted = rec.predict(asked)["prediction"]
        gaps.append(predicted[now].mean() - predicted[~now].mean())
    assert gaps[1] > 0.2 > 0.1 > abs(gaps[0])


def test_counts_that_add_up_to_too_much():
    rec = dmc.Recommender(feedback="implicit")
    with pytest.raises(ValueError, match="add up to more than float32 holds; divide all of them"):
        rec.fit({"user": [0, 0, 1], "item": [0, 0, 1], "rating": [3e38, 3e38, 1]})


def test_items_that_are_only_described_leave_the_others_as_they_are(tmp_path):
    """They were taken for items that nobody wants: of 60 items beside 2,000 described ones, predictions halved."""
    rng = np.random.default_rng(0)
    users, items = np.nonzero(
        rng.random((150, 40)) < np.where(np.arange(150)[:, None] % 2 == np.arange(40) % 2, 0.4, 0.05)
    )
    clicks, own = {"user": users, "item": items}, items[users == 5]
    answers = []
    for n in (40, 3000):
        features = {"item": np.arange(n), "odd": [str(i % 2) for i in range(n)]}
        rec = dmc.Recommender(feedback="implicit").fit(clicks, item_features=features)
        rec.save(tmp_path / "serve", ratings=False)
        for model in (rec, dmc.Recommender.load(tmp_path / "serve")):
            answers.append([model.predict(clicks)["prediction"], model.user_vector(own)])
        folded = rec.fold_in({"user": np.full(len(own), -1), "item": own})
        place = folded.users_.positions([-1])[0]
        np.testing.assert_allclose(folded.user_factors[place], rec.user_vector(own), atol=1e-4)
        reasons = rec.explain(5, 7, n=40)["contribution"].sum()
        assert reasons == pytest.approx(rec.predict({"user": [5], "item": [7]})["prediction"][0], rel=0.02)
    for predicted, vector in answers[1:]:
        np.testing.assert_array_equal(predicted, answers[0][0])
        np.testing.assert_allclose(vector, answers[0][1], rtol=1e-5)


def test_what_is_disliked_is_never_listed(tmp_path):
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((60, 30)) < 0.4)
    disliked = np.arange(len(users)) % 5 == 0
    rec = dmc.Recommender(4, feedback="implicit").fit(
        {"user": users, "item": items, "rating": np.where(disliked, -1, 2)}
    )
    rec.save(tmp_path / "model")
    refused = set(zip(users[disliked].tolist(), items[disliked].tolist(), strict=True))
    for model in (rec, dmc.Recommender.load(tmp_path / "model")):
        for among in (None, {user: range(30) for user in range(60)}):
            found = model.recommend(n=30, filter_already_liked_items=False, items=among)
            pairs = set(zip(found["user"].tolist(), found["item"].tolist(), strict=True))
            assert len(pairs) == 60 * 30 - len(refused)
            assert not pairs & refused
