"""Pictures of an evaluation of judges, as PNG. Owns matplotlib; scikit-learn draws the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruner.system.files import write_atomically


def plot_roc(labels: Sequence[int], scores: Mapping[str, NDArray[np.float64]], target: Path) -> None:
    """Draw each judge's ROC curve. labels: [pairs], 1 for same. scores: [pairs] by judge."""
    from sklearn.metrics import RocCurveDisplay

    _draw(RocCurveDisplay, labels, scores, target, "different pairs taken for same", "same pairs found")


def plot_calibration(labels: Sequence[int], scores: Mapping[str, NDArray[np.float64]], target: Path) -> None:
    """Draw the share of pairs that agree by the judge's score. labels, scores: as above, the scores probabilities."""
    from sklearn.calibration import CalibrationDisplay

    x, y = "judge's probability of same", "share that agrees"
    _draw(CalibrationDisplay, labels, scores, target, x, y, n_bins=10)


def _draw(
    display: Any,
    labels: Sequence[int],
    scores: Mapping[str, NDArray[np.float64]],
    target: Path,
    x: str,
    y: str,
    **more: Any,
) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    for name, values in scores.items():
        display.from_predictions(labels, values, name=name, ax=axes, **more)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.5)
    axes.set(xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1))
    if scores:
        axes.legend(fontsize=7)
    write_atomically(target, lambda path: figure.savefig(path, format="png", dpi=120))
