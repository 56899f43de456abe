"""What is handed out cannot be written to, by whatever way; deliberate damage is refused or does no harm."""

import contextlib
import copy
import pickle

import numpy as np
import pytest

import dmc
from dmc import _extensions, kernels
from dmc.pattern import Pattern, SparseIndex, read_only

SHAPE = (30, 20)


@pytest.fixture
def entries():
    """Sorted, of the core's own dtype and whole: none has to be copied on its way in."""
    rng = np.random.default_rng(0)
    rows, cols = np.nonzero(rng.random(SHAPE) < 0.5)
    return rows.astype(np.int32), cols.astype(np.int32), rng.standard_normal(len(rows))


@pytest.fixture
def factors():
    rng = np.random.default_rng(1)
    return dmc.Factors(rng.standard_normal((30, 3)), (), rng.standard_normal((20, 3)))


@pytest.fixture(scope="module")
def recommender():
    at = np.arange(40)
    model = dmc.Recommender(rank=2).fit({"user": at % 8, "item": at // 8, "rating": at % 5 + 1.0})
    model.recommend()
    return model


@pytest.fixture(scope="module")
def completion():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((12, 1)) @ rng.standard_normal((1, 9))
    X[::3, 2] = np.nan
    return dmc.MatrixCompletion(rank=1).fit(X)


def value(observations, factors):
    found, gradient = dmc.MaskedLeastSquares(observations).value_and_grad(factors)
    return found, gradient.U.tolist(), gradient.V.tolist()


def owners(array):
    """The array and all that it is a view of."""
    while isinstance(array, np.ndarray):
        yield array
        array = array.base


def assert_read_only(array):
    for owner in owners(array):
        for write in (
            lambda a: a.__iadd__(1),
            lambda a: a.setflags(write=True),
            lambda a: np.copyto(a, 0),
            lambda a: memoryview(a).cast("B").__setitem__(0, 1),
            lambda a: np.lib.stride_tricks.as_strided(a, writeable=True).__setitem__(0, 1),
        ):
            with pytest.raises((ValueError, TypeError, BufferError)):
                write(owner)


HANDED_OUT = {
    "observations": lambda o: (o.values, o.weights, o.rows, o.cols, *o.pattern.by_row, *o.pattern.by_column),
    "order of columns": lambda o: (o.pattern.column_order,),
    "SciPy's form": lambda o: (o.to_scipy().data,),
    "problem": lambda o: (*(p := dmc.MaskedLeastSquares(o, l2=(np.ones(30), np.ones(20)))).target, *p.weights, *p.l2),
    "unpickled": lambda o: (lambda c: (c.values, *c.pattern.by_row))(pickle.loads(pickle.dumps(o))),
    "copied": lambda o: (lambda c: (c.values, c.weights, *c.pattern.by_row))(copy.deepcopy(o)),
    "other values": lambda o: (o.with_values(np.ones(o.n_observed)).values,),
}


@pytest.mark.parametrize("what", HANDED_OUT)
def test_observations_cannot_be_written_to(what, entries):
    observations = dmc.Observations.from_entries(*entries, SHAPE, weights=np.ones(len(entries[0])))
    for array in HANDED_OUT[what](observations):
        assert_read_only(array)


FITTED = {
    "factors": lambda r: (r.user_factors, r.item_factors, *r.cold_start_factors_, r.factors_.U, r.factors_.row_bias),
    "lists": lambda r: (r.ranking_.U, r.ranking_.V),
    "ratings": lambda r: (*r.seen_, r.observations_.values, r.observations_.cols),
    "ids": lambda r: (r.users_.ids, r.items_.ids),
    "unpickled": lambda r: (lambda c: (c.user_factors, c.ranking_.U, *c.seen_, c.users_.ids))(copy.deepcopy(r)),
}


@pytest.mark.parametrize("what", FITTED)
def test_a_fitted_recommender_cannot_be_written_to(what, recommender):
    before = recommender.recommend(n=3)
    for array in FITTED[what](recommender):
        assert_read_only(array)
    recommender.history_.clear()
    answers = recommender.recommend(n=3)
    answers["prediction"][:] = 0  # the caller's own
    assert all(np.array_equal(before[name], recommender.recommend(n=3)[name]) for name in before)


def test_a_loaded_recommender_cannot_be_written_to(recommender, tmp_path):
    recommender.save(tmp_path / "m")
    for mmap in (False, True):
        loaded = dmc.Recommender.load(tmp_path / "m", mmap=mmap)
        for array in (loaded.user_factors, loaded.ranking_.V, *loaded.seen_, loaded.observations_.values):
            with pytest.raises(ValueError, match="read-only"):
                array[:1] = 0
            with pytest.raises(ValueError, match="WRITEABLE"):
                array.flags.writeable = True


def test_a_completion_cannot_be_written_to(completion):
    blocks = completion.identifiability_
    for array in (completion.factors_.U, completion.factors_.V, blocks.row_blocks, blocks.column_blocks):
        assert_read_only(array)


def test_what_was_given_is_not_shared(entries, factors):
    rows, cols, values = entries
    weights, X, mask = np.ones(len(rows)), np.zeros(SHAPE), np.zeros(SHAPE, bool)
    X[rows, cols], mask[rows, cols] = values, True
    made = {
        "from_entries": dmc.Observations.from_entries(rows, cols, values, SHAPE, weights=weights),
        "observe": dmc.observe(X, mask),
        "with_values": dmc.Observations.from_entries(rows, cols, values, SHAPE).with_values(values),
        "by hand": dmc.Observations(dmc.observe(X, mask).pattern, values, weights),
    }
    before = {name: value(observations, factors) for name, observations in made.items()}
    for given in (rows, cols):
        given += 10**7
    values[:], weights[:], X[:], mask[:] = np.nan, -1, np.nan, False
    assert {name: value(observations, factors) for name, observations in made.items()} == before


@pytest.mark.skipif(_extensions.core is None, reason="the compiled core is not here")
@pytest.mark.parametrize("through", ["the array", "a view taken before", "the array behind a read-only view"])
def test_the_core_keeps_what_it_has_checked(through):
    pointers, indices = np.array([0, 2, 3]), np.array([0, 4, 1], np.int32)
    given, view = indices, indices[:]
    if through == "the array behind a read-only view":
        given = indices[:]
        given.flags.writeable = False
    made = _extensions.core.Entries(pointers, given, 5)
    (view if through == "a view taken before" else indices)[:] += 10**7
    pointers[1:] = 10**9
    left, right = np.ones((2, 1)), np.arange(5.0)[:, None]
    assert _extensions.core.masked_product(made, left, right).tolist() == [0, 4, 1]


def bad_indices(pattern):
    return SparseIndex(pattern.by_row.indptr, pattern.by_row.indices + np.int32(10**7))


def falling(pattern):
    return SparseIndex(pattern.by_row.indptr[::-1].copy(), pattern.by_row.indices)


def short(pattern):
    return SparseIndex(pattern.by_row.indptr[:3], pattern.by_row.indices)


@pytest.mark.parametrize("kernel", ["native", "numba", "reference"])
@pytest.mark.parametrize("damage", [bad_indices, falling, short])
@pytest.mark.parametrize("used_before", [False, True])
def test_a_pattern_that_is_replaced_by_force(kernel, damage, used_before, entries, factors):
    """Before its first use it is refused; later the answer is the old one, or it is refused."""
    if kernel not in {one.name for one in kernels.report() if one.available}:
        pytest.skip(f"there is no {kernel} kernel here")
    observations = dmc.Observations.from_entries(*entries, SHAPE)
    problem = dmc.MaskedLeastSquares(observations, kernel=kernel)
    before = problem.value_and_grad(factors)[0] if used_before else None
    vars(observations.pattern)["by_row"] = damage(observations.pattern)
    try:
        found = problem.value_and_grad(factors)[0]
    except (ValueError, IndexError):
        return
    assert used_before
    assert found == before


@pytest.mark.parametrize("damage", [bad_indices, falling, short])
def test_a_pattern_of_nonsense_is_not_unpickled(damage, entries):
    observations = dmc.Observations.from_entries(*entries, SHAPE)
    state = observations.pattern.__getstate__() | {"by_row": damage(observations.pattern)}
    with pytest.raises(ValueError, match="a pattern has"):
        Pattern.__new__(Pattern).__setstate__(state)
    state = vars(observations) | {"values": np.ones(3)}
    with pytest.raises(ValueError, match="values has shape"):
        dmc.Observations.__new__(dmc.Observations).__setstate__(state)


@pytest.mark.parametrize("name", ["left", "right", "seen", "users"])
def test_a_recommender_with_a_foreign_state_raises(name, recommender):
    wrong = {
        "left": np.zeros((2, 1), np.float32),
        "right": np.zeros((0, 3), np.float32),
        "seen": SparseIndex(np.array([0, 10**9]), np.array([10**7], np.int32)),
        "users": None,
    }
    damaged = copy.deepcopy(recommender)
    vars(damaged._state)[name] = wrong[name]
    vars(damaged._state).pop("rated", None)
    with pytest.raises((ValueError, TypeError, IndexError, AttributeError)):
        damaged.predict({"user": [1, 2], "item": [3, 4]}), damaged.recommend(n=3)


def test_a_tensor_that_shares_its_memory_does_no_harm(entries, factors):
    torch = pytest.importorskip("torch")
    observations = dmc.Observations.from_entries(*entries, SHAPE).to("cpu")
    on_tensors = factors.map(torch.from_numpy)
    problem = dmc.MaskedLeastSquares(observations)
    before = float(problem.value_and_grad(on_tensors)[0])
    observations.cols.numpy()[:] += 10**7  # behind torch's back, which counts writes
    with contextlib.suppress(IndexError, ValueError, RuntimeError):  # torch itself looks at its indices
        assert float(problem.value_and_grad(on_tensors)[0]) == pytest.approx(before)


def test_what_lies_where_nobody_can_write_is_not_copied_again():
    once = read_only(np.arange(6))
    for view in (once, once[2:], once.reshape(2, 3).T):
        assert read_only(view) is view
    text = read_only(np.array(["ann", "bob"]))
    assert text.tolist() == ["ann", "bob"]
    assert read_only(np.zeros((0, 3))).shape == (0, 3)
    transposed = np.arange(6.0).reshape(2, 3).T
    assert read_only(transposed).tolist() == transposed.tolist()
