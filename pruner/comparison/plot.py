"""The picture of a comparison: accuracy against tokens, PNG and SVG. Owns matplotlib for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
    front = pareto_front(rows, lambda row: row.tokens_net, lambda row: row.mean_accuracy)
    axes.plot(
        [row.tokens_net / 1000 for row in front],
        [100 * row.mean_accuracy for row in front],
        color="black",
        linewidth=0.8,
        linestyle=":",
        label="Pareto front",
        zorder=2,
    )
    for number, method in enumerate(dict.fromkeys(row.method for row in rows)):
        own = sorted((row for row in rows if row.method == method), key=lambda row: row.tokens_net)
        axes.plot(
            [row.tokens_net / 1000 for row in own],
            [100 * row.mean_accuracy for row in own],
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
            linestyle="none",
            label=method,
            zorder=3,
        )
    axes.set(xlabel="net tokens per problem, thousands (log scale)", ylabel="accuracy of the answer, %", xscale="log")
    axes.grid(alpha=0.25, which="both", linewidth=0.5)
    axes.legend(fontsize=8)
    files = [target / f"pareto.{kind}" for kind in ("png", "svg")]
    for file in files:
        write_atomically(file, lambda path, kind=file.suffix[1:]: figure.savefig(path, format=kind, dpi=130))  # type: ignore[misc]
    return files
