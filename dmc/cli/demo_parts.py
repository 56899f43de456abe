"""What `dmc demo` shows, part by part: what it prints, what it found, and the diagrams of its picture."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray

import dmc
from dmc.cli.made_up_ratings import Ratings, made_up_ratings
from dmc.cli.output import interactive, show
from dmc.plots import FIRST, SOFT, Line, Panel, Picture, Threshold

UNITS = {"s1": ("total cholesterol", "mg/dl"), "s2": ("LDL cholesterol", "mg/dl"), "bp": ("blood pressure", "mmHg")}
DRAWN = "s2"
OF_NORMAL_90 = 1.645  # standard deviations on either side of the mean that hold 90 % of a normal distribution
SHOWN = 60  # points of the scatter diagram


class Part(NamedTuple):
    """What a part of the demo found: for machines, and for the picture."""

    found: dict[str, Any]
    diagrams: list[Panel | Picture]


def photograph() -> Part:
    """Each colour of a photograph as a matrix, no rank given."""
    typer.echo("A photograph of 427 × 640 pixels, 70 % of them missing")
    image, mask = dmc.datasets.photograph(0.3)
    restored, ranks = np.empty_like(image), []
    for color in range(3):
        model = dmc.MatrixCompletion(verbose=interactive()).fit(image[..., color], mask=mask)
        restored[..., color] = np.where(mask, image[..., color], np.clip(model.complete(), 0, 1))
        ranks.append(model.rank_)
    hidden, mean = image[~mask], image[mask].mean(axis=0)
    ours = dmc.metrics.psnr(restored[~mask], hidden)
    theirs = dmc.metrics.psnr(np.broadcast_to(mean, hidden.shape), hidden)
    show(
        [
            ("missing pixels, restored", f"PSNR {ours:.1f} dB (mean colour: {theirs:.1f} dB)"),
            ("ranks found", "{} (red), {} (green), {} (blue)".format(*ranks)),
        ]
    )
    return Part(
        {"psnr": ours, "psnr_mean_fill": theirs, "ranks": ranks},
        [
            Picture("A photograph, 70 % missing", image * mask[..., None], "427 × 640 pixels"),
            Picture("Restored", restored, f"PSNR where missing: {ours:.1f}\u00a0dB; mean colour: {theirs:.1f}\u00a0dB"),
        ],
    )


def table_with_gaps() -> Part:
    """Patients' measurements in their own units, and how many true values the error bars cover."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False)
    table, names = np.asarray(data.data, dtype=np.float64), list(data.feature_names)
    m, n = table.shape
    typer.echo(f"\nA table of {m} patients and {n} measurements, 30 % of them missing (real: scikit-learn's diabetes)")
    hidden = np.random.default_rng(0).random(table.shape) < 0.3
    gapped = np.where(hidden, np.nan, table)
    model = dmc.MatrixCompletion(verbose=interactive()).fit(gapped)
    rows, columns = np.nonzero(hidden)
    filled, deviation = model.predict(rows, columns, return_std=True)
    truth, means, spreads = table[hidden], np.nanmean(gapped, axis=0)[columns], np.nanstd(gapped, axis=0)[columns]
    errors, rivals = (filled - truth) / spreads, (means - truth) / spreads
    half = OF_NORMAL_90 * deviation
    inside = float(np.mean(np.abs(filled - truth) <= half))
    lines, of = [], {}
    for name, (words, unit) in UNITS.items():
        at = columns == names.index(name)
        of[words] = dmc.metrics.rmse(filled[at], truth[at]), dmc.metrics.rmse(means[at], truth[at])
        lines.append((f"{words}: error", "{:.1f} {unit} (column mean: {:.1f})".format(*of[words], unit=unit)))
    error, rival = (float(np.sqrt(np.mean(off**2))) for off in (errors, rivals))
    show(
        [
            *lines,
            ("all: error in spreads of the column", f"{error:.2f} (column means: {rival:.2f})"),
            ("inside the 90 % error bars", f"{100 * inside:.0f} % of the {len(truth):,} hidden entries"),
        ]
    )
    at = np.flatnonzero(columns == names.index(DRAWN))[:SHOWN]
    words, unit = UNITS[DRAWN]
    return Part(
        {
            "error": error,
            "error_of_column_means": rival,
            "inside_90": inside,
            "errors_in_units": {name: {"error": ours, "column_mean": mean} for name, (ours, mean) in of.items()},
        },
        [_scatter(truth[at], filled[at], half[at], means[at[0]], f"{words}, {unit}", (of[words], unit, inside))],
    )


def _scatter(
    truth: NDArray[np.float64],
    filled: NDArray[np.float64],
    half: NDArray[np.float64],
    mean: float,
    label: str,
    reached: tuple[tuple[float, float], str, float],
) -> Panel:
    ends = [min(truth.min(), filled.min()), max(truth.max(), filled.max())]
    (ours, rival), unit, inside = reached
    points = {"color": FIRST, "marker": "o", "linestyle": "", "markersize": 4, "alpha": 0.75}
    return Panel(
        f"A table, 30 % missing: off by {ours:.0f}\u00a0{unit} (column mean: {rival:.0f})",
        f"true {label}",
        "filled in",
        [
            Line(ends, ends, "", {"color": SOFT, "linewidth": 1}),
            Line(truth, filled, "", points, whiskers=(filled - half, filled + half)),
        ],
        note=f"442 patients; bars for 90\u00a0% cover {100 * inside:.0f}\u00a0% of all hidden entries",
        thresholds=[Threshold(float(mean), "column mean")],
    )


def ratings() -> Part:
    """Ratings whose truth is known: the error of hidden ones, and what a list of five is worth."""
    made = made_up_ratings()
    typer.echo(
        f"\n{len(made.values):,} ratings of {len(made.items)} films by {made.n_users:,} users (made up), a tenth hidden"
    )
    test = np.random.default_rng(0).random(len(made.values)) < 0.1
    model = dmc.Recommender(verbose=interactive()).fit(made.table(~test))
    actual = made.values[test]
    predicted = model.predict(made.table(test), output="dict")["prediction"]
    ours = dmc.metrics.rmse(predicted, actual)
    mean = dmc.metrics.rmse(np.full(len(actual), made.values[~test].mean()), actual)
    biases = dmc.metrics.rmse(made.biases(~test)[test], actual)
    least = dmc.metrics.rmse(made.expected[test], actual)
    found = {"rmse": ours, "rmse_of_mean": mean, "rmse_of_biases": biases, "rmse_of_noise": least}
    show(
        [
            ("error of the hidden ratings", f"{ours:.2f} stars (biases alone: {biases:.2f}, mean: {mean:.2f})"),
            ("least possible, for their noise", f"{least:.2f} stars"),
        ]
    )
    bars = [mean, biases, ours]
    return Part(
        found | {"recommended": _five(model, made)},
        [
            Panel(
                f"Ratings: off by {ours:.2f} stars (user and item biases: {biases:.2f})",
                "",
                "error of hidden ratings, stars",
                [
                    Line([0, 1], bars[:2], "", {"color": SOFT, "alpha": 0.5}, bars=0.6),
                    Line([2], bars[2:], "", {"color": FIRST}, bars=0.6),
                ],
                ylim=(0, None),
                xlim=(-0.45, 3.4),  # room for the threshold's label
                xticks=[f"{name}\n{bar:.2f}" for name, bar in zip(("mean", "biases", "dmc"), bars, strict=True)],
                note=f"{len(made.values):,} made-up ratings of {len(made.items)} films; a tenth hidden",
                thresholds=[Threshold(least, f"least\npossible:\n{least:.2f}")],
            )
        ],
    )


def _five(model: dmc.Recommender, made: Ratings) -> list[dict[str, Any]]:
    """Five films for a user, why, and what the user would in truth give them."""
    user = 0
    listed = model.recommend([made.user(user)], n=5, output="dict")["item"].tolist()
    typer.echo(f"  five films for {made.user(user)}, with the stars this user would in truth give on average:")
    rows = []
    for name in listed:
        reasons = model.explain(made.user(user), name, n=20, output="dict")
        best = int(np.argmax(reasons["contribution"]))
        because = f"{reasons['item'][best]} was rated {reasons['rating'][best]:.0f}"
        rows.append({"item": name, "true_mean": made.true_mean(user, name), "because": because})
        typer.echo(f"    {name:20} {rows[-1]['true_mean']:.1f}  because {because}")
    typer.echo(f"    {'all films':20} {made.true_means(user).mean():.1f}")
    return rows


PARTS = {"photograph": photograph, "table": table_with_gaps, "ratings": ratings}
