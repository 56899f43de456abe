"""What a fitted tensor answers: entries and the whole agree, what nothing is known of is marked, the rest refused."""

import numpy as np
import pytest

import dmc
from planted_tensors import planted


@pytest.fixture(scope="module")
def clean() -> tuple[np.ndarray, np.ndarray, dmc.TensorCompletion]:
    X, _, mask = planted()
    X = 40 * X
    return X, mask, dmc.TensorCompletion(tube=2).fit(np.where(mask, X, np.nan))


def test_entries_and_the_whole_agree(clean: tuple) -> None:
    X, mask, model = clean
    i, j, t = (np.random.default_rng(0).integers(0, n, 40) for n in X.shape)
    np.testing.assert_allclose(model.predict(i, j, t), model.complete()[i, j, t], atol=1e-10)
    np.testing.assert_allclose(model.predict(3, 2, 1), X[3, 2, 1], atol=1e-9)
    assert model.score(X, mask=~mask) == pytest.approx(0, abs=1e-9)
    filled = dmc.TensorCompletion(tube=2).fit_transform(np.where(mask, X, np.nan))
    np.testing.assert_array_equal(filled[mask], X[mask])
    np.testing.assert_allclose(filled, X, atol=1e-9)


def test_slices_without_entries_are_marked() -> None:
    X, _, mask = planted((10, 9, 5), 1, 0.8)
    mask[4], mask[:, 2] = False, False
    with pytest.warns(UserWarning, match="1 of 10 slices across axis 0 and 1 of 9 slices across axis 1 have no"):
        model = dmc.TensorCompletion(tube=2).fit(X, mask=mask)
    unknown = np.isnan(model.complete(unknown=np.nan))
    assert unknown[4].all()
    assert unknown[:, 2].all()
    assert unknown.sum() == 45 + 50 - 5
    np.testing.assert_allclose(model.complete()[~unknown], X[~unknown], atol=1e-9)
    assert model.status_ is dmc.Status.UNDETERMINED


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.predict([0, 16], [0, 0], [0, 0]), "axis-0 position index 16 is out of range"),
        (lambda model: model.predict([0, 1], [0], [0, 0]), "i has 2, j has 1, t has 2"),
        (lambda model: model.score(np.ones((5, 6, 4))), r"X has shape \(5, 6, 4\) and the fitted tensor \(16, 14, 6\)"),
    ],
)
def test_questions_that_do_not_fit_are_refused(call: object, message: str, clean: tuple) -> None:
    with pytest.raises(ValueError, match=message):
        call(clean[2])
