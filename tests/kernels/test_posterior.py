"""The step of variational Bayes: compiled against NumPy."""

import numpy as np
import pytest
from test_native import in_new_process

from dmc import _extensions
from dmc.kernels import posterior
from dmc.kernels.posterior import incidence
from dmc.pattern import SparseIndex

native = pytest.mark.skipif(
    _extensions.missing is not None,
    reason=f"the compiled core is not here: {_extensions.missing}; {_extensions.REMEDY}",
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
        SparseIndex(pointers, indices.astype(dtype)),
        rng.standard_normal(len(indices)).astype(np.float32),
        moments,
        root @ root.T / unknowns + np.eye(unknowns),
        rng.standard_normal((len(pointers) - 1, unknowns)).astype(np.float32),
        rng.uniform(0.5, 3, len(pointers) - 1),
    )


def compiled_halves(lines, values, *given, n_threads):
    others, *prior = given
    sums = _extensions.core.posterior_sums(
        posterior.entries_of(lines, len(others)), values, others, n_threads=n_threads
    )
    moments = np.zeros_like(sums)
    return *_extensions.core.posterior_of_sums(sums, *prior, moments, n_threads), sums, moments


def compiled(lines, values, others, precision, expected, noise, n_threads=0, weights=None):
    kind = _extensions.core.Entries if lines.indices.dtype == np.int32 else _extensions.core.WideEntries
    moments = np.zeros((len(expected), others.shape[1]), np.float32)
    entries = kind(lines.indptr, lines.indices, len(others))
    given = (values, others, precision, expected, noise, moments, weights)
    found = _extensions.core.posterior(entries, *given, n_threads)
    return *found, moments


def plain(lines, values, others, precision, expected, noise, weights=None):
    moments = np.zeros((len(expected), others.shape[1]), np.float32)
    entries = incidence(lines, len(others))
    return *posterior.plain_step(entries, values, others, precision, expected, noise, moments, weights), moments


@native
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("unknowns", WIDTHS)
def test_the_compiled_step_is_the_plain_one(unknowns, dtype):
    given = step(unknowns, dtype)
    for ours, theirs in zip(compiled(*given), plain(*given), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)


@native
@pytest.mark.parametrize(("lines", "others", "long"), [(40, 50, 0), (40, 50, 100_000), (60, 6000, 0)])
@pytest.mark.parametrize("unknowns", [1, 11, 16, 40])
def test_weighted_entries_are_the_plain_ones(unknowns, lines, others, long):
    lines, values, *given = step(unknowns, np.int32, lines, others, long)
    weights = np.random.default_rng(2).uniform(0.1, 3, len(values)).astype(np.float32)
    ours, theirs = (run(lines, weights * values, *given, weights=weights) for run in (compiled, plain))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    sums = posterior.line_sums(posterior.entries_of(lines, others), given[0], weights)
    csr = incidence(lines, others)
    csr.data[:] = weights
    np.testing.assert_allclose(sums, csr @ given[0].astype(np.float64), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("run", [plain, pytest.param(compiled, marks=native)])
def test_an_entry_of_weight_three_is_three_entries(run):
    lines, values, *given = step(5)
    times = np.random.default_rng(3).integers(1, 4, len(values))
    ends = np.append(0, np.cumsum(times))[lines.indptr]
    thrice = SparseIndex(ends, np.repeat(lines.indices, times))
    weights = times.astype(np.float32)
    weighted = run(lines, weights * values, *given, weights=weights)
    repeated = run(thrice, np.repeat(values, times), *given)
    for a, b in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@native
@pytest.mark.parametrize("unknowns", WIDTHS)
def test_the_moments_of_what_is_known_are_the_plain_ones(unknowns):
    means = np.random.default_rng(0).standard_normal((30, unknowns)).astype(np.float32)
    nothing = np.zeros((30, unknowns, unknowns))
    np.testing.assert_array_equal(_extensions.core.moments_of(means), posterior.moments_of(means, nothing))


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
    assert (found.dtype, found.shape) == (np.float32, (len(pattern.indptr) - 1, width))


@native
def test_line_sums_refuse_what_is_not_padded():
    lines = step(2)[0]
    for shape, told in (
        ((50, 15), "vectors has 15 columns; give a multiple of 16"),
        ((50, 0), "vectors has 0 columns; give a multiple of 16"),
        ((49, 16), "it has to be"),
        ((50,), "it has to be .50, any"),
    ):
        with pytest.raises(ValueError, match=told):
            _extensions.core.line_sums(posterior.entries_of(lines, 50), np.zeros(shape, np.float32))


# --- the two halves of a step, between which sums of several processes are added


def halves(take_sums, finish, lines, values, others, precision, expected, noise, weights=None, chunk=None):
    """(means, covariance, moments) of a step in two halves, its lines in chunks."""
    count = len(expected)
    entries = posterior.entries_of(lines, len(others)) if finish is posterior.finish else incidence(lines, len(others))
    chunks = [slice(i, i + (chunk or count)) for i in range(0, count, chunk or count)]
    gathered = np.concatenate([take_sums(entries, values, others, weights, some) for some in chunks])
    moments = np.full((count, others.shape[1]), np.nan, np.float32)
    return *finish(gathered, precision, expected, noise, moments), moments


TWO_HALVES = pytest.mark.parametrize(
    ("take_sums", "finish", "whole"),
    [
        pytest.param(posterior.sums, posterior.finish, compiled, marks=native, id="compiled"),
        pytest.param(posterior.plain_sums, posterior.plain_finish, plain, id="plain"),
    ],
)


@TWO_HALVES
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("chunk", [None, 7])
@pytest.mark.parametrize(("unknowns", "dtype", "long"), [(1, np.int32, 0), (4, np.int64, 100_000), (17, np.int32, 0)])
def test_a_step_is_its_two_halves(unknowns, dtype, long, chunk, weighted, take_sums, finish, whole):
    lines, values, *given = step(unknowns, dtype, long=long)
    weights = np.random.default_rng(2).uniform(0.1, 3, len(values)).astype(np.float32) if weighted else None
    means, covariance, _, moments = whole(lines, values, *given, weights=weights)
    found = halves(take_sums, finish, lines, values, *given, weights=weights, chunk=chunk)
    for ours, theirs in zip(found, (means, covariance, moments), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


@native
@pytest.mark.parametrize("lines", [slice(None), slice(2, 9), slice(5, 5), slice(30, 99)])
@pytest.mark.parametrize("long", [0, 100_000])
def test_the_compiled_sums_are_the_plain_ones(lines, long):
    index, values, others, *_ = step(11, long=long)
    ours = posterior.sums(posterior.entries_of(index, 50), values, others, lines=lines)
    theirs = posterior.plain_sums(incidence(index, 50), values, others, lines=lines)
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)
    assert lines.start != 2 or not ours[1].any()  # line 3 has no entries


@TWO_HALVES
def test_sums_of_parts_of_the_entries_add_up_to_a_step(take_sums, finish, whole):
    lines, values, others, *prior = step(5, lines=300)
    of = np.repeat(np.arange(300), np.diff(lines.indptr))
    theirs = np.random.default_rng(4).random(len(values)) < 0.3
    gathered = np.zeros((300, others.shape[1]))
    for part in (theirs, ~theirs, np.zeros_like(theirs)):
        ends = np.append(0, np.cumsum(np.bincount(of[part], minlength=300)))
        some = SparseIndex(ends, lines.indices[part])
        entries = incidence(some, 50) if whole is plain else posterior.entries_of(some, 50)
        gathered += take_sums(entries, values[part], others)
    moments = np.zeros((300, others.shape[1]), np.float32)
    means, covariance = finish(gathered.astype(np.float32), *prior, moments)
    expected = whole(lines, values, others, *prior)
    for ours, theirs in zip((means, covariance, moments), (*expected[:2], expected[3]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


@TWO_HALVES
def test_no_lines_have_no_posterior(take_sums, finish, whole):
    *_, others, precision, expected, noise = step(3)
    nothing = np.zeros((0, others.shape[1]), np.float32)
    means, covariance = finish(nothing, precision, expected[:0], noise[:0], nothing.copy())
    assert means.shape == (0, 3)
    np.testing.assert_array_equal(covariance, np.zeros((3, 3)))


@native
def test_halves_refuse_what_does_not_fit():
    lines, values, others, *prior = step(3)
    entries, core = posterior.entries_of(lines, 50), _extensions.core
    for given, told in (
        ((values[1:], others), "values has shape"),
        ((values, others[1:]), "others has shape"),
        ((values, np.zeros((50, 15), np.float32)), "others has 15 columns; give a multiple of 16"),
        ((values, np.zeros((50, 16), np.float32)), "others has shape .50, 16.; it has to be .50, 32"),
        ((values, others, values[1:]), "weights has shape"),
        ((values, others, None, slice(0, 9, 2)), "the slice has step 2; it has to be 1"),
    ):
        with pytest.raises(ValueError, match=told):
            core.posterior_sums(entries, *given)
    gathered = core.posterior_sums(entries, values, others)
    for place, wrong in enumerate((gathered[:, 1:], prior[0][1:], prior[1][1:], prior[2][1:], gathered[1:])):
        given = [gathered, *prior, np.zeros_like(gathered)]
        given[place] = wrong.copy()
        with pytest.raises(ValueError, match="has shape"):
            core.posterior_of_sums(*given)


@native
@pytest.mark.parametrize("run", [compiled, compiled_halves])
@pytest.mark.parametrize("unknowns", [2, 11, 24])
def test_the_number_of_threads_changes_no_bit(unknowns, run):
    given = step(unknowns, lines=3000, long=100_000)
    first = run(*given, n_threads=1)
    for n_threads in (2, 3, 8):
        for ours, theirs in zip(run(*given, n_threads=n_threads), first, strict=True):
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


@native
@pytest.mark.parametrize("place", range(1, 6))
def test_what_is_not_aligned_is_refused(place):
    given = list(step(3))
    array = given[place]
    given[place] = np.empty(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    with pytest.raises(ValueError, match=r"is not aligned to .* bytes in memory"):
        compiled(*given)


# --- against the regression that it is, line by line


def dense_regression(given, means, covariances):
    """A loop over lines: each a Bayesian regression on what is known of the others, by NumPy in double.

    Returns means, the sum of the covariances, and the expected squared errors.
    """
    lines, values, _, prior, expected, noise = given
    d, found = len(prior), []
    for line, (begin, end) in enumerate(zip(lines.indptr[:-1], lines.indptr[1:], strict=True)):
        z, S = means[lines.indices[begin:end]].astype(float), covariances[lines.indices[begin:end]]
        x, offset = z.copy(), z[:, -1]
        x[:, -1] = 1  # the unknown there is the line's own bias
        spread = S.copy()  # of x: the 1 is certain
        spread[:, -1], spread[:, :, -1] = 0, 0
        with_offset = S[:, :-1, -1].sum(axis=0)  # of the factors and the other's bias
        gram = x.T @ x + spread.sum(axis=0)
        side = x.T @ (values[begin:end] - offset) - np.append(with_offset, 0)
        own = np.linalg.inv(noise[line] * gram + prior)
        mean = own @ (noise[line] * side + prior @ expected[line])
        errors = np.sum((values[begin:end] - offset - x @ mean) ** 2) + S[:, -1, -1].sum() + np.sum(own * gram)
        errors += mean @ spread.sum(axis=0) @ mean + 2 * np.append(with_offset, 0) @ mean
        found.append((mean, own, errors))
    assert found[0][0].shape == (d,)
    return tuple(np.array([part[i] for part in found]) for i in range(3))


def regression(unknowns, noise, lines=12, others=300, entries=60, seed=0):
    """What a step needs, of values that the others explain but for that noise, and what is known of the others."""
    rng = np.random.default_rng(seed)
    pointers = np.concatenate([[0], np.cumsum(rng.integers(0, 2 * entries + 1, lines))])
    pointers[1:] += entries  # the first has at least so many
    indices = rng.integers(0, others, pointers[-1]).astype(np.int32)
    means = rng.standard_normal((others, unknowns)).astype(np.float32)
    root = 0.3 * noise * rng.standard_normal((others, unknowns, unknowns)) / unknowns
    covariances = root @ root.transpose(0, 2, 1)
    truth = rng.standard_normal((lines, unknowns)) / unknowns**0.5
    of = np.repeat(np.arange(lines), np.diff(pointers))
    x = means[indices].astype(float)
    values = np.sum(truth[of, :-1] * x[:, :-1], axis=1) + truth[of, -1] + x[:, -1]
    values += noise * rng.standard_normal(len(of))
    precision = rng.uniform(0.5, 2, lines) / noise**2
    prior = np.eye(unknowns) + 0.2
    expected = 0.1 * rng.standard_normal((lines, unknowns)).astype(np.float32)
    given = SparseIndex(pointers, indices), values.astype(np.float32), posterior.moments_of(means, covariances), prior
    return (*given, expected, precision), means, covariances


@pytest.mark.parametrize("unknowns", [1, 2, 7, 16, 25])
@pytest.mark.parametrize("noise", [1.0, 0.1])
def test_a_step_is_a_bayesian_regression_of_each_line(unknowns, noise, take):
    given, means, covariances = regression(unknowns, noise)
    mean, own, errors = dense_regression(given, means, covariances)
    found, total, told, _ = take(*given)
    np.testing.assert_allclose(found, mean, rtol=1e-3, atol=1e-3 if noise < 1 else 1e-4)
    np.testing.assert_allclose(total, own.sum(axis=0), rtol=1e-3, atol=1e-4 * np.abs(own.sum(axis=0)).max())
    np.testing.assert_allclose(told, errors, rtol=2e-3, atol=1e-3 * errors.max())


@pytest.fixture(params=[pytest.param("compiled", marks=native), "plain"])
def take(request):
    return {"compiled": compiled, "plain": plain}[request.param]


@pytest.mark.parametrize("unknowns", [4, 12, 20])
def test_digits_are_kept_where_ten_thousand_entries_are_precise(unknowns, take):
    """20,000 times as precise as the data are wide: noise .007, of which 10,000 entries tell the mean to .00007."""
    noise = 2e4**-0.5
    given, means, covariances = regression(unknowns, noise, lines=6, others=3000, entries=10_000)
    assert np.diff(given[0].indptr).min() >= 0
    assert np.diff(given[0].indptr)[0] >= 10_000
    mean, own, errors = dense_regression(given, means, covariances)
    found, total, told, _ = take(*given)
    np.testing.assert_allclose(found, mean, rtol=0, atol=3e-5)
    np.testing.assert_allclose(np.diag(total), np.diag(own.sum(axis=0)), rtol=1e-3)
    np.testing.assert_allclose(told, errors, rtol=0.1)
    assert (told >= 0).all()


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_a_line_of_another_noise_is_told_as_it_would_be_alone(factor, take):
    given, _, _ = regression(5, 0.5)
    usual = take(*given)
    noise = given[5].copy()
    noise[2] *= factor
    found = take(*given[:5], noise)
    others = np.arange(len(noise)) != 2
    for i in (0, 2, 3):  # means, errors, moments
        np.testing.assert_array_equal(found[i][others], usual[i][others])
    assert np.abs(found[0][2] - usual[0][2]).max() > 1e-3
    # The surer its entries are, the closer they are matched.
    assert (found[2][2] < usual[2][2]) == (factor > 1)
