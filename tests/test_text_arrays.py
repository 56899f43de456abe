"""Text in arrays takes no more room than it has letters, and keeps all of them."""

import numpy as np
import pytest

from dmc._text_arrays import FREE, ends_with_nul, is_text, text_array


@pytest.mark.parametrize("texts", [[], [""], ["a", "bcd", ""], ["Größe", "日本"], ["x" * 300, "y"], ["a\0b"]])
def test_usual_texts_are_as_numpy_has_them(texts):
    found = text_array(texts)
    assert found.dtype.kind == "U"
    assert found.tolist() == texts
    assert is_text(found)


def test_a_long_one_among_many_is_kept_as_an_object():
    texts = ["x" * 100_000, *map(str, range(1000))]
    found = text_array(texts)
    assert found.dtype == object
    assert found.tolist() == texts
    assert is_text(found)
    assert np.sort(found).tolist() == sorted(texts)


def test_honest_ids_stay_numpys():
    """Ten million letters, all ids about as long: more than what any array may take."""
    texts = ["x" * (40 + i % 40) for i in range(150_000)]
    assert sum(map(len, texts)) * 4 > FREE
    assert text_array(texts).dtype.kind == "U"


def test_no_letter_is_lost():
    assert text_array(["a", "a\0"]).tolist() == ["a", "a\0"]
    assert ends_with_nul(["a", "a\0"])
    assert not ends_with_nul(["a\0b", ""])
