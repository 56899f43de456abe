"""The step of variational Bayes: compiled against NumPy."""

import numpy as np
import pytest

from dmc import _compiled, posterior
from dmc.pattern import Lines
from dmc.posterior import incidence
from test_native import in_new_process

native = pytest.mark.skipif(
    _compiled.missing is not None, reason=f"the compiled core is not here: {_compiled.missing}; {_compiled.REMEDY}"
)
WIDTHS = (1, 2, 7, 8, 14, 15, 16, 17, 24, 40)


def step(unknowns, dtype=np.int32, lines=40, others=50, long=0, seed=0):
    """Random entries with an empty line, and what a step needs of both sides."""
    rng = np.random.default_rng(seed)
    mask = rng.random((lines, others)) < 0.4
    mask[3] = False
    if long:
        mask = np.vstack([mask, np.zeros((1, others), bool)])
    pointers = np.concatenate([[0], np.cumsum(mask.sum(axis=1))])
    indices = np.nonzero(mask)[1]
    if long:  # the kernel takes an index that repeats for any other
        indices = np.append(indices, rng.integers(0, others, long))
        pointers[-1] += long
    root = rng.standard_normal((others, unknowns, unknowns)) / unknowns
    moments = posterior.moments_of(
        rng.standard_normal((others, unknowns)).astype(np.float32), root @ root.transpose(0, 2, 1)
    )
    root = rng.standard_normal((unknowns, unknowns))
    return (
        Lines(pointers, indices.astype(dtype)),
        rng.standard_normal(len(indices)).astype(np.float32),
        moments,
        root @ root.T / unknowns + np.eye(unknowns),
        rng.standard_normal((len(pointers) - 1, unknowns)).astype(np.float32),
        rng.uniform(0.5, 3, len(pointers) - 1),
    )


def compiled(lines, values, others, precision, expected, noise, n_threads=0):
    kind = _compiled.core.Entries if lines.indices.dtype == np.int32 else _compiled.core.WideEntries
    moments = np.zeros((len(expected), others.shape[1]), np.float32)
    entries = kind(lines.pointers, lines.indices, len(others))
    found = _compiled.core.posterior(entries, values, others, precision, expected, noise, moments, n_threads)
    return *found, moments


def plain(lines, values, others, precision, expected, noise):
    moments = np.zeros((len(expected), others.shape[1]), np.float32)
    entries = incidence(lines, len(others))
    return *posterior.plain_step(entries, values, others, precision, expected, noise, moments), moments


@native
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("unknowns", WIDTHS)
def test_the_compiled_step_is_the_plain_one(unknowns, dtype):
    given = step(unknowns, dtype)
    for ours, theirs in zip(compiled(*given), plain(*given), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)


@native
@pytest.mark.parametrize("unknowns", WIDTHS)
def test_the_moments_of_what_is_known_are_the_plain_ones(unknowns):
    means = np.random.default_rng(0).standard_normal((30, unknowns)).astype(np.float32)
    nothing = np.zeros((30, unknowns, unknowns))
    np.testing.assert_array_equal(_compiled.core.moments_of(means), posterior.moments_of(means, nothing))


@native
def test_long_lines_are_cut_and_put_together():
    given = step(11, long=100_000)
    for ours, theirs in zip(compiled(*given), plain(*given), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@native
@pytest.mark.parametrize("unknowns", [11, 24, 40])
def test_lines_that_take_turns_at_blocks_of_the_others(unknowns):
    """More others than a block holds, and so many entries that each comes back often."""
    given = step(unknowns, lines=60, others=6000)
    for ours, theirs in zip(compiled(*given), plain(*given), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    first = compiled(*given, n_threads=1)
    for ours, theirs in zip(compiled(*given, n_threads=3), first, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("width", [1, 8, 16, 57, 150])
@pytest.mark.parametrize(("lines", "others", "long"), [(40, 50, 0), (40, 50, 100_000), (60, 6000, 0)])
def test_line_sums_are_those_of_scipy(lines, others, long, width, dtype):
    pattern = step(2, dtype, lines, others, long)[0]
    vectors = np.random.default_rng(1).standard_normal((others, width)).astype(np.float32)
    found = posterior.line_sums(posterior.entries_of(pattern, others), vectors)
    expected = incidence(pattern, others) @ vectors.astype(np.float64)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    assert (found.dtype, found.shape) == (np.float32, (len(pattern.pointers) - 1, width))


@native
def test_line_sums_refuse_what_is_not_padded():
    lines = step(2)[0]
    for shape, told in (
        ((50, 15), "multiple of 16 columns"),
        ((50, 0), "multiple of 16 columns"),
        ((49, 16), "it has to be"),
        ((50,), "give a matrix"),
    ):
        with pytest.raises(ValueError, match=told):
            _compiled.core.line_sums(posterior.entries_of(lines, 50), np.zeros(shape, np.float32))


@native
@pytest.mark.parametrize("unknowns", [2, 11, 24])
def test_the_number_of_threads_changes_no_bit(unknowns):
    given = step(unknowns, lines=3000, long=100_000)
    first = compiled(*given, n_threads=1)
    for n_threads in (2, 3, 8):
        for ours, theirs in zip(compiled(*given, n_threads=n_threads), first, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@native
@pytest.mark.parametrize("isa", ["plain", "avx2"])
def test_older_processors_compute_the_same(isa):
    code = (
        "import numpy as np; from test_posterior import *\n"
        "for unknowns in (2, 11, 15, 24):\n"
        "    given = step(unknowns) if unknowns != 15 else step(15, lines=60, others=6000)\n"
        "    for ours, theirs in zip(compiled(*given), plain(*given), strict=True):\n"
        "        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)\n"
        "print('same')"
    )
    assert "same" in in_new_process(code, DMC_ISA=isa)


@native
@pytest.mark.parametrize(
    ("place", "wrong", "told"),
    [
        (1, np.zeros(3, np.float32), "values has shape"),
        (2, np.zeros((50, 3), np.float32), "others has shape"),
        (3, np.zeros((3, 2)), "precision has shape"),
        (4, np.zeros((3, 3), np.float32), "means has shape"),
    ],
)
def test_what_does_not_fit_is_refused(place, wrong, told):
    given = list(step(3))
    given[place] = wrong
    with pytest.raises(ValueError, match=told):
        compiled(*given)
