"""Transforms along the tube: orthogonal, real where they have to be, and refused in a sentence otherwise."""

import numpy as np
import pytest

from dmc.tubal.transforms import FourierTube, OrthogonalTube, transform_of


def given(length: int) -> list:
    return ["dft", "dct", np.linalg.qr(np.random.default_rng(length).standard_normal((length, length)))[0]]


@pytest.mark.parametrize("length", [1, 2, 5, 8])
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_inner_products_are_kept_and_the_way_back_is_the_inverse(length: int, kind: int) -> None:
    rng = np.random.default_rng(0)
    transform = transform_of(given(length)[kind], length)
    a, b = rng.standard_normal((2, length, 3, 4))
    slices = transform.forward(a)
    np.testing.assert_allclose(transform.backward(slices), a, atol=1e-14)
    products = np.sum(slices.conj() * transform.forward(b), axis=(1, 2)).real
    assert transform.weights @ products == pytest.approx(np.vdot(a, b))
    rows = transform.backward_rows()
    np.testing.assert_allclose(np.einsum("fij,ft->tij", slices, rows).real, a, atol=1e-13)
    assert not np.iscomplexobj(slices) or not slices[transform.real].imag.any()
    assert slices.dtype == transform.dtype(a.dtype)


@pytest.mark.parametrize("name", ["dft", "dct"])
def test_float32_stays(name: str) -> None:
    a = np.ones((6, 2, 2), np.float32)
    transform = transform_of(name, 6)
    assert transform.forward(a).real.dtype == transform.backward(transform.forward(a)).dtype == np.float32


def test_a_float32_matrix_is_as_orthogonal_as_it_can_be() -> None:
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((30, 30)))[0].astype(np.float32)
    assert isinstance(transform_of(Q, 30), OrthogonalTube)


def test_a_transform_that_was_made_is_taken() -> None:
    transform = FourierTube(4)
    assert transform_of(transform, 4) is transform
    with pytest.raises(ValueError, match="tubes of 4 entries and these have 5; make one"):
        transform_of(transform, 5)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (np.ones((4, 4)), r"not orthogonal: .* differs from the identity by 4; use"),
        (np.eye(3), r"shape \(3, 3\) and a tube 4 entries; give a 4×4 matrix"),
        (np.full((4, 4), np.nan), "not finite"),
        ("fft", "choose one of 'dft', 'dct'"),
    ],
)
def test_others_are_refused(transform: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transform_of(transform, 4)


@pytest.mark.parametrize(
    ("matrix", "message"), [(2 * np.eye(4), "not orthogonal: .* by 3; use"), (np.eye(3, 4), "give a square matrix")]
)
def test_a_matrix_is_looked_at_wherever_it_is_given(matrix: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OrthogonalTube(matrix)
    assert OrthogonalTube([[0, 1], [1, 0]]).forward(np.array([1.0, 2.0])).tolist() == [2, 1]
