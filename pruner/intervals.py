"""Figures with bootstrap intervals over problems. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_QUANTILES = (0.025, 0.975)


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % bootstrap interval. value: None if the figure is not defined; low, high: None if unknown."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def text(self, figure: str, bound: str, scale: float = 1.0) -> str:
        """Return `figure [low, high]`, or nothing if the figure is not defined.

        Args:
            figure, bound: formats of the figure and of its bounds, such as `+.1f`.
            scale: what all three are multiplied by.
        """
        if self.value is None:
            return ""
        shown = format(scale * self.value, figure)
        if self.low is None or self.high is None:
            return shown
        return f"{shown} [{scale * self.low:{bound}}, {scale * self.high:{bound}}]"


def resamplings(num_problems: int, count: int, seed: int) -> NDArray[np.int_]:
    """Return how often each problem is in each resampling of the problems: [count, num_problems]."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(num_problems, np.full(num_problems, 1 / num_problems), size=count)


def interval(value: float | None, resampled: Sequence[float | None] | NDArray[np.float64]) -> Interval:
    """Return a figure with the quantiles of its resampled values; resampled values that are None are left out."""
    known = [float(each) for each in resampled if each is not None]
    if value is None or not known:
        return Interval(value)
    low, high = np.quantile(known, _QUANTILES)
    return Interval(value, float(low), float(high))
