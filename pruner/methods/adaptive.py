"""Adaptive-Consistency: sample until the leading answer is unlikely to lose its lead, then vote."""

from __future__ import annotations

from functools import lru_cache
from math import comb
from typing import Literal

from pydantic import Field

from pruner.methods.base import MethodContext
from pruner.methods.wave_method import Finished, WaveConfig, WaveMethod
from pruner.settings.section import Positive


class AdaptiveConfig(WaveConfig):
    """threshold: stop once P(the leader beats the runner-up) reaches it; 1: never. wave: traces started at once."""

    name: Literal["adaptive"]
    threshold: float = Field(ge=0.5, le=1.0)
    wave: Positive

    def make(self, context: MethodContext) -> Adaptive:
        return Adaptive(context.budget, self.wave, self.threshold)


class Adaptive(WaveMethod):
    """Stops once P(the leader beats the runner-up) is at least `threshold`; a threshold of 1 never stops early.

    Traces without an answer count for nobody. A wave is judged by all answers at its end.

    Source: Aggarwal et al., EMNLP 2023 (arXiv 2305.11860), section 3, the Beta stopping criterion; `>=` as in the authors' code.
    """

    def __init__(self, budget: int, wave: int, threshold: float) -> None:
        super().__init__(budget, wave)
        self._threshold = threshold

    def next_wave(self, finished: Finished, wave: range) -> int:
        first, second, _ = finished.leading()
        is_likely = leader_probability(first, second) >= self._threshold
        return 0 if is_likely and self._threshold < 1.0 else self._wave


@lru_cache(maxsize=65536)
def leader_probability(first: int, second: int) -> float:
    """Return P(theta > 1/2) for theta ~ Beta(first + 1, second + 1).

    Args:
        first, second: votes for the leading two answers.

    For whole numbers it is the chance of at most `first` heads in first + second + 1 throws of a fair coin: exact.
    """
    throws = first + second + 1
    return sum(comb(throws, heads) for heads in range(first + 1)) / 2**throws
