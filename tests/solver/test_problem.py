"""Value and gradient against finite differences and autograd; the scales against dense matrices."""

from dataclasses import replace

import numpy as np
import pytest

from dmc import kernels
from dmc.factors import Factors
from dmc.inputs import observe
from dmc.observations import Observations
from dmc.pattern import COLUMNS, ROWS
from dmc.solver.problem import MaskedLeastSquares

SHAPE = (7, 5)
DEPTHS = range(5)
BIASES = {"none": (), "rows": ("row",), "columns": ("column",), "both": ("row", "column")}
PENALTIES = {
    "none": 0.0,
    "scalar": 0.3,
    "per line": (np.linspace(0, 2, SHAPE[0]), np.linspace(1, 0, SHAPE[1])),
}
every_form = pytest.mark.parametrize(
    ("depth", "biases", "l2", "weighted"),
    [(d, b, p, w) for d in DEPTHS for b in BIASES for p in PENALTIES for w in (False, True)],
)


def observations(dtype=np.float64, shape=SHAPE, seed=0) -> Observations:
    rng = np.random.default_rng(seed)
    return observe(rng.standard_normal(shape).astype(dtype), rng.random(shape) < 0.6)


def weights_of(observed: Observations) -> np.ndarray:
    return np.random.default_rng(1).random(observed.n_observed)


def factors(depth=2, biases=(), shape=SHAPE, dtype=np.float64, k=3) -> Factors:
    rng = np.random.default_rng(depth)
    m, n = shape

    def draw(*size):
        return rng.standard_normal(size).astype(dtype)

    return Factors(
        draw(m, k),
        [draw(k, k) for _ in range(depth)],
        draw(n, k),
        draw(m) if "row" in biases else None,
        draw(n) if "column" in biases else None,
    )


def make(weighted, l2) -> MaskedLeastSquares:
    observed = observations()
    return MaskedLeastSquares(observed, weights_of(observed) if weighted else None, PENALTIES[l2])


def with_entry(at: Factors, array: np.ndarray, position: tuple, change: float) -> Factors:
    moved = array.copy()
    moved[position] += change
    return at.map(lambda a: moved if a is array else a)


@every_form
def test_gradient_equals_finite_differences(depth, biases, l2, weighted):
    problem, at = make(weighted, l2), factors(depth, BIASES[biases])
    _, gradient = problem.value_and_grad(at)
    h = 1e-5
    got, wanted = [], []
    for array, g in zip(at.arrays, gradient.arrays, strict=True):
        for position in np.ndindex(g.shape):
            up, down = (problem.value(with_entry(at, array, position, change)) for change in (h, -h))
            got.append(g[position])
            wanted.append((up - down) / (2 * h))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


def by_autograd(at: Factors, observed: Observations, weights, row_l2, column_l2):
    """Value and gradient, from the docstring's formula in dense tensors, none of it ours."""
    torch = pytest.importorskip("torch")
    U, *cores, V = (torch.tensor(a, requires_grad=True) for a in (at.U, *at.cores, at.V))
    b, c = (None if a is None else torch.tensor(a, requires_grad=True) for a in (at.row_bias, at.column_bias))
    left = U
    for W in cores:
        left = left @ W
    X = left @ V.T
    row_size, column_size = (left**2).sum(1), (V**2).sum(1)
    if b is not None:
        X, row_size = X + b[:, None], row_size + b**2
    if c is not None:
        X, column_size = X + c[None, :], column_size + c**2
    residual = X[observed.rows.copy(), observed.cols.copy()] - torch.tensor(observed.values)
    weights, row_l2, column_l2 = (torch.as_tensor(a, dtype=torch.float64) for a in (weights, row_l2, column_l2))
    value = ((weights * residual**2).sum() + (row_l2 * row_size).sum() + (column_l2 * column_size).sum()) / 2
    value.backward()
    leaves = [a for a in (U, *cores, V, b, c) if a is not None]
    return value.item(), [leaf.grad.numpy() for leaf in leaves]


@every_form
def test_value_and_gradient_equal_autograd(depth, biases, l2, weighted):
    problem, at, observed = make(weighted, l2), factors(depth, BIASES[biases]), observations()
    penalty = PENALTIES[l2] if isinstance(PENALTIES[l2], tuple) else (PENALTIES[l2],) * 2
    weights = weights_of(observed) if weighted else 1.0
    value, gradient = problem.value_and_grad(at)
    wanted, gradients = by_autograd(at, observed, weights, *penalty)
    assert value == pytest.approx(wanted, rel=1e-12)
    assert problem.value(at) == pytest.approx(wanted, rel=1e-12)
    for g, w in zip(gradient.arrays, gradients, strict=True):
        np.testing.assert_allclose(g, w, rtol=0, atol=1e-12 * np.abs(w).max())


@pytest.mark.parametrize("name", [entry.name for entry in kernels.report() if entry.available])
def test_any_kernel_gives_the_same(name):
    observed = observations()
    found = [
        MaskedLeastSquares(observed, weights_of(observed), 0.1, kernel=kernel).value_and_grad(factors(2, ("row",)))
        for kernel in (name, "reference")
    ]
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    for a, b in zip(found[0][1].arrays, found[1][1].arrays, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", [entry.name for entry in kernels.report() if entry.available])
def test_one_array_may_be_both_biases(name):
    problem = MaskedLeastSquares(observations(shape=(6, 6)), l2=0.3, kernel=name)
    at = factors(1, ("row",), shape=(6, 6))
    bias = at.row_bias
    value, gradient = problem.value_and_grad(replace(at, column_bias=bias))
    wanted, oracle = problem.value_and_grad(replace(at, column_bias=bias.copy()))
    assert value == wanted
    for a, b in zip(gradient.arrays, oracle.arrays, strict=True):
        np.testing.assert_array_equal(a, b)


def test_arrays_given_may_be_written_to_afterwards():
    observed, at = observations(), factors(2)
    given = weights_of(observed), np.ones(SHAPE[0]), np.ones(SHAPE[1])
    problem = MaskedLeastSquares(observed, given[0], given[1:])
    before = problem.value_and_grad(at)
    for array in given:
        array *= 2
    value, gradient = problem.value_and_grad(at)
    assert value == before[0]
    for a, b in zip(gradient.arrays, before[1].arrays, strict=True):
        np.testing.assert_array_equal(a, b)


def test_single_precision_stays_single():
    problem = MaskedLeastSquares(observations(np.float32), l2=0.5)
    value, gradient = problem.value_and_grad(factors(dtype=np.float32, biases=("row", "column")))
    assert {a.dtype for a in gradient.arrays} == {np.dtype(np.float32)}
    double = MaskedLeastSquares(observations(), l2=0.5).value(factors(biases=("row", "column")))
    assert value == pytest.approx(double, rel=1e-5)


@pytest.mark.parametrize("biases", BIASES)
def test_residual_is_prediction_less_data(biases):
    observed, at = observations(), factors(2, BIASES[biases])
    wanted = at.dense()[observed.rows, observed.cols] - observed.values
    np.testing.assert_allclose(MaskedLeastSquares(observed).residual(at), wanted, atol=1e-12)


def test_exact_factors_have_neither_value_nor_gradient():
    at = factors(3)
    X = at.dense()
    value, gradient = MaskedLeastSquares(observe(X)).value_and_grad(at)
    assert value == pytest.approx(0, abs=1e-24)
    assert max(np.abs(a).max() for a in gradient.arrays) < 1e-10


def test_penalty_at_its_minimum_is_the_nuclear_norm():
    """½(‖left‖² + ‖right‖²) is least at the balanced factors, where it is the sum of the singular values."""
    at = factors(3).truncate(3)
    only_penalty = MaskedLeastSquares(observations(), weights=np.zeros(observations().n_observed), l2=1.0)
    assert only_penalty.value(at) == pytest.approx(at.singular_values().sum(), rel=1e-12)
    _, gradient = only_penalty.value_and_grad(at)
    # Along U → U(1+ε), V → V(1−ε), which leaves the matrix alone, nothing changes to first order.
    assert np.vdot(gradient.U, at.U) == pytest.approx(np.vdot(gradient.V, at.V), rel=1e-12)


def test_a_weight_of_zero_is_an_entry_left_out_and_of_two_an_entry_twice():
    observed = observations()
    weights = np.ones(observed.n_observed)
    weights[::2] = 0
    at = factors()
    weighted = MaskedLeastSquares(observed, weights)
    left_out = MaskedLeastSquares(observed.take(weights > 0))
    assert weighted.value(at) == pytest.approx(left_out.value(at))
    assert MaskedLeastSquares(observed, 2 * weights).value(at) == pytest.approx(2 * left_out.value(at))


def dense_weighted(observed: Observations, weights) -> np.ndarray:
    X = np.zeros(observed.shape)
    X[observed.rows, observed.cols] = weights * observed.values
    return X


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7, 5), (30, 80), (1, 9), (9, 1), (2, 6), (1, 1)])
def test_curvature_and_target_norm(shape, dtype, weighted):
    observed = observe(np.random.default_rng(0).standard_normal(shape).astype(dtype))
    weights = weights_of(observed).astype(dtype) if weighted else np.ones(observed.n_observed, dtype)
    problem = MaskedLeastSquares(observed, weights if weighted else None)
    assert problem.curvature == pytest.approx(weights.mean(), rel=1e-5)
    norm = np.linalg.norm(dense_weighted(observed, weights), 2) / weights.mean()
    assert problem.target_norm == pytest.approx(norm, rel=0.02)


def test_curvature_is_the_share_that_was_observed():
    observed = observations()
    assert MaskedLeastSquares(observed).curvature == pytest.approx(observed.density)


def test_scales_of_nothing_are_zero():
    observed = observations()
    assert MaskedLeastSquares(observed.with_values(0 * observed.values)).target_norm == 0
    assert MaskedLeastSquares(observed, np.zeros(observed.n_observed)).target_norm == 0


N = observations().n_observed


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"weights": np.ones(3)}, ValueError, rf"weights has shape \(3,\); give \({N},\), one for each observed entry"),
        ({"weights": np.ones(SHAPE)}, ValueError, r"weights has shape \(7, 5\)"),
        ({"weights": -np.ones(N)}, ValueError, "weights: the smallest is -1; none may be negative"),
        ({"weights": np.full(N, np.nan)}, ValueError, f"weights holds {N} values that are not finite"),
        ({"weights": ["heavy"] * N}, TypeError, "weights holds 'heavy', which is not a number"),
        ({"l2": -0.1}, ValueError, "l2 of the rows: the smallest is -0.1; none may be negative"),
        ({"l2": np.inf}, ValueError, "l2"),
        ({"l2": "strong"}, TypeError, "l2 .*'strong'"),
        (
            {"l2": (np.ones(5), np.ones(5))},
            ValueError,
            r"l2 of the rows has shape \(5,\); give \(7,\), one for each row",
        ),
        (
            {"l2": (np.ones(7), np.ones(7))},
            ValueError,
            r"l2 of the columns has shape \(7,\); give \(5,\), one for each column",
        ),
        ({"l2": (np.ones(7), -np.ones(5))}, ValueError, "l2 of the columns: the smallest is -1"),
        ({"l2": np.ones(7)}, ValueError, "l2.*pair"),
        ({"l2": (0.1, 0.1, 0.1)}, ValueError, "l2.*pair"),
        ({"kernel": "abacus"}, ValueError, "kernel is 'abacus'; choose one of"),
    ],
)
def test_bad_settings(settings, error, said):
    with pytest.raises(error, match=said):
        MaskedLeastSquares(observations(), **settings)


def test_a_pair_may_be_a_list():
    rows, columns = PENALTIES["per line"]
    observed = observations()
    values = [MaskedLeastSquares(observed, l2=pair).value(factors()) for pair in ((rows, columns), [rows, columns])]
    assert values[0] == values[1]


@every_form
def test_grams_are_sums_over_the_entries_of_each_row_and_column(depth, biases, l2, weighted):
    problem, at, observed = make(weighted, l2), factors(depth, BIASES[biases]), observations()
    penalty = PENALTIES[l2] if isinstance(PENALTIES[l2], tuple) else (PENALTIES[l2],) * 2
    weights = np.zeros(SHAPE)
    weights[observed.rows, observed.cols] = weights_of(observed) if weighted else 1.0
    sides = (weights, at.right, SHAPE[0], penalty[0]), (weights.T, at.left, SHAPE[1], penalty[1])
    for side, (w, other, count, strength) in enumerate(sides):
        got, k = problem.grams(side, other), other.shape[1]
        assert got.shape == (count, k, k)
        wanted = np.einsum("ij,ja,jb->iab", w, other, other)
        wanted += np.multiply.outer(np.broadcast_to(strength, count), np.eye(k))
        np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-11)
        first, second = np.triu_indices(k)
        np.testing.assert_array_equal(problem.packed_grams(side, other), got[:, first, second])


def test_grams_of_a_row_or_column_without_entries_hold_its_penalty_alone():
    mask = np.ones(SHAPE, bool)
    mask[2] = mask[:, 1] = False
    problem = MaskedLeastSquares(observe(np.ones(SHAPE, np.float32), mask), l2=PENALTIES["per line"])
    at = factors(dtype=np.float32)
    rows, columns = problem.grams(ROWS, at.right), problem.grams(COLUMNS, at.left)
    assert rows.dtype == columns.dtype == np.float32
    np.testing.assert_allclose(rows[2], PENALTIES["per line"][0][2] * np.eye(3), rtol=1e-6)
    np.testing.assert_allclose(columns[1], PENALTIES["per line"][1][1] * np.eye(3), rtol=1e-6)


@pytest.mark.parametrize("kernel", ["native", "reference"])
def test_grams_of_vectors_that_are_not_those_of_the_other_side_are_refused(kernel):
    if kernel not in [entry.name for entry in kernels.report() if entry.available]:
        pytest.skip(f"no {kernel} kernel")
    problem = MaskedLeastSquares(observations(), kernel=kernel)
    with pytest.raises(ValueError, match="the other side has 4 vectors and the data are 7×5; give one for each"):
        problem.grams(ROWS, np.ones((4, 3)))


def test_old_names_of_parameters_serve_and_warn():
    observed, at = observations(np.float32), factors(dtype=np.float32)
    with pytest.warns(DeprecationWarning, match="gathered is now gather_dtype; give gather_dtype='bfloat16'") as seen:
        old = MaskedLeastSquares(observed, gathered="bfloat16")
    assert seen[0].filename == __file__
    assert old.value_and_grad(at)[0] == MaskedLeastSquares(observed, gather_dtype="bfloat16").value_and_grad(at)[0]
    with pytest.warns(DeprecationWarning, match="unobserved is now unobserved_weight; give unobserved_weight=0.5"):
        old = MaskedLeastSquares(observed, unobserved=0.5)
    assert old.value(at) == MaskedLeastSquares(observed, unobserved_weight=0.5).value(at)


@pytest.mark.parametrize("method", ["value", "value_and_grad", "residual", "gradient_products"])
@pytest.mark.parametrize("shape", [(7, 4), (6, 5), (8, 5), (5, 7)])
def test_factors_of_another_shape(method, shape):
    """Also where a kernel would read beyond the end of the smaller side."""
    said = f"the factors make a {shape[0]}×{shape[1]} matrix, the data are 7×5"
    with pytest.raises(ValueError, match=said):
        getattr(MaskedLeastSquares(observations()), method)(factors(shape=shape))


@pytest.mark.parametrize("method", ["value", "value_and_grad", "residual"])
def test_factors_of_another_dtype(method):
    said = r"the factors are float32 and the data float64; make them one dtype, .*astype\('float64'\)"
    with pytest.raises(TypeError, match=said):
        getattr(MaskedLeastSquares(observations()), method)(factors(dtype=np.float32))
    mixed = Factors(factors().U, (), factors(dtype=np.float32).V)
    with pytest.raises(TypeError, match="the factors are float32 and float64"):
        getattr(MaskedLeastSquares(observations()), method)(mixed)


def test_biases_alone_are_a_model():
    """No width at all: the mean of rows and columns, as recommenders start from."""
    observed = observe(np.add.outer(np.arange(4.0), [10, 20, 30]))
    at = Factors(np.zeros((4, 0)), (), np.zeros((3, 0)), np.arange(4.0), np.array([10.0, 20, 30]))
    value, gradient = MaskedLeastSquares(observed).value_and_grad(at)
    assert value == 0
    assert gradient.U.shape == (4, 0)
    assert not gradient.row_bias.any()
    assert not gradient.column_bias.any()


# Full observation and linear measurements: the same loss by other means.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_an_exact_model_of_other_factors_is_within_rounding_and_one_a_little_off_is_not(weighted, dtype):
    rng = np.random.default_rng(0)
    U, V = rng.standard_normal((60, 4)), rng.standard_normal((50, 4))
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    observed = observe((U @ V.T).astype(dtype), rng.random((60, 50)) < 0.5)
    weights = rng.uniform(0.5, 2, observed.n_observed) if weighted else None
    problem = MaskedLeastSquares(observed, weights)
    turned = Factors((U @ turn).astype(dtype), (), (V @ turn).astype(dtype))
    assert 0 < problem.value(turned) <= 4 * problem.rounding
    assert problem.value(turned.scaled(1 + 100 * np.finfo(dtype).eps)) > 100 * problem.rounding


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value):
    observed = observations()
    values = observed.values.copy()
    values[[1, 3]] = value
    with pytest.raises(ValueError, match=r"observations.values holds 2 values that are not finite, the first"):
        MaskedLeastSquares(observed.with_values(values))
