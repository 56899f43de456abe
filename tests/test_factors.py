"""The container against the dense matrix that it stands for."""

from itertools import pairwise

import numpy as np
import pytest

from dmc import _extensions, observe
from dmc.factors import Factors
from dmc.pattern import SparseIndex

SHAPE = (7, 5)
BIASES = [(), ("row_bias",), ("column_bias",), ("row_bias", "column_bias")]


def make(widths=(3, 4, 2), biases=(), dtype=np.float64, shape=SHAPE, seed=0) -> Factors:
    """Factors whose inner dimensions, from U to V, are `widths`."""
    rng = np.random.default_rng(seed)
    m, n = shape

    def draw(*size):
        return rng.standard_normal(size).astype(dtype)

    return Factors(
        draw(m, widths[0]),
        [draw(a, b) for a, b in pairwise(widths)],
        draw(n, widths[-1]),
        draw(m) if "row_bias" in biases else None,
        draw(n) if "column_bias" in biases else None,
    )


def matrix(f: Factors) -> np.ndarray:
    """The end-to-end matrix without biases, multiplied out in the order of the formula."""
    X = np.asarray(f.U)
    for W in f.cores:
        X = X @ np.asarray(W)
    return X @ np.asarray(f.V).T


def dense(f: Factors) -> np.ndarray:
    rows = 0 if f.row_bias is None else np.asarray(f.row_bias)[:, None]
    columns = 0 if f.column_bias is None else np.asarray(f.column_bias)[None, :]
    return matrix(f) + rows + columns


WIDTHS = [(3,), (3, 3), (3, 4, 2), (2, 5, 6, 3), (9, 8)]  # the last wider than the matrix
every_form = pytest.mark.parametrize(("widths", "biases"), [(w, b) for w in WIDTHS for b in BIASES])


@every_form
def test_dense_and_at(widths, biases):
    f = make(widths, biases)
    np.testing.assert_allclose(f.dense(), dense(f), rtol=1e-12, atol=1e-12)
    rows, cols = [0, 6, 6, 3], [4, 0, 0, 2]
    np.testing.assert_allclose(f.at(rows, cols), dense(f)[rows, cols], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(f.left @ f.right.T, dense(f), rtol=1e-12, atol=1e-12)


def test_at_joins_its_chunks(monkeypatch):
    f = make()
    rows, cols = np.divmod(np.arange(35), 5)
    monkeypatch.setattr("dmc.factors.CHUNK", 8)
    np.testing.assert_allclose(f.at(rows, cols), matrix(f).ravel(), rtol=1e-12)


def test_at_takes_one_pair_and_none():
    f = make()
    assert f.at(3, 2) == pytest.approx(matrix(f)[3, 2])
    assert f.at([], []).shape == (0,)


@pytest.mark.parametrize(
    ("rows", "cols", "said"),
    [
        ([7], [0], r"row index 7 is out of range for 7 rows"),
        ([0], [-1], "column index -1 is out of range for 5 columns"),
        ([0, 1], [0], "the arrays differ in length: rows has 2, cols has 1"),
    ],
)
def test_at_refuses(rows, cols, said):
    with pytest.raises(ValueError, match=said):
        make().at(rows, cols)


@pytest.fixture(params=["as installed", "no compiled core"])
def with_or_without_core(request, monkeypatch):
    if request.param != "as installed":
        monkeypatch.setattr(_extensions, "core", None)
        monkeypatch.setattr("dmc.factors.SCORES", 8)  # several chunks


@pytest.mark.usefixtures("with_or_without_core")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every_form
def test_top_n_and_at_are_those_of_the_dense_matrix(widths, biases, dtype):
    f = make(widths, biases, dtype)
    rows, mask = np.array([6, 0, 3, 3]), np.random.default_rng(0).random(SHAPE) < 0.4
    mask[3] = True
    scores = np.where(mask, np.nan, dense(f))[rows]
    wanted = np.argsort(-scores, axis=1, kind="stable")
    best = np.take_along_axis(scores, wanted, axis=1)
    wanted[np.isnan(best)] = -1
    columns, found = f.top_n(rows, 5, exclude=observe(dense(f), mask).pattern.by_row)
    assert (columns.dtype, found.dtype) == (np.int64, dtype)
    np.testing.assert_array_equal(columns, wanted)
    np.testing.assert_allclose(found, best, rtol=1e-4, atol=1e-4)
    columns, found = f.top_n(rows, 7, among=[4, 1, 1])
    assert columns.shape == (4, 2)  # not 7: no more columns count
    assert (np.sort(columns) == [1, 4]).all()
    np.testing.assert_allclose(found[:, 0], dense(f)[rows][:, [1, 4]].max(axis=1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(f.at([1, 6], [4, 0]), dense(f)[[1, 6], [4, 0]], rtol=1e-4, atol=1e-4)
    assert f.at([1], [4]).dtype == dtype


@pytest.mark.usefixtures("with_or_without_core")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_top_n_of_ties_and_of_what_is_not_finite(bad):
    """Of equal columns the lowest; NaN nowhere."""
    V = np.array([[1.0], [2], [2], [bad], [2], [-np.inf]])
    f = Factors(np.array([[1.0], [0], [-1]]), (), V)
    columns, scores = f.top_n([0, 1, 2], 6)
    rising, falling = {
        True: ([1, 2, 4, 0, 5, -1], [5, 0, 1, 2, 4, -1]),
        False: ([3, 1, 2, 4, 0, 5], [5, 0, 1, 2, 4, 3]),
    }[np.isnan(bad)]
    np.testing.assert_array_equal(columns, [rising, [0, 1, 2, 4, -1, -1], falling])
    np.testing.assert_array_equal(np.isnan(scores), columns < 0)
    np.testing.assert_array_equal(f.top_n([0, 1, 2], 3)[0], columns[:, :3])


@pytest.mark.usefixtures("with_or_without_core")
def test_top_n_of_more_than_there_are_takes_what_there_is():
    columns, scores = make().top_n([0, 1], 10**30)
    assert columns.shape == scores.shape == (2, 5)
    assert [columns.tolist(), scores.tolist()] == [a.tolist() for a in make().top_n([0, 1], 5)]
    assert make().top_n([0], 10**30, among=[])[0].shape == (1, 0)


@pytest.mark.usefixtures("with_or_without_core")
def test_top_n_of_no_rows():
    columns, scores = make().top_n([], 3)
    assert columns.shape == scores.shape == (0, 3)


@pytest.mark.usefixtures("with_or_without_core")
@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"rows": [7]}, ValueError, "row index 7 is out of range for 7 rows"),
        ({"n": 0}, ValueError, "n is 0; it has to be at least 1"),
        ({"n": 2.0}, TypeError, "n is 2.0; give a whole number"),
        ({"among": [5]}, ValueError, "column index 5 is out of range for 5 columns"),
        ({"n": -(10**30)}, ValueError, "has to be at least 1"),
        (
            {"exclude": SparseIndex(np.zeros(7), np.zeros(0, int))},
            ValueError,
            r"has shape \(7,\); give \(8,\), one more",
        ),
        (
            {"exclude": SparseIndex(np.arange(8), np.full(7, 5))},
            ValueError,
            "column (index )?5 .*is out of range for 5 columns",
        ),
        ({"exclude": SparseIndex(np.arange(8), np.full(7, 0.5))}, ValueError, "the indices of exclude hold 0.5"),
    ],
)
def test_top_n_refuses(given, error, said):
    with pytest.raises(error, match=said):
        make().top_n(**{"rows": [0], "n": 1, **given})


@pytest.mark.parametrize("biases", BIASES)
def test_top_n_of_tensors_that_are_being_trained(biases):
    torch = pytest.importorskip("torch")
    f = make(biases=biases)
    columns, scores = f.map(lambda a: torch.from_numpy(a).requires_grad_()).top_n([5, 1], 3)
    wanted = f.top_n([5, 1], 3)
    np.testing.assert_array_equal(columns, wanted[0])
    np.testing.assert_allclose(scores, wanted[1])


def test_top_n_of_half_precision_is_found_in_single():
    f = make(dtype=np.float16)
    assert f.top_n([0], 2)[1].dtype == np.float32


@every_form
def test_svd_leaves_biases_out_and_forms_no_dense_matrix(widths, biases):
    f = make(widths, biases)
    P, s, Q = f.svd()
    k = min(*widths, *SHAPE) if len(widths) == 1 else s.shape[0]
    assert P.shape == (7, k)
    assert Q.shape == (5, k)
    np.testing.assert_allclose((P * s) @ Q.T, matrix(f), atol=1e-12)
    np.testing.assert_allclose(P.T @ P, np.eye(k), atol=1e-12)
    np.testing.assert_allclose(Q.T @ Q, np.eye(k), atol=1e-12)
    oracle = np.linalg.svd(matrix(f), compute_uv=False)[:k]
    np.testing.assert_allclose(s, oracle, atol=1e-12)
    np.testing.assert_allclose(f.singular_values(), oracle, atol=1e-12)


def test_rank_counts_what_exceeds_the_tolerance():
    rng = np.random.default_rng(0)
    P, Q = (np.linalg.qr(rng.standard_normal((lines, 5)))[0] for lines in (9, 8))
    f = Factors(P, (np.diag([10.0, 1, 0.01, 1e-9, 0]),), Q)
    assert f.rank() == 4
    assert f.rank(1e-6) == 3
    assert f.rank(0.05) == 2
    assert f.rank(1e-3 * (1 + 1e-9)) == 2  # 0.01 is a thousandth of the largest, not a hundredth
    assert f.rank(0.99) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("widths", WIDTHS)
def test_rank_is_that_of_the_dense_matrix(widths, dtype):
    f = make(widths, dtype=dtype)
    assert f.rank() == np.linalg.matrix_rank(matrix(f))


def test_rank_of_zero_is_zero():
    f = make()
    assert Factors(f.U * 0, f.cores, f.V).rank() == 0


def test_rank_needs_a_number():
    with pytest.raises(ValueError, match="tol is -1"):
        make().rank(-1.0)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("biases", BIASES)
def test_truncate_is_the_nearest_matrix_of_that_rank(rank, biases):
    f = make((4, 3, 6), biases)
    cut = f.truncate(rank)
    P, s, Qt = np.linalg.svd(matrix(f), full_matrices=False)
    np.testing.assert_allclose(matrix(cut), P[:, :rank] * s[:rank] @ Qt[:rank], atol=1e-12)
    assert (cut.width, cut.depth) == (rank, 0)
    np.testing.assert_allclose(cut.U.T @ cut.U, cut.V.T @ cut.V, atol=1e-12)
    assert cut.row_bias is f.row_bias
    assert cut.column_bias is f.column_bias


@pytest.mark.parametrize("rank", [0, 4])
def test_truncate_refuses_ranks_that_are_not_there(rank):
    with pytest.raises(ValueError, match=rf"rank is {rank}; it has to be from 1 to 3: the factors are 3 wide"):
        make((3,)).truncate(rank)


@every_form
def test_pull_back_is_the_gradient(widths, biases):
    """Against autograd, of a function that is linear in `left` and `right`: there pull_back is all there is."""
    torch = pytest.importorskip("torch")
    f = make(widths, biases)
    rng = np.random.default_rng(1)
    d_left, d_right = rng.standard_normal(f.left.shape), rng.standard_normal(f.right.shape)
    leaves = f.map(lambda a: torch.from_numpy(a).requires_grad_())
    side = torch.from_numpy(d_left), torch.from_numpy(d_right)
    ((leaves.left * side[0]).sum() + (leaves.right * side[1]).sum()).backward()
    gradient = f.pull_back(d_left, d_right)
    assert len(gradient.arrays) == len(leaves.arrays)
    for got, leaf in zip(gradient.arrays, leaves.arrays, strict=True):
        np.testing.assert_allclose(got, leaf.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("biases", BIASES)
def test_map_goes_over_every_array_of_every_form(biases):
    f, g = make(biases=biases), make(biases=biases, seed=1)
    total = f.map(lambda a, b: a + 2 * b, g)
    for got, a, b in zip(total.arrays, f.arrays, g.arrays, strict=True):
        np.testing.assert_array_equal(got, a + 2 * b)


def test_map_refuses_another_depth():
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        make((3, 3)).map(np.add, make((3,)))


@pytest.mark.parametrize("biases", BIASES)
def test_scaled_is_the_matrix_times_a_number(biases):
    f = make(biases=biases, dtype=np.float32)
    scaled = f.scaled(np.float64(-2.5))
    np.testing.assert_allclose(scaled.dense(), -2.5 * dense(f), rtol=1e-5)
    assert {a.dtype for a in scaled.arrays} == {np.dtype(np.float32)}


def test_number_of_parameters():
    assert make((3, 4, 2)).n_parameters == 7 * 3 + 3 * 4 + 4 * 2 + 5 * 2
    assert make((3,), ("row_bias", "column_bias")).n_parameters == 7 * 3 + 5 * 3 + 7 + 5


def test_compression_of_the_paper():
    """d = 1000, r̂ = 5, L = 3: 3,000,000 parameters against 20,300 (Yaras et al.)."""
    full = Factors(
        *(np.broadcast_to(0.0, (1000, 1000)) for _ in "U"), [np.broadcast_to(0.0, (1000, 1000))], np.zeros((1000, 1000))
    )
    small = Factors(np.zeros((1000, 10)), [np.zeros((10, 10))] * 3, np.zeros((1000, 10)))
    assert (full.n_parameters, small.n_parameters) == (3_000_000, 20_300)


def test_width_is_the_narrowest_place():
    assert [make(widths).width for widths in WIDTHS] == [3, 3, 2, 2, 8]


def test_core_without_cores_is_the_identity_in_the_same_dtype():
    core = make((3,), dtype=np.float32).core
    np.testing.assert_array_equal(core, np.eye(3))
    assert core.dtype == np.float32


def test_repr():
    assert repr(make((3, 2), ("row_bias",))) == "Factors(7×5, width 2, 1 core, biases)"
    assert repr(make((3,))) == "Factors(7×5, width 3, 0 cores)"


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ((np.ones(3), (), np.ones((2, 1))), r"U has shape \(3,\); give a matrix"),
        ((np.ones((3, 2)), (np.ones(2),), np.ones((2, 2))), r"cores\[0\] has shape \(2,\); give a matrix"),
        ((np.ones((3, 2)), (), np.ones((4, 3))), "U has 2 columns and V 3; make them equal"),
        ((np.ones((3, 2)), (np.eye(3),), np.ones((4, 3))), r"U has 2 columns and cores\[0\] 3 rows"),
        ((np.ones((3, 2)), (np.eye(2), np.eye(3)), np.ones((4, 3))), r"cores\[0\] has 2 columns and cores\[1\] 3 rows"),
        ((np.ones((3, 2)), (np.ones((2, 5)),), np.ones((4, 2))), r"cores\[0\] has 5 columns and V 2"),
        ((np.ones((3, 2)), (), np.ones((4, 2)), np.ones(4)), r"row_bias has shape \(4,\); give \(3,\)"),
        ((np.ones((3, 2)), (), np.ones((4, 2)), None, np.ones((4, 1))), r"column_bias has shape \(4, 1\); give \(4,\)"),
    ],
)
def test_shapes_that_do_not_fit(arrays, said):
    with pytest.raises(ValueError, match=said):
        Factors(*arrays)


def test_factors_of_no_width_are_the_biases_alone():
    f = make((0,), ("row_bias", "column_bias"))
    np.testing.assert_allclose(f.dense(), dense(f))
    np.testing.assert_allclose(f.at([6], [4]), dense(f)[6, 4])
    assert f.singular_values().shape == (0,)
    assert f.rank() == 0
    assert f.n_parameters == 12


def test_a_dense_matrix_beyond_memory_is_refused_in_words():
    lines = 1 << 24
    wide = Factors(np.broadcast_to(1.0, (lines, 1)), (), np.broadcast_to(1.0, (lines, 1)))
    said = r"the dense 16777216×16777216 matrix would take 2,097,152 GiB .*; ask for the entries .* at\(rows, cols\)"
    with pytest.raises(MemoryError, match=said):
        wide.dense()
    assert wide.at([lines - 1], [lines - 1]) == 1


@pytest.mark.parametrize("biases", BIASES)
def test_torch_tensors_give_the_same(biases):
    torch = pytest.importorskip("torch")
    f = make(biases=biases)
    t = f.map(torch.from_numpy)
    np.testing.assert_allclose(t.dense().numpy(), dense(f), atol=1e-12)
    np.testing.assert_allclose(t.at([0, 6], [4, 0]).numpy(), dense(f)[[0, 6], [4, 0]], atol=1e-12)
    np.testing.assert_allclose(t.singular_values().numpy(), f.singular_values(), atol=1e-12)
    np.testing.assert_allclose(matrix(t.truncate(1)), matrix(f.truncate(1)), atol=1e-12)
    assert t.rank() == f.rank()
    assert t.scaled(2).U.dtype == torch.float64


def test_rank_of_tensors_that_are_being_trained():
    torch = pytest.importorskip("torch")
    assert make().map(lambda a: torch.from_numpy(a).requires_grad_()).rank() == 2
