"""Many small Gaussian systems at once: compiled and plain against numpy.linalg, posteriors against their formula."""

import numpy as np
import pytest
from scipy import sparse

from dmc import _extensions, kernels, observe
from dmc.solver import row_solve

native = pytest.mark.skipif(
    _extensions.missing is not None,
    reason=f"the compiled core is not here: {_extensions.missing}; {_extensions.REMEDY}",
)
WIDTHS = [*range(1, 26), 31, 32, 33, 39, 40, 41, 47, 48, 49, 50]


@pytest.fixture(params=[pytest.param("compiled", marks=native), "plain"])
def solver(request, monkeypatch) -> str:
    """By the compiled core, and by what stands in for it."""
    if request.param == "plain":
        monkeypatch.setattr(row_solve._extensions, "core", None)
    return request.param


def systems(k: int, count: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Positive definite matrices (count, k, k) of moderate condition, and right-hand sides."""
    rng = np.random.default_rng(seed + k)
    root = rng.standard_normal((count, k, 2 * k)) / np.sqrt(2 * k)
    return root @ root.transpose(0, 2, 1) + 0.1 * np.eye(k), rng.standard_normal((count, k))


# --- triangles


@pytest.mark.parametrize("k", [1, 2, 5, 16])
def test_unpacked_is_what_was_packed(k):
    full, _ = systems(k)
    triangles = row_solve.packed(full)
    assert triangles.shape == (5, k * (k + 1) // 2)
    assert triangles.flags.c_contiguous
    np.testing.assert_array_equal(row_solve.unpacked(triangles, k), (full + full.transpose(0, 2, 1)) / 2)
    np.testing.assert_array_equal(row_solve.packed(row_solve.unpacked(triangles, k)), triangles)
    np.testing.assert_array_equal(row_solve.packed(full[0]), triangles[0])


def test_a_triangle_goes_row_by_row():
    full = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 5.0], [3.0, 5.0, 6.0]])
    np.testing.assert_array_equal(row_solve.packed(full), [1, 2, 3, 4, 5, 6])


def test_nothing_is_packed_of_nothing():
    assert row_solve.packed(np.zeros((4, 0, 0))).shape == (4, 0)
    assert row_solve.unpacked(np.zeros((4, 0)), 0).shape == (4, 0, 0)
    assert row_solve.seconds(np.zeros((4, 0))).shape == (4, 0)


@pytest.mark.parametrize("k", [1, 2, 7, 12])
def test_seconds_are_packed_outer_products(k):
    x = np.random.default_rng(k).standard_normal((9, k))
    np.testing.assert_array_equal(row_solve.seconds(x), row_solve.packed(x[:, :, None] * x[:, None, :]))


# --- solve


@pytest.mark.parametrize("inverses", [False, True])
@pytest.mark.parametrize("k", WIDTHS)
def test_every_width_is_solved(k, inverses, solver):
    full, sides = systems(k)
    grams, found = row_solve.packed(full), sides.copy()
    row_solve.solve(grams, found, inverses=inverses)
    wanted = np.linalg.solve(full, sides[:, :, None])[:, :, 0]
    scale = np.abs(wanted).max(axis=1, keepdims=True)
    np.testing.assert_allclose(found / scale, wanted / scale, rtol=0, atol=1e-12)
    if inverses:
        inverse = row_solve.packed(np.linalg.inv(full))
        scale = np.abs(inverse).max(axis=1, keepdims=True)
        np.testing.assert_allclose(grams / scale, inverse / scale, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [1e-100, 1e-8, 1e4, 1e8, 1e14, 1e100])
@pytest.mark.parametrize("k", [2, 5, 16])
def test_no_size_of_the_matrices_costs_digits(k, size, solver):
    """Little noise is a large precision."""
    # rounds the inverse of the pivot away.
    full, sides = systems(k)
    grams, found = row_solve.packed(size * full), sides.copy()
    row_solve.solve(grams, found, inverses=True)
    np.testing.assert_allclose(size * found, np.linalg.solve(full, sides[:, :, None])[:, :, 0], rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(size * row_solve.unpacked(grams, k), np.linalg.inv(full), rtol=1e-11, atol=1e-12)


@native
@pytest.mark.parametrize("condition", [1e2, 1e6, 1e10])
@pytest.mark.parametrize("k", [2, 5, 9, 16, 40, 128])
def test_ill_conditioned_systems_are_solved_as_well_as_by_lapack(k, condition):
    rng = np.random.default_rng(k)
    basis = np.linalg.qr(rng.standard_normal((11, k, k)))[0]
    full = (basis * np.geomspace(1, 1 / condition, k)) @ basis.transpose(0, 2, 1)
    full = (full + full.transpose(0, 2, 1)) / 2
    sides = (full @ rng.standard_normal((11, k, 1)))[:, :, 0]
    grams, found = row_solve.packed(full), sides.copy()
    row_solve.solve(grams, found, inverses=True)
    left = np.abs((full @ found[:, :, None])[:, :, 0] - sides).max(axis=1)
    assert (left <= 1e-14 * np.abs(full).max() * np.abs(found).max(axis=1)).all()
    ours, theirs = (np.abs(full @ x - np.eye(k)).max() for x in (row_solve.unpacked(grams, k), np.linalg.inv(full)))
    assert ours < 10 * theirs + 1e-14


@native
@pytest.mark.parametrize("k", [2, 3, 16, 40])
def test_what_rounding_makes_singular_yields_numbers(k):
    rng = np.random.default_rng(k)
    root = rng.standard_normal((k, max(k // 2, 1)))
    at = np.arange(k)
    full = np.stack([1 / (at[:, None] + at + 1), np.ones((k, k)), root @ root.T])
    grams, sides = row_solve.packed(full), rng.standard_normal((3, k))
    row_solve.solve(grams, sides, inverses=True)
    assert np.isfinite(grams).all()
    assert np.isfinite(sides).all()
    assert (np.diagonal(row_solve.unpacked(grams, k), axis1=1, axis2=2) > 0).all()


@native
@pytest.mark.parametrize("k", [3, 16])
def test_a_system_is_solved_as_if_it_were_alone(k):
    full, sides = systems(k, 21)
    full[4], sides[9] = np.nan, np.inf
    grams, found = row_solve.packed(full), sides.copy()
    row_solve.solve(grams, found, inverses=True)
    for i in range(21):
        own = row_solve.packed(full[i : i + 1]), sides[i : i + 1].copy()
        row_solve.solve(*own, inverses=True)
        np.testing.assert_array_equal(own[0][0], grams[i])
        np.testing.assert_array_equal(own[1][0], found[i])


@pytest.mark.parametrize("inverses", [False, True])
def test_integers_are_solved_without_error(inverses, solver):
    """A matrix whose elimination rounds nothing."""
    grams, sides = np.array([[4.0, 2.0, 0.0, 2.0, 1.0, 5.0]] * 3), np.array([[6.0, 6.0, 11.0]] * 3)
    row_solve.solve(grams, sides, inverses=inverses)  # [[4, 2, 0], [2, 2, 1], [0, 1, 5]]
    np.testing.assert_allclose(sides, [[1, 1, 2]] * 3, rtol=0, atol=1e-14)
    if inverses:
        np.testing.assert_allclose(grams * 16, [[9, -10, 2, 20, -4, 4]] * 3, rtol=0, atol=1e-13)


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
def test_any_number_of_systems_is_solved(count, solver):
    """Pieces of work have 64 of them."""
    full, sides = systems(6, count)
    for inverses in (False, True):
        found = sides.copy()
        row_solve.solve(row_solve.packed(full), found, inverses=inverses)
        left = (full @ found[:, :, None])[:, :, 0] - sides
        assert np.abs(left).max(initial=0) < 1e-12


@native
@pytest.mark.parametrize("inverses", [False, True])
@pytest.mark.parametrize("k", [3, 15, 16, 40])
def test_the_number_of_threads_changes_no_bit(k, inverses):
    full, sides = systems(k, max(200, (1 << 20) // k**3))  # enough work that a second thread is woken
    found = []
    for n_threads in (1, 2):
        both = row_solve.packed(full), sides.copy()
        with kernels.threads(n_threads):
            row_solve.solve(*both, inverses=inverses)
        found.append(both)
    np.testing.assert_array_equal(found[0][1], found[1][1])
    if inverses:
        np.testing.assert_array_equal(found[0][0], found[1][0])


@native
@pytest.mark.parametrize(
    ("grams", "sides", "told"),
    [
        (np.ones((4, 6)), np.ones(4), r"sides has shape \(4,\); it has to be \(any, any\)"),
        (np.ones((4, 5)), np.ones((4, 3)), r"grams has shape \(4, 5\); it has to be \(4, 6\)"),
        (np.ones((3, 6)), np.ones((4, 3)), r"grams has shape \(3, 6\); it has to be \(4, 6\)"),
        (np.ones(24), np.ones((4, 3)), r"grams has shape \(24,\); it has to be \(4, 6\)"),
        (np.ones((4, 3, 3)), np.ones((4, 3)), r"grams has shape \(4, 3, 3\); it has to be \(4, 6\)"),
        (np.ones((0, 6)), np.ones((4, 3)), r"grams has shape \(0, 6\); it has to be \(4, 6\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(grams, sides, told):
    with pytest.raises(ValueError, match=told):
        _extensions.core.solve_gaussians(grams, sides, True)


@native
@pytest.mark.parametrize("which", ["grams", "sides"])
@pytest.mark.parametrize("spoilt", ["float32", "int64", "fortran", "strided"])
def test_no_copy_is_solved_in_the_place_of_what_was_given(which, spoilt):
    given = {"grams": np.tile([2.0, 0.0, 2.0], (4, 1)), "sides": np.ones((4, 2))}
    array = given[which]
    given[which] = {
        "float32": lambda: array.astype(np.float32),
        "int64": lambda: array.astype(np.int64),
        "fortran": lambda: np.asfortranarray(array),
        "strided": lambda: np.repeat(array, 2, axis=0)[::2],
    }[spoilt]()
    with pytest.raises(TypeError, match="incompatible function arguments"):
        _extensions.core.solve_gaussians(given["grams"], given["sides"], False)


@native
@pytest.mark.parametrize("which", ["grams", "sides"])
def test_what_may_not_be_written_is_refused(which):
    given = {"grams": np.tile([2.0, 0.0, 2.0], (4, 1)), "sides": np.ones((4, 2))}
    given[which].flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        _extensions.core.solve_gaussians(given["grams"], given["sides"], True)


@native
@pytest.mark.parametrize("which", ["grams", "sides"])
def test_what_is_not_aligned_is_refused(which):
    given = {"grams": np.tile([2.0, 0.0, 2.0], (4, 1)), "sides": np.ones((4, 2))}
    array = given[which]
    shifted = np.empty(array.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(array.shape)
    shifted[:] = array
    given[which] = shifted
    with pytest.raises(ValueError, match=f"{which} is not aligned"):
        _extensions.core.solve_gaussians(given["grams"], given["sides"], True)


# --- posteriors


def entries(k: int, lines: int = 12, others: int = 17, share: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precisions with an empty line, values, and features."""
    rng = np.random.default_rng(k)
    weights = np.where(rng.random((lines, others)) < share, rng.uniform(0.1, 30, (lines, others)), 0)
    weights[3] = 0
    return weights, rng.standard_normal((lines, others)), rng.standard_normal((others, k))


def by_formula(weights, targets, features, moments) -> tuple[np.ndarray, np.ndarray]:
    """(I + Σ w E x·xᵀ)⁻¹, line by line, entry by entry."""
    means, covariances = [], []
    for own, target in zip(weights, targets, strict=True):
        precision = np.eye(features.shape[1])
        for w, moment in zip(own, moments, strict=True):
            precision = precision + w * moment
        covariances.append(np.linalg.inv(precision))
        means.append(covariances[-1] @ target)
    return np.array(means), np.array(covariances)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, sparse.csr_matrix])
@pytest.mark.parametrize("uncertain", [False, True])
@pytest.mark.parametrize("k", [1, 3, 9])
def test_posteriors_are_those_of_the_formula(k, uncertain, form, solver):
    weights, values, features = entries(k)
    moments = features[:, :, None] * features[:, None, :]
    given = None
    if uncertain:
        root = np.random.default_rng(1).standard_normal((len(features), k, k))
        moments = moments + root @ root.transpose(0, 2, 1)
        given = row_solve.packed(moments)
    targets = (weights * values) @ features
    wanted = by_formula(weights, targets, features, moments)
    means, nothing = row_solve.posteriors(form(weights), targets, features, given)
    assert nothing is None
    np.testing.assert_allclose(means, wanted[0], rtol=1e-10, atol=1e-13)
    means, covariances = row_solve.posteriors(form(weights), targets, features, given, covariances=True)
    np.testing.assert_allclose(means, wanted[0], rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(row_solve.unpacked(covariances, k), wanted[1], rtol=1e-10, atol=1e-13)


def test_a_posterior_is_a_ridge_regression(solver):
    """Stacked onto the entries, the prior is k more of them that say zero."""
    weights, values, features = entries(4)
    means, _ = row_solve.posteriors(weights, (weights * values) @ features, features)
    root = np.sqrt(weights)
    for line, (own, y) in enumerate(zip(root, values, strict=True)):
        stacked = np.vstack([own[:, None] * features, np.eye(4)]), np.append(own * y, np.zeros(4))
        np.testing.assert_allclose(means[line], np.linalg.lstsq(*stacked, rcond=None)[0], atol=1e-12)


def test_a_line_without_entries_is_as_its_prior_says(solver):
    weights, values, features = entries(5)
    means, covariances = row_solve.posteriors(weights, (weights * values) @ features, features, covariances=True)
    np.testing.assert_array_equal(means[3], np.zeros(5))
    np.testing.assert_array_equal(row_solve.unpacked(covariances, 5)[3], np.eye(5))


def test_lines_are_taken_in_chunks(monkeypatch, solver):
    weights, values, features = entries(3)
    targets = (weights * values) @ features
    whole = row_solve.posteriors(weights, targets, features, covariances=True)
    monkeypatch.setattr(row_solve, "CHUNK", 5 * 6)  # five lines
    for form in (np.asarray, sparse.csr_array):
        parts = row_solve.posteriors(form(weights), targets, features, covariances=True)
        for a, b in zip(whole, parts, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


def test_targets_and_features_are_left_alone(solver):
    weights, values, features = entries(3)
    targets = (weights * values) @ features
    given = [array.copy() for array in (weights, targets, features)]
    row_solve.posteriors(weights, targets, features, covariances=True)
    for before, after in zip(given, (weights, targets, features), strict=True):
        np.testing.assert_array_equal(before, after)


def test_no_features_leave_nothing_to_know(solver):
    weights, _, _ = entries(1)
    means, covariances = row_solve.posteriors(weights, np.zeros((12, 0)), np.zeros((17, 0)), covariances=True)
    assert means.shape == covariances.shape == (12, 0)


# --- rows of a population


def population(seed=0, others=9, k=3) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((k, k))
    features, offset = rng.standard_normal((others, k)), rng.standard_normal(others)
    return features, offset, rng.uniform(0.2, 1, others), rng.standard_normal(k), root @ root.T


@pytest.mark.parametrize("noise", [1.0, 1e-4])
@pytest.mark.parametrize("share", [0.6, 0.03])
def test_the_posterior_of_a_row_is_bayes_rule(share, noise, solver):
    """Written out in the coordinates of the features; with little noise too, where solutions are refined."""
    features, offset, deviations, mean, covariance = population(others=90)
    deviations = noise * deviations
    given = row_solve.RowModel.of(features, offset, deviations, mean, covariance)
    rng = np.random.default_rng(1)
    observed = rng.random((12, 90)) < share
    y = rng.standard_normal((12, 90))
    seen = observe(np.where(observed, y, np.nan), allow_empty=True)
    z = (seen.values - given.base[seen.cols]) / given.noise[seen.cols]
    means, covariances = given.posterior(row_solve.RowEntries.of(seen.pattern, None, z), covariances=True)
    prior = np.linalg.inv(covariance)
    for i, own in enumerate(observed):
        x, precision = features[own], 1 / deviations[own] ** 2
        full = np.linalg.inv(prior + (x.T * precision) @ x)
        wanted = full @ (prior @ mean + (x.T * precision) @ (y[i, own] - offset[own]))
        np.testing.assert_allclose(means[i], wanted, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(covariances[i], full, rtol=1e-5, atol=1e-9)


def test_what_is_worked_in_changes_nothing(solver):
    features, *rest = population()
    given = row_solve.RowModel.of(features, *rest)
    weights = (np.random.default_rng(2).random((8, 9)) < 0.5).astype(float)
    entries = row_solve.RowEntries(weights, weights * 0.3)
    room = np.full((20, 6), np.nan)
    np.testing.assert_array_equal(given.posterior(entries, room=room)[0], given.posterior(entries)[0])


def test_rows_of_a_fit_go_towards_their_prior(solver):
    """Bayes' rule once more; a row without entries goes part of the way only, and is filled in elsewhere."""
    rng = np.random.default_rng(3)
    side, x, y = rng.standard_normal((6, 2)), rng.standard_normal((8, 2)), rng.standard_normal((6, 8))
    observed = rng.random((6, 8)) < 0.6
    observed[0] = False
    grams = np.einsum("ij,jk,jl->ikl", observed, x, x)
    slopes = (observed * (side @ x.T - y)) @ x
    counts = observed.sum(axis=1)
    found = row_solve.towards_prior(side, grams, slopes, counts, 0.5)
    weights = counts / counts.sum()
    mean = weights @ side
    precision = np.linalg.inv(((side - mean).T * weights) @ (side - mean)) * 0.25
    for i in range(1, 6):
        wanted = np.linalg.solve(grams[i] + precision, x.T @ (observed[i] * y[i]) + precision @ mean)
        np.testing.assert_allclose(found[i], wanted, rtol=1e-6, atol=1e-9)


def test_a_side_that_is_zero_stays_zero(solver):
    """Its prior has no spread, and an inverse that was none: rows of zeros with a single one in another column."""
    rng = np.random.default_rng(3)
    side, x = np.zeros((6, 2)), rng.standard_normal((8, 2))
    grams = np.broadcast_to(x.T @ x, (6, 2, 2))
    found = row_solve.towards_prior(side, grams, rng.standard_normal((6, 2)), np.full(6, 8), 0.5)
    np.testing.assert_allclose(found, 0, atol=1e-100)
