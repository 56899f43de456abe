"""The numbers by which a completion decides, and what they were chosen on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RankSearchTuning:
    """How the rank is searched for and a model called exact; chosen on planted matrices unless said otherwise.

    Attributes
    ----------
    path_decay : float
        Factor of the penalty's level in each step of the first path.
    path_steps, polish_steps : int
        Steps at most: more than a phase needs, which ends when it has done its work.
    rounds : int
        Of path and polish, each lower than the last.
    further_room : int
        Directions on a path beyond twice as many as the entries can tell: where these are few.
    beyond_bound : int
        Directions on a path beyond the bound of the answer.
    min_oversampling : float
        Entries over degrees of freedom above which matching them all exactly is no accident.
    ample_oversampling : float
        The same above which a converged fit does not depend on its start.
    signflip_ratio : float
        Spectral norm of the residuals over that with random signs, up to which they hide nothing worth a direction.
    min_signflip_entries : int
        Among fewer entries chance and structure look alike.
    singular_value_gap : float
        Ratio of neighbouring singular values from which on they are of two kinds.
    exact_gap : float
        Such a ratio of an exact model, whose further directions may only fill in.
    as_good : float
        Relative rise of the held-out error for which a model without penalty is preferred.
    max_gram_numbers : int
        Numbers in the matrices of all rows and columns together, beyond which they are not formed (memory).
    max_held_out, min_held_out : int
        Entries: enough to know the error to a percent; with fewer it says nothing.
    max_held_out_share : float
        Of a small table.
    min_spare_entries : float
        Entries for each row and column from which some can be spared: with fewer than one nothing hangs together.
    max_rounding : float
        Of the entries' size: with more nothing can be said to be exact.
    own_direction : float
        Share of a row in the directions of all rows from which on others say nothing of it.
    row_rounding : float
        Of a row's or column's own size: what is left of it is not the share of others in the rounding.
    last_step : float
        Of the entries' size, what a last step leaves at a condition number of 1e4: up to it what looks like noise is
        rounding.
    direction_rounding : float
        Of what is left of the entries, over their size: a direction that is smaller is rounding.
    movement_products : int
        Passes over the entries to find what holds a model still.
    free_movement : float
        Change of a model that nothing holds, over what one free direction makes of it, from which on it can be moved: a
        random movement has less of a single direction by chance in 4 of 100 cases,
    movement_rounding : float
        if it changes observed entries by less than this of what it changes others by.
    movement_seeds : int
        Rows from which on the rows and columns are sought that move as one.
    """

    path_decay: float = 0.84
    path_steps: int = 600
    polish_steps: int = 100
    rounds: int = 20
    further_room: int = 4
    beyond_bound: int = 10
    min_oversampling: float = 1.05
    ample_oversampling: float = 2.0
    signflip_ratio: float = 1.1
    min_signflip_entries: int = 100
    singular_value_gap: float = 3.0
    exact_gap: float = 1e3
    as_good: float = 0.01
    max_gram_numbers: int = 50_000_000
    max_held_out: int = 10_000
    min_held_out: int = 20
    max_held_out_share: float = 0.2
    min_spare_entries: float = 1.25
    max_rounding: float = 0.01
    own_direction: float = 0.999
    row_rounding: float = 1e-6
    last_step: float = 4e-10
    direction_rounding: float = 1e3
    movement_products: int = 300
    free_movement: float = 0.05
    movement_seeds: int = 20
    movement_rounding: float = 1e-5


@dataclass(frozen=True)
class Restart:
    """One more path, where those before have not led to the answer.

    Attributes
    ----------
    decay : float
        Of its level.
    spread : float
        Standard deviation of the logarithms of random weights of the entries: they change the path and not its end.
    share : float or None
        Of the rows and columns, those that check each other best; None: as many as outnumber their freedom the most; 0:
        such as have no gap among each other.
    """

    decay: float
    spread: float = 0.0
    share: float | None = None


@dataclass(frozen=True)
class RestartTuning:
    """Where else an exact model is sought.

    Chosen on planted matrices of rank 4 and 5 (300 × 300, 250 × 400, 1000 × 1000; entries over freedom 1.05 to 1.2
    uniformly, 2 of power laws and bands), seeds 300 to 347.

    Attributes
    ----------
    restarts : tuple of Restart
        In their order.
    wrong_turn_ratio : float
        Residual over held-out error up to which a path may have taken a wrong turn: then it is .02 to .5, and .57 and
        more where there is noise.
    patience : float
        Of `Settled`: with less, a path is left before it is near enough to its end.
    worthwhile : float
        Entries over freedom in a part, over those of the whole, from which on it may be easier.
    narrowest : int
        Rows or columns without a gap that are too few to show a rank.
    doubtful : int
        Restarts after which there are no more, if none was promising.
    little : float
        What a promising path leaves of the squares at most: 1e-5 and less where it took a wrong turn, .003 where noise
        is a tenth of the entries' size.
    """

    restarts: tuple[Restart, ...] = (
        Restart(0.95),
        Restart(0.84, share=0.0),
        Restart(0.95, 0.1, share=0.25),
        Restart(0.95, 0.1, share=0.8),
        Restart(0.97, 0.2),
        Restart(0.95, 0.1, share=0.9),
        Restart(0.97, 0.2, share=0.8),
        Restart(0.96, 0.15),
        Restart(0.95, 0.1, share=0.75),
        Restart(0.985, 0.1, share=0.85),
    )
    wrong_turn_ratio: float = 0.5
    patience: float = 2.0
    worthwhile: float = 0.9
    narrowest: int = 2
    doubtful: int = 3
    little: float = 1e-4


@dataclass(frozen=True)
class SelectionTuning:
    """How a kind of model is chosen.

    What they were chosen on was not noted; `bench/tune.py` judges them on the seven tables of bench/tables.py and on
    planted matrices.

    Attributes
    ----------
    parts : tuple of (int, int)
        Entries up to which so many parts are held out, one after the other; beyond the last, one.
    narrow_columns, tall_ratio : int
        Columns at most, and rows for each, where factor analysis has the directions of any model.
    max_width : int
        Of factor analysis: the seven tables of bench/tables.py gain nothing from more.
    sure_entries : float
        Entries of a column for each direction, above which no width of a prior has to be learnt.
    sampled_rows, min_sampled_rows : int
        Rows for each column of a narrow table, and in all, that are enough to choose and to begin.
    min_noise : float
        Variance of an entry that is noise, over that of its column, from which on nothing can be exact.
    min_calibrated, max_calibrated : int
        Held-out entries by which standard deviations are corrected.
    corrections : tuple of float
        Least and largest of these factors.
    overwhelming_gain : float
        Nats an entry by which levels and spreads describe it better, where one size for all is not tried; on the scale
        of `ScalingTuning.min_gain`.
    hopeless_ratio : float
        Error over the least one on the first part, above which a kind is not tried on the others.
    """

    parts: tuple[tuple[int, int], ...] = ((5_000, 5), (20_000, 3))
    narrow_columns: int = 64
    tall_ratio: int = 10
    max_width: int = 32
    sure_entries: float = 20.0
    sampled_rows: int = 20
    min_sampled_rows: int = 1_000
    min_noise: float = 0.01
    min_calibrated: int = 100
    max_calibrated: int = 2_000
    corrections: tuple[float, float] = (0.5, 2.0)
    overwhelming_gain: float = 2.0
    hopeless_ratio: float = 1.1


@dataclass(frozen=True)
class ScalingTuning:
    """Which tables have units.

    Attributes
    ----------
    min_gain : float
        Nats an entry by which levels and spreads have to describe the entries better. Planted matrices of any pattern
        gain −.5 to .1, pictures .7 to 1.1, tables in units more than 1.5 (30 % hidden; scikit-learn's tables and
        pictures).
    min_entries : int
        Of a row or column from which its mean and spread can be told: two are soon the same by chance.
    min_spread : float
        Roundings of the level: what is less is one, and the row or column constant.
    """

    min_gain: float = 0.5
    min_entries: int = 5
    min_spread: float = 8


@dataclass(frozen=True)
class FactorAnalysisTuning:
    """Priors and sweeps of factor analysis, in units of a column's spread.

    Chosen on iris, wine, diabetes, breast cancer, penguins, air quality and metro with other entries hidden than the
    bench hides (seeds 100 to 102, 10 to 50 %).

    Attributes
    ----------
    loading_precision : float
        Of the prior of a loading; .3 to 3 do the same.
    noise_entries : float
        For which the noise of all columns counts in that of each; 0 to 20 do the same.
    intercept_precision : float
        Next to none.
    min_information : float
        Of all entries of a row about a direction, over that of its prior.
    min_noise : float
        Of a column's variance.
    tol : float
        Sweeps that move predictions by less are the last.
    max_sweeps, min_sweeps : int
        Bounds of the number of sweeps,
    sweeps_work : float
        which are the fewer the more work each is: this much in all.
    sweeps_from_sample : int
        From where a sample of the rows has led.
    watched : int
        Entries whose predictions are watched.
    """

    loading_precision: float = 1.0
    noise_entries: float = 2.0
    intercept_precision: float = 1e-6
    min_information: float = 0.1
    min_noise: float = 1e-10
    tol: float = 1e-3
    max_sweeps: int = 200
    min_sweeps: int = 12
    sweeps_work: float = 2e9
    sweeps_from_sample: int = 1
    watched: int = 5_000


@dataclass(frozen=True)
class RobustTuning:
    """Which entries are grossly wrong.

    Those of the path were chosen on planted matrices (300×300, rank 5, 2.5 to 5 entries for each degree of freedom, κ 1
    and 30, without noise and with 20 dB; 10 to 30 % of the entries wrong, or a third of those of some rows and columns;
    seeds 210 to 215) and on tables of 120×8 with 20 % noise and 3 % of the entries wrong (seeds 205 to 229). What the
    others were chosen on was not noted. `bench/tune.py` judges all of them on planted matrices with noise and 1 % and
    10 % of the entries wrong.

    Attributes
    ----------
    deviations : float
        From which on an entry is an outlier, in units of the others' typical residual.
    gross_deviations : float
        The same from which a user of the squared loss is told of them,
    min_gross, min_gross_share : int and float
        if there are so many, and so large a share.
    apart : float
        Robust deviations from the median of a column from which entries are told of, however few, if no others are
        a fifth as far,
    apart_share : float
        and if they are no more than this share of the column, or one.
    rounds : int
        Of fits without outliers, and new ones found.
    reweighted : int
        Fits of a new row.
    freedom : float
        Degrees of freedom of the Student's t by which entries count in them and on the path of the first guess.
    path_decay : float
        Factor of the path's level in each step; .7 and .92 find as much.
    path_steps : int
        At most.
    path_patience : int
        Steps after which it ends, if the held-out entries are predicted no better,
    path_min_change : float
        by this share at least.
    path_matched : float
        Of a column's typical deviation: with a smaller residual next to nothing is left that could be an outlier.
    path_min_entries : int
        Of a row or column from which its own typical residual counts: two wrong entries of six are soon followed.
    path_max_ratio : float
        Of that to the typical residual of all; from 10 on a third of a row may be wrong, with 3 its rest is cast out.
    held_out_share : float
        Of the entries; .03 to .1 do the same.
    """

    deviations: float = 5.0
    gross_deviations: float = 12.0
    min_gross: int = 3
    min_gross_share: float = 5e-4
    apart: float = 50.0
    apart_share: float = 0.02
    rounds: int = 10
    reweighted: int = 6
    freedom: float = 2.0
    path_decay: float = 0.84
    path_steps: int = 100
    path_patience: int = 8
    path_min_change: float = 1e-3
    path_matched: float = 1e-6
    path_min_entries: int = 10
    path_max_ratio: float = 10.0
    held_out_share: float = 0.05


@dataclass(frozen=True)
class WarningTuning:
    """What a user is told of a fit.

    What they were chosen on was not noted; no error tells of them, and `bench/tune.py` leaves them out.

    Attributes
    ----------
    default_bound : int
        Rank looked for where no bound is given.
    unexplained : float
        Held-out error over that of the means from which a user is told.
    doubtful, overfitted : float
        The same where the entries that were fitted are missed by less than this share of what held-out ones are.
    no_better : float
        Held-out error over that of the mean of one column,
    min_tested : int
        and its held-out entries from which it is said.
    little : float
        Share of a column's variance that is predicted at most, two standard errors up, where nothing is said.
    zeros : float
        Share of a matrix without gaps that are zeros, from which they may have been meant for gaps.
    several : int
        Entries: of fewer nothing is suspicious.
    """

    default_bound: int = 50
    unexplained: float = 0.9
    doubtful: float = 0.5
    overfitted: float = 0.5
    no_better: float = 0.98
    min_tested: int = 20
    little: float = 0.1
    zeros: float = 0.1
    several: int = 10


RANK_SEARCH = RankSearchTuning()
RESTARTS = RestartTuning()
SELECTION = SelectionTuning()
SCALING = ScalingTuning()
FACTOR_ANALYSIS = FactorAnalysisTuning()
ROBUST = RobustTuning()
WARNINGS = WarningTuning()
