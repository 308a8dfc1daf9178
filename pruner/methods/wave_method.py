"""Methods that start traces a wave at a time and vote over all that finished: what they have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from pruner.methods.base import Action, Answer, Extend, Guess, MethodConfig, WithoutJudge
from pruner.records.traces import FinalAnswer, Trace
from pruner.rules.voting import Vote, majority_vote, winner


class Finished:
    """The finished traces of one problem, counted as they come. Nothing in it depends on the order in which they came.

    Attributes:
        answers: by trace index; None for a trace without one.
        counts: how many traces gave an answer, by its key.
        num_tokens: of all these traces.
    """

    def __init__(self) -> None:
        self.answers: dict[int, FinalAnswer | None] = {}
        self.counts: dict[str, int] = {}
        self.num_tokens = 0

    def add(self, trace: Trace) -> None:
        answer = trace.answer
        self.answers[trace.trace_index] = answer
        self.num_tokens += trace.num_tokens
        if answer is not None:
            self.counts[answer.key] = self.counts.get(answer.key, 0) + 1

    def leading(self) -> tuple[int, int, int]:
        """Return the votes of the leading answer, of the runner-up, and of all others together."""
        first = second = rest = 0
        for count in self.counts.values():
            if count > first:
                first, second, rest = count, first, rest + second
            elif count > second:
                second, rest = count, rest + second
            else:
                rest += count
        return first, second, rest


class WaveConfig(MethodConfig):
    """What the settings of these methods have in common."""

    @property
    def sees_whole_traces(self) -> bool:
        return True


class WaveMethod(WithoutJudge, ABC):
    """Every trace that starts finishes; whether more start is asked only once the whole wave has ended.

    So the order in which traces of a wave end cannot matter, and a wave of one is the sequential method.

    Args:
        budget: the most traces.
        wave: traces started at first.
    """

    def __init__(self, budget: int, wave: int) -> None:
        self._budget = budget
        self._wave = wave
        self._finished = Finished()
        self._last_wave = range(0)

    @abstractmethod
    def next_wave(self, finished: Finished, wave: range) -> int:
        """Return how many traces to start next; 0: no further trace is needed. The last wave may be cut off by the budget.

        Args:
            finished: all traces so far.
            wave: the traces that started last.
        """

    def answer(self, votes: tuple[Vote, ...], voters: tuple[int, ...]) -> Answer:
        """Return the problem's answer, given the plain vote over all traces."""
        return Answer(winner(votes), votes, voters)

    def worth(self, finished: Finished) -> float:
        """Return what the next trace may be worth, for guesses; 1 where nothing is known."""
        return 1.0

    def guesses(self, limit: int) -> Sequence[Guess]:
        """Return the next traces in order: each is worth less by the traces that come before it."""
        first = self._last_wave.stop
        worth, num_running = self.worth(self._finished), first - len(self._finished.answers)
        end = min(first + limit, self._budget)
        return [Guess(index, worth / (1 + num_running + index - first)) for index in range(first, end)]

    def begin(self) -> list[Action]:
        return self._start(self._wave)

    def on_segment(self, trace: Trace) -> list[Action]:
        if trace.finish_reason is None:
            return [Extend(trace.trace_index)]
        self._finished.add(trace)
        num_started = self._last_wave.stop
        if len(self._finished.answers) < num_started:
            return []
        if num_started < self._budget and (more := self.next_wave(self._finished, self._last_wave)):
            return self._start(more)
        return [self.answer(majority_vote(self._finished.answers.items()), tuple(range(num_started)))]

    def _start(self, count: int) -> list[Action]:
        first = self._last_wave.stop
        self._last_wave = range(first, min(self._budget, first + count))
        return [Extend(index) for index in self._last_wave]
