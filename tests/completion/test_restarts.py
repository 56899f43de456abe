"""Where else an exact model is sought: planted matrices on which a path over all entries takes a wrong turn."""

import warnings

import numpy as np
import pytest

import hard_patterns
from dmc import MatrixCompletion, observe
from dmc.completion import cores, restarts, tuning
from dmc.completion.phases import Phase, Phases
from dmc.completion.rank_search import RankSearch
from dmc.completion.restarts import restarted
from dmc.solver.loop import Run
from dmc.solver.solution import Status

FAST = tuning.RANK_SEARCH.path_decay
WRONG_TURNS = {  # seeds on which a path over all entries ends elsewhere
    "uniform": (hard_patterns.uniform, 120, 0.0617, (0, 3, 5, 6)),
    "power law": (hard_patterns.power_law, 80, 0.12, (0, 3, 5)),
    "band": (hard_patterns.band, 80, 0.1, (0, 3, 6)),
}
CASES = [(pattern, size, share, seed) for pattern, size, share, seeds in WRONG_TURNS.values() for seed in seeds]


def search_of(observed, callbacks=(), bound=12, **settings) -> RankSearch:
    return RankSearch(observed, bound, 3, np.random.default_rng(0), Phases(Run(callbacks)), **settings)


def paths(search: RankSearch) -> int:
    return sum(phase["phase"] == "path" for phase in search.phases.history)


@pytest.mark.parametrize(("pattern", "size", "share", "seed"), CASES)
def test_restarts_find_what_a_path_on_all_entries_does_not(pattern, size, share, seed):
    truth, observed = hard_patterns.planted(pattern, size, share, seed)
    search = search_of(observed)
    assert not search.exactness.certain(search.explore(FAST).factors)
    found = restarted(search)
    assert found.factors.width == 3
    assert search.exactness.certain(found.factors)
    assert hard_patterns.missed(found.factors.dense(), truth, observed, 3) < 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_found_out_by_the_first_restarts(seed):
    observed = hard_patterns.planted(hard_patterns.uniform, 80, 0.12, seed)[1]
    noisy = observed.values + 0.1 * np.random.default_rng(9).standard_normal(observed.n_observed)
    search = search_of(observed.with_values(noisy))
    assert restarted(search) is None
    assert paths(search) == tuning.RESTARTS.doubtful


def test_without_noise_all_of_them_are_tried(monkeypatch):
    """Of a match that is never certain."""
    search = search_of(hard_patterns.planted(hard_patterns.uniform, 60, 0.2, 0)[1])
    monkeypatch.setattr(search.exactness, "certain", lambda model: False)
    assert restarted(search) is None
    tried = [restarts._part(search, None, restart) is not None for restart in tuning.RESTARTS.restarts]
    assert paths(search) >= sum(tried) > tuning.RESTARTS.doubtful


@pytest.mark.parametrize("bound", [1, 2, 3, 5])
def test_a_bound_holds_in_restarts_too(bound):
    truth, observed = hard_patterns.planted(hard_patterns.uniform, 120, 0.0617, 0)
    found = restarted(search_of(observed, bound=bound))
    if bound < 3:
        assert found is None
    else:
        assert found.factors.width == 3
        assert hard_patterns.missed(found.factors.dense(), truth, observed, 3) < 1e-9


def test_levels_of_columns_are_found_in_parts_and_carried_on():
    truth, observed = hard_patterns.planted(hard_patterns.power_law, 80, 0.15, 1)
    levels = np.random.default_rng(1).uniform(-3, 3, 80)
    search = search_of(observed.with_values(observed.values + levels[observed.cols]), intercept=True)
    assert not search.exactness.certain(search.explore(FAST).factors)
    found = restarted(search)
    assert found.factors.width == 3
    assert hard_patterns.missed(found.factors.dense(), truth + levels, observed, 4) < 1e-9


def test_given_weights_count_in_parts():
    """Entries of another matrix in some rows, at next to no weight, keep none of the others from being found."""
    truth, observed = hard_patterns.planted(hard_patterns.uniform, 120, 0.0617, 0)
    weights = np.random.default_rng(0).uniform(0.5, 2, observed.n_observed)
    search = search_of(observed, weights=weights)
    found = restarted(search)
    assert hard_patterns.missed(found.factors.dense(), truth, observed, 3) < 1e-9
    np.testing.assert_array_equal(restarts._weights(search, 0.1) > 0, True)
    assert np.corrcoef(restarts._weights(search, 0.1), weights)[0, 1] > 0.9
    assert restarts._weights(search, 0.0) is None


def test_single_precision_is_enough():
    truth, observed = hard_patterns.planted(hard_patterns.uniform, 120, 0.0617, 0)
    found = restarted(search_of(observed.with_values(observed.values.astype(np.float32))))
    assert found.factors.U.dtype == np.float32
    assert hard_patterns.missed(found.factors.dense(), truth, observed, 3) < 1e-4


def test_same_seed_same_bits():
    _, observed = hard_patterns.planted(hard_patterns.uniform, 120, 0.0617, 1)
    one, other = (restarted(search_of(observed)).factors for _ in range(2))
    np.testing.assert_array_equal(one.U, other.U)
    np.testing.assert_array_equal(one.V, other.V)


# --- which parts


def test_parts_that_promise_nothing_are_left_out():
    """Windows of a uniform pattern with hardly a spare entry have none; of a power law they are denser."""
    thin = search_of(hard_patterns.planted(hard_patterns.uniform, 80, 0.09, 0)[1])
    assert restarts._part(thin, None, tuning.Restart(0.95, share=0.1)) is None
    corner = search_of(hard_patterns.planted(hard_patterns.power_law, 80, 0.12, 0)[1])
    rows, columns = restarts._part(corner, None, tuning.Restart(0.95, share=0.5))
    inside = np.count_nonzero(rows[corner.observations.rows] & columns[corner.observations.cols])
    freedom = corner.exactness.freedom(corner.carried, (int(rows.sum()), int(columns.sum())))
    assert inside / freedom > corner.exactness.oversampling(corner.carried)


def test_a_restart_without_a_share_is_on_the_densest_part_or_on_all():
    observed = hard_patterns.planted(hard_patterns.uniform, 60, 0.2, 0)[1]
    search = search_of(observed)
    part = cores.window(observed.pattern, 0.5)
    assert restarts._part(search, part, tuning.Restart(0.9)) is part
    assert all(side.all() for side in restarts._part(search, None, tuning.Restart(0.9)))


@pytest.mark.parametrize(("lost", "value", "said"), [(False, 1e-3, True), (False, 1e-6, False), (True, 0.0, True)])
def test_a_path_is_doubtful_by_what_it_leaves_or_by_its_width(lost, value, said):
    """A wrong turn leaves little; more directions than entries can tell follow noise."""
    search = search_of(hard_patterns.planted(hard_patterns.uniform, 60, 0.2, 0)[1])
    search.lost = lost
    reached = Phase("path", search.start(search.observations), Status.CONVERGED, 1, value)
    assert restarts._doubtful(search, reached) == said


# --- the end


def test_a_callback_ends_the_fit_in_a_restart():
    _, observed = hard_patterns.planted(hard_patterns.uniform, 120, 0.0617, 1)
    search = search_of(observed, callbacks=[lambda info: paths(search) == 1])  # in the second
    assert restarted(search) is None
    assert search.phases.ended
    assert search.phases.run.status is Status.STOPPED
    assert paths(search) == 2


def holes(seed):
    truth, observed = hard_patterns.planted(hard_patterns.uniform, 120, 0.0617, seed)
    table = np.full(truth.shape, np.nan)
    table[observed.rows, observed.cols] = observed.values
    return truth, observed, table


def fitted(table, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MatrixCompletion(**settings).fit(table)


@pytest.mark.parametrize("end", [True, KeyboardInterrupt])
def test_a_fit_that_is_ended_in_a_restart_keeps_what_it_has(end):
    _, _, table = holes(5)
    history = fitted(table).history_
    names = [phase["phase"] for phase in history]
    third = [i for i, name in enumerate(names) if name == "path"][2]  # after those on all entries and on a part
    before = sum(phase["n_steps"] for phase in history[:third])

    def ending(info):
        if info.n_steps < before + 3:
            return False
        if end is True:
            return True
        raise end

    model = fitted(table, callbacks=[ending])
    assert model.status_ is Status.STOPPED
    assert [phase["phase"] for phase in model.history_][: third + 1] == names[: third + 1]
    assert np.isfinite(model.complete()).all()


@pytest.mark.parametrize("seed", [0, 3, 5])
def test_told_the_exact_rank_a_fit_is_no_worse_than_told_nothing(seed):
    truth, observed, table = holes(seed)
    for rank in (None, 3, 4):
        model = fitted(table, rank=rank)
        assert model.rank_ == 3
        assert hard_patterns.missed(model.factors_.dense(), truth, observed, 3) < 1e-9


@pytest.mark.parametrize("bound", [1, 2])
def test_a_fit_keeps_a_bound_below_the_rank(bound):
    assert fitted(holes(0)[2], rank=bound).rank_ <= bound


def hostile():
    """Tables on which restarts failed once, or that have next to nothing to hold on to."""
    rng = np.random.default_rng(167)
    low = rng.standard_normal((23, 15)) * 3
    low[:, ::2] = 2.0
    yield "constant columns", np.where(rng.random(low.shape) < 0.3, low, np.nan)
    levels = rng.standard_normal((16, 2)) @ rng.standard_normal((2, 13)) + 100 * rng.standard_normal(13)
    yield "levels", np.where(rng.random(levels.shape) < 0.8, levels, np.nan)
    yield "single precision", np.where(rng.random(levels.shape) < 0.8, 1e-5 * levels, np.nan).astype(np.float32)
    zeros = np.full((3, 10), np.nan)
    zeros[0, [0, 3, 4, 5, 7]] = zeros[1, [1, 2, 3, 4, 8, 9]] = zeros[2, 1:9] = 0
    zeros[1, 0], zeros[2, 9] = 1, np.nan
    yield "zeros and a one", zeros
    yield "two by two", np.array([[1.0, np.nan], [2.0, 3.0]])
    yield "one entry", np.array([[np.nan, 3.0], [np.nan, np.nan]])
    yield "all equal", np.where(rng.random((12, 9)) < 0.4, 7.0, np.nan)
    yield "zeros and ones", np.where(rng.random((20, 15)) < 0.4, (rng.random((20, 15)) < 0.5) * 1.0, np.nan)
    yield "huge", np.where(rng.random((20, 15)) < 0.4, 1e30 * rng.standard_normal((20, 15)), np.nan)
    yield "tiny", np.where(rng.random((20, 15)) < 0.4, 1e-30 * rng.standard_normal((20, 15)), np.nan)
    empty = np.where(rng.random((20, 15)) < 0.4, rng.standard_normal((20, 15)), np.nan)
    empty[4] = empty[:, 7] = np.nan
    yield "empty row and column", empty
    yield (
        "repeated rows",
        np.repeat(np.where(rng.random((6, 15)) < 0.5, rng.standard_normal((6, 15)), np.nan), 4, axis=0),
    )


HOSTILE = dict(hostile())


@pytest.mark.parametrize("table", HOSTILE.values(), ids=HOSTILE)
def test_hostile_tables_have_an_answer(table):
    """No worse for observed entries than zeros, and of their size where nothing was."""
    model = fitted(table)
    answer = model.complete()
    assert np.isfinite(answer).all()
    seen = np.isfinite(table)
    size = np.abs(table[seen]).max()
    assert np.linalg.norm((answer[seen] - table[seen]) / size) <= np.linalg.norm(table[seen] / size)
    assert np.abs(answer).max() <= 10 * size


def test_zeros_that_only_a_single_one_interrupts():
    """Where the start of a path is zero (LinAlgError once)."""
    n = np.nan
    table = np.array([[0, n, n, 0, 0, 0, n, 0, n, n], [1, 0, 0, 0, 0, n, n, n, 0, 0], [n, 0, 0, 0, 0, 0, 0, 0, 0, n]])
    answer = fitted(table).complete()
    assert observe(table).n_observed == 20
    assert (abs(answer[:, 1:]) < 0.2).all()


@pytest.mark.parametrize("full", [4, 5])
@pytest.mark.parametrize("seed", range(3))
def test_an_arrow_is_told_by_its_full_rows_and_columns(full, seed):
    """Every other row has as few entries as there are full columns, which is more than the rank."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((60, 3)) @ rng.standard_normal((3, 60))
    rows, cols = np.indices(truth.shape)
    model = MatrixCompletion().fit(np.where((rows < full) | (cols < full), truth, np.nan))
    assert model.rank_ == 3
    np.testing.assert_allclose(model.complete(), truth, atol=1e-9)


def test_blocks_that_hang_together_by_too_little_are_told_of():
    """Exact on all entries, and wrong between the blocks: it is not called converged, and nothing there is known."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((60, 3)) @ rng.standard_normal((3, 60))
    rows, cols = np.indices(truth.shape)
    observed = ((rows < 24) & (cols < 32)) | ((rows >= 22) & (cols >= 30))
    with pytest.warns(UserWarning, match="predictions there are guesses"):
        model = MatrixCompletion().fit(np.where(observed, truth, np.nan))
    assert model.status_ is Status.UNDETERMINED
    known = model.identifiability_.known(np.arange(60)[:, None], np.arange(60))
    np.testing.assert_allclose(model.complete()[known], truth[known], atol=1e-9)
    assert not known[:22, 32:].any()


def test_a_column_with_a_level_needs_an_entry_more():
    rng = np.random.default_rng(1)
    truth = rng.standard_normal((50, 2)) @ rng.standard_normal((2, 40)) + 50 * rng.standard_normal(40)
    observed = rng.random(truth.shape) < 0.5
    observed[:, 7] = np.arange(50) < 2
    with pytest.warns(UserWarning, match="1 of 40 columns have too few entries"):
        model = MatrixCompletion().fit(np.where(observed, truth, np.nan))
    assert (model.rank_, model.scale_) == (2, "columns")
    assert model.identifiability_.column_blocks[7] == -1
