"""The pictures of a comparison: accuracy against tokens, and against time; PNG and SVG. Owns matplotlib for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruner.comparison.hours import HoursRow
from pruner.comparison.table import ComparisonRow, Control
from pruner.reporting.canvas import log_ticks
from pruner.statistics.pareto import pareto_front
from pruner.system.files import write_atomically

# Distinguishable without red against green. Source: Okabe and Ito 2008.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_MARKERS = "osD^vP*X"
_ORACLE = "judge=oracle"


def plot_pareto(rows: Sequence[ComparisonRow], control: Control | None, target: Path) -> list[Path]:
    """Draw every run by method, the Pareto front, and plain voting at all numbers of traces; return the files."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.2), layout="constrained")
    axes = figure.subplots()
    if control is not None:
        tokens, correct = control.tokens.mean(axis=0) / 1000, 100 * control.correct.mean(axis=0)
        axes.plot(tokens, correct, color="0.6", linewidth=1.5, label="cons@k, k = 1..N", zorder=1)
    _draw(
        axes,
        [_Point(_series(row.method, row.settings), row.tokens_net / 1000, 100 * row.mean_accuracy) for row in rows],
    )
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
            _Point(
                _series(row.method, row.settings) + (f", {row.ahead} ahead" if row.method in several else ""),
                row.hours,
                100 * row.accuracy,
            )
            for row in rows
        ],
    )
    axes.set(xlabel="hours of one engine (log scale)", ylabel="accuracy of the answer, %", xscale="log")
    return _saved(figure, axes, target / "hours")


@dataclass(frozen=True)
class _Point:
    series: str
    x: float
    y: float

    @property
    def is_real(self) -> bool:
        """False with a judge that looks the answers up: a bound, not a method."""
        return _ORACLE not in self.series


def _series(method: str, settings: str) -> str:
    return f"{method}, {_ORACLE}" if _ORACLE in settings.split() else method


def _draw(axes: Any, points: Sequence[_Point]) -> None:
    """Draw points, a colour and a marker for each series, and the Pareto front of those that are no bound."""
    front = pareto_front([each for each in points if each.is_real], lambda point: point.x, lambda point: point.y)
    axes.plot(
        [each.x for each in front],
        [each.y for each in front],
        color="black",
        linewidth=0.8,
        linestyle=":",
        label="Pareto front",
        zorder=2,
    )
    for number, series in enumerate(dict.fromkeys(each.series for each in points)):
        own = sorted((each.x, each.y) for each in points if each.series == series)
        colour = _COLOURS[number % len(_COLOURS)]
        axes.plot(
            [x for x, _ in own],
            [y for _, y in own],
            color=colour,
            # Another shape once the colours are used up; hollow where it is a bound.
            marker=_MARKERS[(number + number // len(_COLOURS)) % len(_MARKERS)],
            markerfacecolor="none" if _ORACLE in series else colour,
            linestyle="none",
            label=series,
            zorder=3,
        )


def _saved(figure: Any, axes: Any, path: Path) -> list[Path]:
    log_ticks(axes)
    axes.grid(alpha=0.25, which="both", linewidth=0.5)
    axes.legend(fontsize=8)
    files = [path.with_suffix(f".{kind}") for kind in ("png", "svg")]
    for file in files:
        write_atomically(file, lambda target, kind=file.suffix[1:]: figure.savefig(target, format=kind, dpi=130))  # type: ignore[misc]
    return files
