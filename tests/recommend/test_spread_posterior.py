"""The Bayesian fit in several processes is that in one."""

import numpy as np
import pytest
from spread_fits import dealt, fit_bayes, planted

from dmc._group import ALONE, N_PARTS, spread_qr
from dmc.kernels import posterior
from dmc.observations import Observations
from dmc.recommend import bayesian_snapshot, factor_posterior
from dmc.recommend.bayesian_model import scaled
from dmc.recommend.bayesian_sample import keep_largest
from dmc.recommend.factor_posterior import FactorPosterior, entries_of_sides
from dmc.recommend.presence_features import PresenceFeatures, pattern_features
from dmc.solver import initial
from processes import run_processes

TELL = PresenceFeatures.__call__
CASES = {
    "row with half of all columns": ((400, 120), 9000, 0),
    "weights": ((400, 120), 9000, 1, True),
    "a process without rows": ((600, 150), 16000, 2, False, True),
    "begins on a sample": ((900, 200), 30000, 3, False, True, {"large": 20000, "sample": 8000}),
    "clean": ((300, 80), 9000, 4, False, False, None, None, 0.0),
}


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_predictions_are_those_of_one_process(case, size):
    noise, precision, predicted, *course = fit_bayes(ALONE, *CASES[case])
    found = run_processes(size, fit_bayes, *CASES[case])
    for of_one in found:
        assert of_one[3:] == tuple(course)  # sweeps, rank, ending
        assert of_one[:2] == found[0][:2]  # to the last bit
    assert found[0][0] == pytest.approx(noise, rel=1e-5)
    assert found[0][1] == pytest.approx(precision, rel=1e-4)
    assert np.abs(found[0][2] - predicted).max() < 1e-4 * predicted.std()


def _partly_deaf(group, where, *args):
    """The fit of a process that takes its own sums for those of all in one place."""
    with pytest.MonkeyPatch.context() as patch:
        if where == "priors of rows":
            patch.setattr(FactorPosterior, "rows_over", property(lambda self: ALONE))
        elif where == "mean and unit":
            patch.setattr(bayesian_snapshot, "scaled", lambda observations, group: scaled(observations))
        elif where == "counts of columns":
            patch.setattr(PresenceFeatures, "__call__", lambda self, index, over: TELL(self, index))
        elif where == "posteriors of columns":
            patch.setattr(factor_posterior, "spread_step", lambda group, *given: posterior.step(*given))
        return fit_bayes(group, *args)


@pytest.mark.parametrize("where", ["priors of rows", "mean and unit", "counts of columns", "posteriors of columns"])
def test_sums_of_own_rows_alone_are_noticed(where):
    case = CASES["row with half of all columns"]
    predicted = fit_bayes(ALONE, *case)[2]
    found = run_processes(2, _partly_deaf, where, *case)
    assert np.abs(found[0][2] - predicted).max() > 1e-3 * predicted.std()


def _on_another_machine(group, target, *args):
    """What a function returns where the LAPACK of all processes but the first chooses other signs."""
    svd, qr = np.linalg.svd, np.linalg.qr

    def other_svd(matrix, **given):
        U, s, Vt = svd(matrix, **given)
        signs = np.where(np.arange(len(s)) % 2, 1, -1).astype(U.dtype)
        return U * signs, s, Vt * signs[:, None]

    def other_qr(matrix):
        Q, R = qr(matrix)
        signs = np.where(np.arange(len(R)) % 2, -1, 1).astype(Q.dtype)
        return Q * signs, R * signs[:, None]

    with pytest.MonkeyPatch.context() as patch:
        if group.rank:
            patch.setattr(np.linalg, "svd", other_svd)
            patch.setattr(np.linalg, "qr", other_qr)
        return target(group, *args)


def _told_by_a_pattern(group):
    """Loadings of columns and rows, a spectral start, and a QR decomposition, for a pattern that tells of tastes."""
    rng = np.random.default_rng(0)
    likes = rng.standard_normal((300, 3)) @ rng.standard_normal((3, 60)) + rng.gumbel(size=(300, 60))
    rows, cols = np.nonzero(likes > np.quantile(likes, 0.75))
    whole = Observations.from_entries(rows, cols, np.ones(len(rows), np.float32), likes.shape)
    own, share = dealt(whole, np.sort(rng.integers(0, N_PARTS, 300)), group)
    of_rows, of_columns = pattern_features(own.pattern, 0, group)
    start = initial.dealt_spectral(own, 4, 0, share)
    Q, R = spread_qr(own.pattern.by_row.indptr[1:, None] ** np.arange(3.0) / 1e4, group)
    mine, of_all = (of_columns.loadings, start.U, Q), (of_rows.loadings, start.V, R)
    found = [np.concatenate([part.reshape(-1, of.shape[1]) for part in group.gather(of.ravel())]) for of in mine]
    return [*found, *of_all]


@pytest.mark.parametrize("size", [2, 3])
def test_machines_may_choose_other_signs(size):
    expected = run_processes(size, _told_by_a_pattern)[0]
    assert min(of.shape[1] for of in expected) >= 3
    for found in run_processes(size, _on_another_machine, _told_by_a_pattern):
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def _kept_directions(group):
    """The columns' largest directions of a fit that has just begun."""
    own, share = dealt(*planted(), group)
    sides = entries_of_sides(own, scaled(own, group)[2], group)
    features, rng = pattern_features(own.pattern, 0, group), np.random.default_rng(0)
    over = {"share": share}, {"entries_over": group}
    rows, columns = (
        FactorPosterior.without_directions(*of_side, None, reliabilities=False, **among)
        for *of_side, among in zip(sides, features, over, strict=True)
    )
    for side in (rows, columns):
        side.add_directions(5, rng)
    keep_largest(rows, columns, 3)
    return columns.means


def test_a_sample_s_directions_are_those_of_the_first_machine():
    first, second = run_processes(2, _on_another_machine, _kept_directions)
    np.testing.assert_array_equal(second, first)
    np.testing.assert_allclose(first, run_processes(2, _kept_directions)[0], atol=1e-5)
    assert first.any(axis=0)[:3].all()
