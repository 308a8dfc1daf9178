"""The first k equal answers: sample until k traces agree, then vote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pruner.methods.base import MethodConfig, MethodContext
from pruner.methods.wave_method import WaveMethod
from pruner.settings.section import Positive
from pruner.traces import FinalAnswer
from pruner.voting import group_answers


class FirstKEqualConfig(MethodConfig):
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

    def is_settled(self, answers: Mapping[int, FinalAnswer | None], wave: range) -> bool:
        return any(len(group) >= self._k for group in group_answers(answers.items()).values())
