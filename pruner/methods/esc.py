"""ESC, early-stopping self-consistency: sample in windows until all answers of one window agree, then vote."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pruner.methods.base import MethodContext
from pruner.methods.wave_method import Finished, WaveConfig, WaveMethod
from pruner.rules.voting import group_answers
from pruner.settings.section import MAX_COUNT


class EscConfig(WaveConfig):
    """window: traces started at once; when all of them agree, no more start."""

    name: Literal["esc"]
    window: Annotated[int, Field(ge=2, le=MAX_COUNT)]

    def make(self, context: MethodContext) -> Esc:
        return Esc(context.budget, self.window)


class Esc(WaveMethod):
    """The window is the wave. The vote is over all windows, not only over the one that agreed.

    A window with a trace that gave no answer does not agree: that trace might have given any.

    Source: Li et al., ICLR 2024 (arXiv 2401.10480), algorithm 1.
    """

    def __init__(self, budget: int, window: int) -> None:
        super().__init__(budget, window)

    def next_wave(self, finished: Finished, wave: range) -> int:
        groups = group_answers((index, finished.answers[index]) for index in wave)
        return 0 if [len(group) for group in groups.values()] == [len(wave)] else self._wave
