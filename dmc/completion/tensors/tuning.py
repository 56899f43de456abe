"""The numbers by which a tensor's completion decides, and what they were chosen on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorTuning:
    """Chosen on planted tensors of 50×50×20 and 40×60×9, seeds 200–399, and on masks 100–105 of the metro passengers.

    Attributes
    ----------
    decays : tuple of float
        Factor of the level from step to step: of the paths that held-out entries judge, and then of those on all
        entries, where the first left more open than noise would.
    path_steps, finish_steps : int
        Steps at most: more than a phase needs, which ends when it has done its work.
    steady_steps : int
        Steps at one level on all entries, from the best model of most of them.
    soon, late : int
        Steps without a better held-out error after which a path ends: where directions have joined since, and where
        none has, for a large first direction may be followed by small ones far down.
    better : float
        Relative fall of the held-out error that counts.
    nearly : float
        Of the value at zero: below it a path may be near to an exact model.
    retry : float
        Of the value where a finish failed: below it the next is tried.
    plateau : int
        Steps with the same widths that tell a multi-rank from directions in passing.
    plateaus : int
        So many of the last ones are finished without penalty, and judged.
    rounding, rounding_units : float
        Root mean square of the residuals over that of the entries, up to which float64 ones are matched; and in units
        of roundoff of other dtypes.
    exact_rounding : float
        The same, at which a finish has nothing left to gain: ten units of float64's roundoff.
    as_good : float
        Relative rise of the held-out error for which a model without penalty is preferred.
    exact_gap : float
        Ratio of neighbouring singular values beyond which directions of an exact model only fill in.
    min_oversampling : float
        Entries over degrees of freedom above which matching them all is no accident.
    overfitted, unexplained : float
        Residuals over held-out errors, and held-out errors over the spread: below the first, or above the second, the
        entries may be few for an exact model in place of noisy.
    freest : float
        Degrees of freedom over entries on a path: beyond them it finds nothing any more.
    lowest : float
        Level at which a path ends.
    least_gain : float
        Of a finish's value in a step.
    max_held_out, min_held_out, max_share : int, int, float
        Entries, and their share of few.
    min_tubes : int
        Whole tubes held out, where what is missing is whole tubes.
    whole_tubes : float
        Share of the missing entries in wholly missing tubes, beyond chance, from which on that is so.
    few_tubes : float
        Share of tubes up to which it is no matter if they are wholly missing.
    behind : float
        Times the leading candidate's held-out error: those above it wait until that one is over.
    default_bound : int
        Width of a slice at most, where no rank was given.
    near : float
        Of the best candidate's held-out error: up to it the path of an unfolding is followed by a whole fit.
    """

    decays: tuple[float, ...] = (0.84, 0.93, 0.96)
    path_steps: int = 600
    finish_steps: int = 100
    steady_steps: int = 5
    soon: int = 6
    late: int = 40
    better: float = 1e-3
    nearly: float = 1e-5
    retry: float = 1e-2
    plateau: int = 3
    plateaus: int = 2
    rounding: float = 1e-11
    rounding_units: float = 10.0
    exact_rounding: float = 2e-15
    as_good: float = 0.01
    exact_gap: float = 1e3
    min_oversampling: float = 1.02
    overfitted: float = 0.3
    unexplained: float = 0.5
    freest: float = 1.5
    lowest: float = 1e-12
    least_gain: float = 1e-2
    max_held_out: int = 10_000
    min_held_out: int = 50
    max_share: float = 0.2
    min_tubes: int = 40
    whole_tubes: float = 0.5
    behind: float = 3.0
    near: float = 1.05
    few_tubes: float = 0.05
    default_bound: int = 50


TENSORS = TensorTuning()
