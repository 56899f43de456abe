"""Layered starts: one meaning of their scale and of their layers, whatever the draw."""

import numpy as np
import pytest

from dmc.solver import initial

SHAPES = [(200, 200), (60, 25), (25, 60), (7, 1), (1, 1)]


def starts(shape, layers, scale, dtype=np.float64):
    width = min(3, *shape)
    return {
        "orthogonal": initial.orthogonal(shape, layers, scale, dtype=dtype),
        "normal": initial.normal(shape, layers, scale, dtype=dtype),
        "uniform": initial.uniform(shape, layers, scale, dtype=dtype),
        "narrow": initial.narrow(shape, width, layers, scale, dtype=dtype),
        "narrow normal": initial.normal(shape, layers, scale, dtype=dtype, width=width),
        "narrow uniform": initial.uniform(shape, layers, scale, dtype=dtype, width=width),
        "gaussian": initial.gaussian(shape, width, layers - 2, scale, dtype=dtype),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("layers", "scale"), [(2, 1e-2), (3, 0.3), (5, 1e-2), (4, 7.0)])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_factor_has_the_spectral_norm_that_the_start_says(shape, layers, scale, dtype):
    for name, start in starts(shape, layers, scale, dtype).items():
        assert (start.shape, start.depth) == (shape, layers - 2), name
        for W in start.arrays:
            assert W.dtype == dtype
            assert np.linalg.norm(W, 2) == pytest.approx(scale, rel=1e-12 if dtype is np.float64 else 1e-6), name


@pytest.mark.parametrize(("start", "kurtosis"), [(initial.normal, 3), (initial.uniform, 1.8)])
def test_entries_are_drawn_as_the_name_says(start, kurtosis):
    for W in start((400, 300), 3, 0.5).arrays:
        z = W / W.std()
        assert abs(z.mean()) < 0.01
        assert np.mean(z**4) == pytest.approx(kurtosis, rel=0.03)


@pytest.mark.parametrize("start", [initial.normal, initial.uniform, initial.orthogonal])
def test_the_seed_decides_and_each_factor_is_drawn_anew(start):
    first, again, generator, other = (start((5, 5), 4, seed=s) for s in (1, 1, np.random.default_rng(1), 2))
    for a, b, c in zip(first.arrays, again.arrays, generator.arrays, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    assert not np.array_equal(first.U, other.U)
    assert not np.array_equal(*first.cores)


def test_gaussian_is_normal_by_cores():
    for a, b in zip(
        initial.gaussian((9, 7), 4, 2, 0.3).arrays, initial.normal((9, 7), 4, 0.3, width=4).arrays, strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("layers", [2, 3, 5])
@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4)])
def test_full_width_layers_are_orthogonal(shape, layers):
    network = initial.orthogonal(shape, layers, 0.3)
    assert (network.shape, network.depth, network.width) == (shape, layers - 2, max(shape))
    np.testing.assert_allclose(network.singular_values(), 0.3**layers)
    for W in network.cores:
        np.testing.assert_allclose(W.T @ W, 0.09 * np.eye(max(shape)), atol=1e-12)


def test_narrow_layers_have_orthonormal_columns():
    network = initial.narrow((9, 7), 4, 4, 0.3)
    assert [a.shape for a in network.arrays] == [(9, 4), (4, 4), (4, 4), (7, 4)]
    for W in network.arrays:
        np.testing.assert_allclose(W.T @ W, 0.09 * np.eye(4), atol=1e-12)


@pytest.mark.parametrize(
    ("start", "error", "said"),
    [
        (lambda: initial.orthogonal((3, 3), 1), ValueError, "layers is 1; it has to be at least 2"),
        (lambda: initial.normal((3, 3), 1), ValueError, "layers is 1; it has to be at least 2"),
        (lambda: initial.uniform((3, 3), 2.5), TypeError, "layers is 2.5"),
        (lambda: initial.gaussian((3, 3), 2, -1), ValueError, "depth is -1; it has to be at least 0"),
        (lambda: initial.gaussian((3, 3), 0), ValueError, "width is 0; it has to be at least 1"),
        (lambda: initial.narrow((3, 5), 4), ValueError, "width is 4; it has to be from 1 to 3"),
        (lambda: initial.normal(3), ValueError, "shape is 3; give two whole numbers"),
        (lambda: initial.uniform((3, 0)), ValueError, "the number of columns is 0"),
        (lambda: initial.normal((3, 3), scale=0), ValueError, "scale is 0"),
        (lambda: initial.normal((3, 3), scale=np.nan), ValueError, "scale is nan"),
        (
            lambda: initial.normal((3, 3), scale=1e-50, dtype=np.float32),
            ValueError,
            "which float32 takes for zero",
        ),
        (lambda: initial.gaussian((5, 5), 2, dtype=int), TypeError, "dtype is int64; choose float32 or float64"),
        (lambda: initial.uniform((5, 5), dtype="float"), TypeError, None),
        (lambda: initial.normal((5, 5), dtype="wide"), TypeError, "dtype is 'wide'; choose float32 or float64"),
        (lambda: initial.normal((5, 5), seed="x"), TypeError, "seed is 'x'"),
    ],
)
def test_bad_settings(start, error, said):
    if said is None:  # NumPy's word for float64
        assert start().U.dtype == np.float64
        return
    with pytest.raises(error, match=said):
        start()
