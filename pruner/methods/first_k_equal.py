"""The first k equal answers: sample until k traces agree, then vote."""

from __future__ import annotations

from typing import Literal

from pruner.methods.base import MethodContext
from pruner.methods.wave_method import Finished, WaveConfig, WaveMethod
from pruner.settings.section import Positive


class FirstKEqualConfig(WaveConfig):
    """k: stop once so many traces have equal answers; above the budget: never. wave: traces started at once."""

    name: Literal["first_k_equal"]
    k: Positive
    wave: Positive

    def make(self, context: MethodContext) -> FirstKEqual:
        return FirstKEqual(context.budget, self.wave, self.k)


class FirstKEqual(WaveMethod):
    """Stops once `k` finished traces have equal answers, whichever waves they were in. Then the majority of all traces decides.

    Traces without an answer equal nothing. A wave is judged by all answers at its end, so a wave of one stops soonest.
    """

    def __init__(self, budget: int, wave: int, k: int) -> None:
        super().__init__(budget, wave)
        self._k = k

    def next_wave(self, finished: Finished, wave: range) -> int:
        return 0 if finished.leading()[0] >= self._k else self._wave
