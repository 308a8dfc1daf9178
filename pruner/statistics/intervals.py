"""Figures with bootstrap intervals over problems. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_QUANTILES = (0.025, 0.975)
# At most _MOST_DRAWS draws of a problem over all resamplings, but at least _FEWEST resamplings.
_MOST_DRAWS = 4_000_000
_FEWEST = 200
_32_BITS = np.uint64(0xFFFFFFFF)


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
    """Return how often each problem is in each resampling of the problems: [count, num_problems].

    Draw k of all picks problem mixed(k) % num_problems, so that results/views.sql draws the same with seed 0. Of very many problems there
    are fewer resamplings.
    """
    count = min(count, max(_FEWEST, _MOST_DRAWS // num_problems))
    picks = _mixed(np.arange(count * num_problems, dtype=np.uint64) + np.uint64(seed * 2_654_435_761 % (1 << 32)))
    rows = np.repeat(np.arange(count), num_problems) * num_problems
    flat = rows + (picks % np.uint64(num_problems)).astype(np.int64)
    return np.bincount(flat, minlength=count * num_problems).reshape(count, num_problems)


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a 32-bit number for each, as if at random. Shifts and products as in the finalizers of Murmur hashes."""
    for _ in range(2):
        numbers = ((numbers >> np.uint64(16) ^ numbers) * np.uint64(73244475)) & _32_BITS
    return numbers >> np.uint64(16) ^ numbers


def interval(value: float | None, resampled: Sequence[float | None] | NDArray[np.float64]) -> Interval:
    """Return a figure with the quantiles of its resampled values; resampled values that are None are left out."""
    known = [float(each) for each in resampled if each is not None]
    if value is None or not known:
        return Interval(value)
    low, high = np.quantile(known, _QUANTILES)
    return Interval(value, float(low), float(high))
