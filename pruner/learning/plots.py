"""Pictures of training and evaluating judges, as PNG. Owns matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pruner.system.files import write_atomically


def plot_losses(steps: Sequence[float], losses: Sequence[float], target: Path) -> None:
    """Draw the training loss by optimizer step."""
    figure, axes = _figure()
    axes.plot(steps, losses, marker=".")
    axes.set(xlabel="optimizer step", ylabel="loss", ylim=(0, None))
    _save(figure, target)


def plot_roc(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], target: Path) -> None:
    """Draw ROC curves. curves: name to false and true positive rates; positive is same."""
    figure, axes = _figure()
    for name, (false_rate, true_rate) in curves.items():
        axes.plot(false_rate, true_rate, label=name)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
    axes.set(xlabel="different pairs taken for same", ylabel="same pairs found", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize=7)
    _save(figure, target)


def plot_calibration(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], target: Path) -> None:
    """Draw how often pairs agree by what the judge said. curves: name to mean scores and shares of same pairs."""
    figure, axes = _figure()
    for name, (scores, shares) in curves.items():
        axes.plot(scores, shares, marker=".", label=name)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
    axes.set(xlabel="judge's probability of same", ylabel="share that agrees", xlim=(0, 1), ylim=(0, 1))
    if curves:
        axes.legend(fontsize=7)
    _save(figure, target)


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    return figure, figure.subplots()


def _save(figure: Any, target: Path) -> None:
    write_atomically(target, lambda path: figure.savefig(path, format="png", dpi=120))
