"""`compare`: contenders on the same entries, with the same loop and the same rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sklearn.exceptions import ConvergenceWarning

from dmc import _checks, _memory
from dmc._warn import warn
from dmc.comparison import costs
from dmc.comparison.outcome import Comparison, Contender
from dmc.comparison.training import Limits, Settings, complete, networks, prepare, train
from dmc.comparison.trial_data import TrialData, trial_data
from dmc.observations import Observations

CONTENDERS = ("compressed", "full width", "narrow", "two-factor", "MatrixCompletion")
MOST = 10  # rank bound where none is given
ENOUGH = 1.0  # training entries that a default bound asks for, over rank·(rows + columns)


@_memory.in_words
def compare(
    X: Any,
    mask: Any = None,
    *,
    test: Any = None,
    test_fraction: float = 0.1,
    rank: int | None = None,
    depth: int = 3,
    scale: float = 1e-2,
    contenders: Sequence[str] = CONTENDERS,
    standardize: bool = False,
    missing_values: float | None = math.nan,
    max_steps: int = 5000,
    tol: float = 1e-5,
    time_limit: float = 30.0,
    random_state: int = 0,
    verbose: bool = False,
) -> Comparison:
    """Compare deep networks of several kinds, and `MatrixCompletion`, on a matrix with gaps.

    All are trained on the same entries and judged by the same others. The networks are minimised by the same loop and
    step rule, gradient descent at the rate .2/p (p the observed share) on entries scaled to spectral norm 1, where each
    step is halved until the value does not rise. Seconds count from before a contender's start is made; looking at the
    test entries is not counted. The contenders:

    - "compressed": 2r̂ wide, `depth` cores between orthonormal factors (`dmc.initial.compressed`)
    - "full width": `depth` layers as wide as the larger side (`dmc.initial.orthogonal`)
    - "narrow": `depth` layers, 2r̂ wide, random (`dmc.initial.narrow`)
    - "two-factor": r̂ wide, from the truncated SVD of the observed entries (`dmc.initial.spectral`)
    - "MatrixCompletion": with `rank` if you give it, and no other setting

    A contender that could not take its first 50 steps within `time_limit` is not run, and no memory is taken for it;
    the result says so, and from how many steps that was estimated. Ctrl-C ends the comparison with what was measured.

    Parameters
    ----------
    X : (rows, columns) array, or whatever `dmc.observe` takes; `MaskedLeastSquares`; or `dmc.datasets.Planted`
        The weights and penalties of a problem apply to the networks (its weights to `MatrixCompletion` too). A planted
        matrix is judged by entries that were not observed.
    mask : (rows, columns) bool, optional
        True where an entry was observed.
    test : (rows, columns) bool, optional
        True where an observed entry (of a planted matrix: any entry) is used for the test and not for training; by
        default drawn at random.
    test_fraction : float
        Share of the observed entries that is drawn for the test.
    rank : int, optional
        Upper bound r̂ of the rank; by default at most 10, and no more than the entries support.
    depth : int
        Number of cores of the compressed network, and of layers of the full-width and narrow ones; at least 2.
    scale : float
        Scale ε of the networks' starts.
    contenders : sequence of str
        Which ones, in this order.
    standardize : bool
        Whether to subtract from every column the mean of its training entries and divide by their standard deviation,
        for tables whose columns have different units. Errors are then in standard deviations of the column.
    missing_values : float
        A number that stands for a missing entry, beside NaN.
    max_steps : int
        The largest number of steps of a network.
    tol : float
        A network has converged when its gradient is at most `tol` times the largest seen.
    time_limit : float
        Seconds for each contender.
    random_state : int
        Seed of the test entries and of the starts.
    verbose : bool
        Whether to show a progress bar for each contender.

    Returns
    -------
    Comparison
        ``print`` shows its table; `Comparison.table` holds it as dicts, `Comparison.figure` draws it.

    Raises
    ------
    ValueError, TypeError
        If the data or a parameter cannot be used.

    Warns
    -----
    UserWarning
        If a contender did not converge, predicts worse than the mean, or was not run.

    References
    ----------
    C. Yaras, P. Wang, L. Balzano, Q. Qu, "Compressible Dynamics in Deep Overparameterized Low-Rank Learning &
    Adaptation", ICML 2024 (arXiv 2406.04112), figures 3 and 4.

    Examples
    --------
    >>> import dmc
    >>> planted = dmc.datasets.planted((40, 30), rank=2, observed=0.5)
    >>> found = dmc.compare(planted, rank=4, contenders=("compressed", "MatrixCompletion"))
    >>> [row["contender"] for row in found.table if row["held_out_error"] < 1e-3]
    ['compressed', 'MatrixCompletion']
    """
    limits, seed = _limits(max_steps, tol, time_limit), _checks.integer(random_state, "random_state", 0)
    chosen = _chosen(contenders)
    depth = _checks.integer(depth, "depth", 2)
    scale = _checks.real(scale, "scale", 0, 1, open_ends=True)
    data = trial_data(X, mask, test, test_fraction, missing_values, standardize, seed)
    bound = _default_rank(data.train) if rank is None else _checks.rank(rank, data.train.shape)
    settings = Settings(bound, depth, scale, seed)
    found = _all(chosen, data, settings, rank, limits, verbose)
    result = Comparison(
        tuple(found),
        data.train.shape,
        data.train.n_observed,
        len(data.test.values),
        data.test.drawn,
        _told(settings, data, limits, rank is None),
        data.baseline,
        data.standardized,
    )
    _warn_of(result)
    return result


def _limits(max_steps: int, tol: float, time_limit: float) -> Limits:
    return Limits(
        _checks.integer(max_steps, "max_steps", 1),
        _checks.real(tol, "tol", 0),
        _checks.real(time_limit, "time_limit", 0, open_ends=True),
    )


def _chosen(contenders: Sequence[str]) -> list[str]:
    if not isinstance(contenders, (str, list, tuple, set)):
        raise TypeError(f"contenders is {contenders!r}; give a list of names")
    given = [contenders] if isinstance(contenders, str) else list(contenders)
    if not given:
        raise ValueError(f"contenders is empty; name at least one of {', '.join(map(repr, CONTENDERS))}")
    chosen = [_checks.choice(name, "each of contenders", CONTENDERS) for name in given]
    return list(dict.fromkeys(chosen))


def _default_rank(train: Observations) -> int:
    m, n = train.shape
    return max(1, min(MOST, m, n, int(train.n_observed / (ENOUGH * (m + n)))))


def _all(
    chosen: list[str], data: TrialData, settings: Settings, told: int | None, limits: Limits, verbose: bool
) -> list[Contender]:
    """Run every contender; after Ctrl-C the remaining ones are skipped."""
    of_kind, found, ended = networks(data, settings), [], False
    prepare(data)
    speed = costs.operations_per_second()
    for name in chosen:
        if ended:
            size = of_kind[name].size.n_parameters if name in of_kind else 0
            found.append(Contender(name, size, refusal=f"{name} was not run: the comparison was interrupted before"))
            continue
        if name in of_kind:
            found.append(train(of_kind[name], data, limits, speed, verbose))
        else:
            found.append(complete(data, told, settings.seed, limits.time_limit, verbose))
        ended = found[-1].stopped_by == "interrupt"
    return found


def _told(settings: Settings, data: TrialData, limits: Limits, by_default: bool) -> str:
    m, n = data.train.shape
    parts = [
        f"Networks: rank at most {settings.rank}{' (by default)' if by_default else ''}, width "
        f"{min(2 * settings.rank, m, n)}, depth {settings.depth}, ε = {settings.scale:g}, rate .2/p, at most "
        f"{limits.max_steps:,} steps and {costs.duration(limits.time_limit)} each"
    ]
    if data.level:
        parts.append(f"they fit the entries less their mean, {data.level:.4g}, which exceeds the spread")
    return "; ".join(parts)


def _warn_of(result: Comparison) -> None:
    """Warn of whatever makes a row of the table worth less than it looks."""
    ran = [contender for contender in result.contenders if not contender.refusal]
    interrupted = next((c for c in ran if c.stopped_by == "interrupt"), None)
    if interrupted is not None:
        warn(f"interrupted in {interrupted.name}: the comparison holds what was measured")
    for contender in result.contenders:
        if contender.refusal and interrupted is None:
            warn(contender.refusal)
    open_ended = [c for c in ran if not c.converged and c.stopped_by != "interrupt"]
    if open_ended:
        listed = ", ".join(f"{c.name} ({c.ending.partition(';')[0]} at step {c.n_steps:,})" for c in open_ended)
        warn(
            f"{len(open_ended)} of {_checks.count(len(ran), 'contender')} did not converge: {listed}; their errors are "
            "not those of a minimum: raise max_steps or time_limit",
            ConvergenceWarning,
        )
    # One on the plateau has learnt nothing yet, for which neither rank nor entries are to blame.
    measured = [c for c in ran if len(c.course) and c.stopped_by != "interrupt" and c.plateau_steps is None]
    worse = [c for c in measured if not c.held_out_error <= result.baseline]
    if worse:
        listed = ", ".join(f"{c.name} ({c.held_out_error:.3g})" for c in worse)
        warn(
            f"{len(worse)} of {_checks.count(len(ran), 'contender')} {'predicts' if len(worse) == 1 else 'predict'} no "
            f"better than the mean ({result.baseline:.3g}): {listed}; give a smaller rank, or more entries"
        )
