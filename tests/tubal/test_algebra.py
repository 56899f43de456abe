"""The algebra of tubes against direct loops, and its theorems."""

import numpy as np
import pytest

from dmc import tubal

LENGTHS = [1, 2, 5, 6]


def tensors(*shapes: tuple[int, int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape) for shape in shapes]


def looped(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    m, inner, length = A.shape
    C = np.zeros((m, B.shape[1], length))
    for i in range(m):
        for j in range(B.shape[1]):
            for t in range(length):
                C[i, j, t] = sum(A[i, k, s] * B[k, j, (t - s) % length] for k in range(inner) for s in range(length))
    return C


@pytest.mark.parametrize("length", LENGTHS)
def test_the_t_product_is_a_product_of_circular_convolutions(length: int) -> None:
    A, B = tensors((4, 3, length), (3, 5, length))
    np.testing.assert_allclose(tubal.product(A, B), looped(A, B), atol=1e-12)
    product = looped(A, tubal.transpose(tensors((4, 3, length), (5, 3, length))[1]))
    np.testing.assert_allclose(
        product, tubal.product(A, tubal.transpose(tensors((4, 3, length), (5, 3, length))[1])), atol=1e-12
    )


@pytest.mark.parametrize("length", LENGTHS)
def test_the_transpose_turns_the_frontal_slices_round(length: int) -> None:
    (A,) = tensors((4, 3, length))
    expected = np.stack([A[:, :, -t % length].T for t in range(length)], axis=2)
    np.testing.assert_allclose(tubal.transpose(A), expected, atol=1e-14)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("kind", ["dft", "dct", "matrix"])
def test_the_decomposition_is_orthogonal_and_whole(length: int, kind: str) -> None:
    A, Q = tensors((4, 3, length), (length, length, 1))
    transform = np.linalg.qr(Q[:, :, 0])[0] if kind == "matrix" else kind
    U, S, V = tubal.svd(A, transform)
    whole = tubal.product(tubal.product(U, S, transform), tubal.transpose(V, transform), transform)
    np.testing.assert_allclose(whole, A, atol=1e-12)
    for side in (U, V):
        gram = tubal.product(tubal.transpose(side, transform), side, transform)
        np.testing.assert_allclose(gram, tubal.identity(3, length, transform), atol=1e-12)
    tubes = tubal.singular_tubes(A, transform)
    np.testing.assert_allclose(S, tubes[:, None] * np.eye(3)[:, :, None], atol=1e-12)
    np.testing.assert_allclose(tubal.product(tubal.identity(4, length, transform), A, transform), A, atol=1e-12)


@pytest.mark.parametrize("length", LENGTHS)
def test_singular_values_are_those_of_the_block_circulant_matrix(length: int) -> None:
    (A,) = tensors((4, 3, length))
    circulant = np.block([[A[:, :, (i - j) % length] for j in range(length)] for i in range(length)])
    s = tubal.singular_values(A)
    often = tubal.transform_of("dft", length).weights.astype(int)
    np.testing.assert_allclose(
        np.sort(np.repeat(s, often, axis=0).ravel()), np.sort(np.linalg.svd(circulant)[1]), atol=1e-12
    )


def test_ranks_are_those_of_the_slices_and_truncation_finds_them() -> None:
    A, B = tensors((8, 2, 6), (2, 7, 6))
    low = tubal.product(A, B)
    assert tubal.multi_rank(low).tolist() == [2] * 4
    assert tubal.rank(low) == 2
    np.testing.assert_allclose(tubal.truncate(low, 2), low, atol=1e-12)
    cut = tubal.truncate(low, [2, 0, 1, 2])
    assert tubal.multi_rank(cut, tol=1e-10).tolist() == [2, 0, 1, 2]
    assert tubal.rank(0 * low) == 0


def test_truncation_is_the_nearest_of_its_rank() -> None:
    (A,) = tensors((5, 4, 3))
    nearest = np.linalg.norm(tubal.truncate(A, 2) - A)
    s = tubal.singular_values(A) / np.sqrt(3)
    assert nearest**2 == pytest.approx(np.array([1, 2]) @ (s[:, 2:] ** 2).sum(1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda A: tubal.product(A, A), "columns of A have to be the rows of B"),
        (lambda A: tubal.product(A[0], A), r"A has shape \(3, 5\); give a tensor of three ways"),
        (lambda A: tubal.svd(A[:0]), "at least one entry along each way"),
        (lambda A: tubal.truncate(A, 5), "rank is 5; it has to be from 1 to 3: a slice has 4×3 entries"),
        (lambda A: tubal.truncate(A, [1, 2]), "rank has 2 numbers; give one for each of 3 slices"),
        (lambda A: tubal.multi_rank(A * np.nan), "not finite"),
    ],
)
def test_what_does_not_fit_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(tensors((4, 3, 5))[0])
