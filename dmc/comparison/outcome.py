"""The result of a comparison, as data, as a table and as a figure."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmc import plots
from dmc.comparison.costs import duration
from dmc.solver.solution import Status, waiting


@dataclass(frozen=True, eq=False)
class Contender:
    """The result of one contender.

    Attributes
    ----------
    name : str
        Such as "compressed".
    n_parameters : int
        Numbers that were fitted.
    n_steps : int
        Steps taken; for `MatrixCompletion`, its own, of all its phases.
    seconds : float
        With set-up, without looks at test entries.
    held_out_error : float
        Root mean squared error on the test entries at the end, in the units of the comparison; NaN if it was not run.
    lowest_error : float
        The lowest such error at any look. Only the test entries know when that was.
    lowest_step : int
        The step of it.
    course : (looks, 3) float64
        Steps, seconds and held-out error at each look. `MatrixCompletion` has only its end.
    status : Status or None
        How it ended; None if it was not run.
    max_steps : int
        The largest number of steps; 0 if there is none.
    stopped_by : str or None
        "time limit", or "interrupt" for Ctrl-C.
    refusal : str
        Why it was not run, in a sentence; empty if it was.
    plateau_steps : float or None
        If it ended on the plateau of a small start: about how many more steps that takes.
    """

    name: str
    n_parameters: int
    n_steps: int = 0
    seconds: float = math.nan
    course: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 3)))
    status: Status | None = None
    max_steps: int = 0
    stopped_by: str | None = None
    refusal: str = ""
    plateau_steps: float | None = None

    @property
    def held_out_error(self) -> float:
        """Root mean squared error on the test entries at the end; NaN if it was not run."""
        return float(self.course[-1, 2]) if len(self.course) else math.nan

    @property
    def lowest_error(self) -> float:
        """The lowest held-out error at any look; NaN if it was not run."""
        errors = self.course[:, 2]
        return float(np.nanmin(errors)) if np.isfinite(errors).any() else math.nan

    @property
    def lowest_step(self) -> int:
        """The step of the lowest held-out error."""
        errors = self.course[:, 2]
        return int(self.course[np.nanargmin(errors), 0]) if np.isfinite(errors).any() else 0

    @property
    def seconds_per_step(self) -> float:
        """Without set-up, from the first look to the last; NaN after fewer than one step."""
        if len(self.course) < 2:
            return self.seconds / self.n_steps if self.n_steps else math.nan
        (first, began, _), (last, ended, _) = self.course[0], self.course[-1]
        return float((ended - began) / (last - first))

    @property
    def converged(self) -> bool:
        """Whether it ended by itself."""
        return self.status in (Status.CONVERGED, Status.COMPLETED, Status.UNDETERMINED)

    @property
    def ending(self) -> str:
        """How it ended, in a few words."""
        if self.refusal:
            return "not run"
        if self.stopped_by == "time limit":
            return f"time limit{self._all_steps()}"
        if self.stopped_by == "interrupt":
            return f"interrupted{self._all_steps()}"
        if self.status is Status.NONFINITE:
            return "diverged"
        if self.plateau_steps is not None:
            return f"not converged: {waiting(self.plateau_steps)}"
        return "converged" if self.converged else "not converged"

    def _all_steps(self) -> str:
        """How long all steps would take, and from how many of them that is estimated."""
        if not self.max_steps or not self.n_steps:
            return ""
        whole = self.seconds + (self.max_steps - self.n_steps) * self.seconds_per_step
        return (
            f"; all {self.max_steps:,} steps would take {duration(whole)} "
            f"(estimated from {self.n_steps:,} step{'s' if self.n_steps > 1 else ''})"
        )

    def record(self) -> dict[str, Any]:
        """The numbers of its row in the table, by name; plain Python types."""
        return {
            "contender": self.name,
            "n_parameters": self.n_parameters,
            "n_steps": self.n_steps,
            "seconds": self.seconds,
            "seconds_per_step": self.seconds_per_step,
            "held_out_error": self.held_out_error,
            "lowest_error": self.lowest_error,
            "lowest_step": self.lowest_step,
            "status": None if self.status is None else self.status.name,
            "ending": self.ending,
            "refusal": self.refusal,
        }


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """The result of `dmc.compare`; ``print`` shows it as a table.

    Parameters
    ----------
    contenders : tuple of Contender
        In the order asked for; ``comparison["compressed"]`` is the one of that name.
    shape : (int, int)
        Rows and columns of the matrix.
    n_train, n_test : int
        Numbers of entries.
    drawn : str
        How the test entries were chosen, with share and seed, in a sentence.
    settings : str
        Rank, depth, start and rate of the networks, in a sentence.
    baseline : float
        Held-out error of the mean: of all training entries, or of each column, whichever is less.
    standardized : bool
        Whether errors are in standard deviations of the column, instead of the data's units.

    Examples
    --------
    >>> import dmc
    >>> planted = dmc.datasets.planted((30, 20), rank=1, observed=0.6)
    >>> found = dmc.compare(planted, rank=2, contenders=("compressed", "two-factor"))
    >>> found["compressed"].converged, found["compressed"].held_out_error < found.baseline / 100
    (True, True)
    >>> found.table[0]["n_parameters"]
    248
    """

    contenders: tuple[Contender, ...]
    shape: tuple[int, int]
    n_train: int
    n_test: int
    drawn: str
    settings: str
    baseline: float
    standardized: bool

    def __getitem__(self, name: str) -> Contender:
        for contender in self.contenders:
            if contender.name == name:
                return contender
        raise KeyError(f"there is no contender {name!r}, only {', '.join(repr(c.name) for c in self.contenders)}")

    @property
    def table(self) -> list[dict[str, Any]]:
        """One dict for each contender, with the numbers of the printed table."""
        return [contender.record() for contender in self.contenders]

    @property
    def units(self) -> str:
        """The units of the errors, in words."""
        return "in standard deviations of the column" if self.standardized else "in the data's units"

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        m, n = self.shape
        header = ("", "steps", "seconds", "s/step", "parameters", "held-out error", "lowest (at step)", "ending")
        rows = [_cells(contender) for contender in self.contenders]
        rows.append(("mean", "", "", "", "1", f"{self.baseline:.4g}", "", ""))
        return "\n".join(
            [
                f"{m:,} × {n:,}, {self.n_train:,} training entries ({self.n_train / (m * n):.2g} of the matrix); "
                f"{self.drawn}.",
                f"{self.settings}.",
                f"Seconds include set-up; errors are root mean squares {self.units}.",
                "",
                *_aligned([header, *rows]),
                *(f"\n{c.refusal}." for c in self.contenders if c.refusal),
            ]
        )

    def figure(self, path: str | os.PathLike[str], *, theme: plots.Ground = "light") -> None:
        """Draw the held-out error by steps and by seconds into a file.

        `MatrixCompletion`, which chooses among models as it goes, is a single point.

        Parameters
        ----------
        path : path
            Its suffix decides the format (.png, .pdf, .svg).
        theme : {"light", "dark", "both"}
            The background it is for, as in `dmc.plots.panels`; "both" also draws NAME-dark.png.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If no contender was run.
        """
        plots.panels(self._panels(), path, theme=theme)

    def _panels(self) -> Sequence[plots.Panel]:
        ran = [contender for contender in self.contenders if np.isfinite(contender.course[:, 2]).any()]
        if not ran:
            raise ValueError("no contender was run: there is nothing to draw; raise time_limit")
        label = f"held-out error, {'standard deviations of the column' if self.standardized else 'data units'}"
        drawn = []
        for column, xlabel in ((0, "step"), (1, "seconds, set-up included")):
            lines = [self._line(contender, column) for contender in ran]
            # Zero has no place on a logarithmic axis.
            ends = [float(np.max(line.x)) for line in lines]
            begins = [float(np.min(np.asarray(line.x)[np.asarray(line.x) > 0], initial=max(ends))) for line in lines]
            across = [min(begins), max(ends)] if column else [0.0, max(ends)]
            title = "By step" if column == 0 else "By time"
            mean = plots.Line(across, [self.baseline] * 2, "mean", plots.style("mean"))
            drawn.append(plots.Panel(title, xlabel, label, [*lines, mean], "log", "log" if column else "linear"))
        return drawn

    def _line(self, contender: Contender, column: int) -> plots.Line:
        course = contender.course[np.isfinite(contender.course[:, 2])]
        end = {"marker": "D", "linestyle": "", "markersize": 6}
        style = plots.style(contender.name, **(end if len(course) == 1 else {"marker": ""}))
        return plots.Line(course[:, column], course[:, 2], contender.name, style)


def _cells(contender: Contender) -> tuple[str, ...]:
    if contender.refusal:
        # How many MatrixCompletion has is found in the fit.
        known = f"{contender.n_parameters:,}" if contender.n_parameters else ""
        return (contender.name, "", "", "", known, "", "", contender.ending)
    lowest = f"{contender.lowest_error:.4g} ({contender.lowest_step:,})" if len(contender.course) > 1 else ""
    return (
        contender.name,
        f"{contender.n_steps:,}",
        f"{contender.seconds:.3g}",
        f"{contender.seconds_per_step:.2g}",
        f"{contender.n_parameters:,}",
        f"{contender.held_out_error:.4g}",
        lowest,
        contender.ending,
    )


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Align columns, numbers to the right; the first and the last column to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    last = len(widths) - 1
    return [
        "  ".join(
            cell.ljust(width) if i in (0, last) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
