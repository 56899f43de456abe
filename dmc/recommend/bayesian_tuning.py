"""What the Bayesian fit does not learn of its own course."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VariationalTuning:
    """How wide the model begins, how it grows, and when it has arrived.

    Chosen on held-out tenths of the training parts of MovieLens 100K and Douban and of instruments, FilmTrust and
    MovieTweetings (seeds 100–102).

    Attributes
    ----------
    min_start_width, max_start_width : int
        Directions to begin with.
    entries_per_direction : float
        Entries of a typical row or column for each direction to begin with, between those bounds.
    growth : float
        Times as many directions, while most of them are alive.
    min_alive_share : float
        Which share is most of them.
    min_signal_to_noise : float
        Strength of a direction that is alive, over that at which noise hides one.
    new_variance : float
        Of the prior of directions that join: a wide one drowns the weak ones that are there.
    sweeps_before_priors : int
        Of one width, before the priors are learnt.
    sweeps_before_growth : int
        After those, before it is asked whether more directions are to join.
    max_sweeps : int
        After those before the priors, of the last width.
    tol : float
        Of the noise: predictions that have less than this before them have arrived.
    noise_tol : float
        Relative change of the noise in a sweep: one that is below has arrived.
    max_contraction : float
        Ratio of two moves that is believed.
    refit_ratio : float
        Times as many observations, or as wide a spread, as a model was fitted to: it begins anew.
    watched_entries : int
        Whose predictions are watched.
    large, sample : int
        Entries from which on the first sweeps are of some rows only, and about how many those have: columns, priors and
        the width need no more to begin with.
    min_sample_signal_to_noise : float
        Directions of the sample that are weaker are not taken on.
    """

    min_start_width: int = 6
    max_start_width: int = 10
    entries_per_direction: float = 12
    growth: float = 1.5
    min_alive_share: float = 0.9
    min_signal_to_noise: float = 0.8
    new_variance: float = 0.3
    sweeps_before_priors: int = 3
    sweeps_before_growth: int = 5
    max_sweeps: int = 80
    tol: float = 0.04
    noise_tol: float = 0.01
    max_contraction: float = 0.9
    refit_ratio: float = 1.2
    watched_entries: int = 20_000
    large: int = 12_000_000
    sample: int = 4_000_000
    min_sample_signal_to_noise: float = 0.1
