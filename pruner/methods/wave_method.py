"""Methods that start traces a wave at a time and vote over all that finished: what they have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from pruner.methods.base import Action, Answer, Extend, WithoutJudge
from pruner.traces import FinalAnswer, Trace
from pruner.voting import majority_vote, winner


class WaveMethod(WithoutJudge, ABC):
    """Every trace that starts finishes; whether more start is asked only once the whole wave has ended.

    So the order in which traces of a wave end cannot matter, and a wave of one is the sequential method.

    Args:
        budget: the most traces.
        wave: traces started at once; the last wave may be smaller.
    """

    def __init__(self, budget: int, wave: int) -> None:
        self._budget = budget
        self._wave = wave
        self._answers: dict[int, FinalAnswer | None] = {}
        self._last_wave = range(0)

    @abstractmethod
    def is_settled(self, answers: Mapping[int, FinalAnswer | None], wave: range) -> bool:
        """Return whether no further trace is needed.

        Args:
            answers: of all traces so far, by trace index; None for a trace without one.
            wave: the traces that started last.
        """

    def begin(self) -> list[Action]:
        return self._start_wave()

    def on_segment(self, trace: Trace) -> list[Action]:
        if not trace.is_finished:
            return [Extend(trace.trace_index)]
        self._answers[trace.trace_index] = trace.answer
        num_started = self._last_wave.stop
        if len(self._answers) < num_started:
            return []
        if num_started < self._budget and not self.is_settled(self._answers, self._last_wave):
            return self._start_wave()
        votes = majority_vote(self._answers.items())
        return [Answer(winner(votes), votes, tuple(range(num_started)))]

    def _start_wave(self) -> list[Action]:
        first = self._last_wave.stop
        self._last_wave = range(first, min(self._budget, first + self._wave))
        return [Extend(index) for index in self._last_wave]
