"""The pictures of a comparison: accuracy against tokens, and against time; PNG and SVG. Owns matplotlib for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pruner.comparison.hours import HoursRow
from pruner.comparison.table import ComparisonRow, Control
from pruner.files import write_atomically
from pruner.pareto import pareto_front

# Distinguishable without red against green. Source: Okabe and Ito 2008.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_MARKERS = "osD^vP*X"


def plot_pareto(rows: Sequence[ComparisonRow], control: Control | None, target: Path) -> list[Path]:
    """Draw every run by method, the Pareto front, and plain voting at all numbers of traces; return the files."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.2), layout="constrained")
    axes = figure.subplots()
    if control is not None:
        tokens, correct = control.tokens.mean(axis=0) / 1000, 100 * control.correct.mean(axis=0)
        axes.plot(tokens, correct, color="0.6", linewidth=1.5, label="cons@k, k = 1..N", zorder=1)
    _draw(axes, [(row.method, row.tokens_net / 1000, 100 * row.mean_accuracy) for row in rows])
    axes.set(xlabel="net tokens per problem, thousands (log scale)", ylabel="accuracy of the answer, %", xscale="log")
    return _saved(figure, axes, target / "pareto")


def plot_hours(rows: Sequence[HoursRow], target: Path) -> list[Path]:
    """Draw accuracy against the hours of one engine, by method and number of traces ahead; return the files."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.2), layout="constrained")
    axes = figure.subplots()
    several = {row.method for row in rows if row.ahead != rows[0].ahead}
    _draw(
        axes,
        [
            (f"{row.method}, {row.ahead} ahead" if row.method in several else row.method, row.hours, 100 * row.accuracy)
            for row in rows
        ],
    )
    axes.set(xlabel="hours of one engine (log scale)", ylabel="accuracy of the answer, %", xscale="log")
    return _saved(figure, axes, target / "hours")


def _draw(axes: Any, points: Sequence[tuple[str, float, float]]) -> None:
    """Draw points (series, x, y), a colour and a marker for each series, and the Pareto front."""
    front = pareto_front(points, lambda point: point[1], lambda point: point[2])
    axes.plot(
        [x for _, x, _ in front],
        [y for _, _, y in front],
        color="black",
        linewidth=0.8,
        linestyle=":",
        label="Pareto front",
        zorder=2,
    )
    for number, series in enumerate(dict.fromkeys(name for name, _, _ in points)):
        own = sorted((x, y) for name, x, y in points if name == series)
        axes.plot(
            [x for x, _ in own],
            [y for _, y in own],
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
            linestyle="none",
            label=series,
            zorder=3,
        )


def _saved(figure: Any, axes: Any, path: Path) -> list[Path]:
    axes.grid(alpha=0.25, which="both", linewidth=0.5)
    axes.legend(fontsize=8)
    files = [path.with_suffix(f".{kind}") for kind in ("png", "svg")]
    for file in files:
        write_atomically(file, lambda target, kind=file.suffix[1:]: figure.savefig(target, format=kind, dpi=130))  # type: ignore[misc]
    return files
