"""ESC, early-stopping self-consistency: sample in windows until all answers of one window agree, then vote."""

from __future__ import annotations

from collections.abc import Mapping

from pruner.methods.in_waves import InWaves
from pruner.traces import FinalAnswer
from pruner.voting import group_answers


class Esc(InWaves):
    """The window is the wave. The vote is over all windows, not only over the one that agreed.

    A window with a trace that gave no answer does not agree: that trace might have given any.

    Source: Li et al., ICLR 2024 (arXiv 2401.10480), algorithm 1.
    """

    def __init__(self, budget: int, window: int) -> None:
        super().__init__(budget, window)

    def is_settled(self, answers: Mapping[int, FinalAnswer | None], wave: range) -> bool:
        groups = group_answers((index, answers[index]) for index in wave)
        return [len(group) for group in groups.values()] == [len(wave)]
