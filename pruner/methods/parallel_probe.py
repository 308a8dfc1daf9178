"""Parallel-Probe: ask all traces for their answer at a beat; prune who keeps disagreeing, stop when the majority keeps still."""

from __future__ import annotations

from typing import Literal

from pruner.methods.base import Action, Answer, Ask, Extend, MethodConfig, MethodContext, Prune, WithoutJudge
from pruner.records.traces import FinalAnswer, Probe, Trace
from pruner.rules.voting import majority_vote, winner
from pruner.settings.section import Natural, Positive


class ParallelProbeConfig(MethodConfig):
    """The settings of Parallel-Probe. A beat is one round of probes.

    Attributes:
        every_tokens: tokens that each trace makes between two beats.
        stable: beats over which the majority has to stay as it is.
        patience: beats in a row for which a trace may disagree with the majority.
        warmup: beats before anything is pruned, the first two left out.
        probe_tokens: the most tokens of an answer that is asked for.
    """

    name: Literal["parallel_probe"]
    every_tokens: Positive
    stable: Positive
    patience: Positive
    warmup: Natural
    probe_tokens: Positive

    @property
    def asked_tokens(self) -> int:
        return self.probe_tokens

    def make(self, context: MethodContext) -> ParallelProbe:
        return ParallelProbe(context.budget, self)


class ParallelProbe(WithoutJudge):
    """The state of one problem. The whole budget starts; a beat is over when every trace that runs has ended or was asked.

    The majority is that of all traces but the pruned ones: finished traces vote with their answer, running ones with what they
    last answered. Traces that gave no answer vote for nobody.

    Source: Parallel-Probe (arXiv 2602.03845), the variant of its main table, as its published evaluation does it: the first beat
    decides nothing, and what the majority is compared with begins at the second.
    """

    def __init__(self, budget: int, config: ParallelProbeConfig) -> None:
        self._config = config
        self._answers: dict[int, FinalAnswer | None] = {}  # of traces that were not pruned, as far as they are heard
        self._running = set(range(budget))
        self._waiting: set[int] = set()  # of these, who was not heard in this beat
        self._disagreed: dict[int, int] = {}
        self._beats = 0
        self._majority: str | None = None
        self._stable = 0

    def begin(self) -> list[Action]:
        return self._go_on()

    def on_segment(self, trace: Trace) -> list[Action]:
        index = trace.trace_index
        if trace.is_finished:
            self._running.remove(index)
            return self._hear(index, trace.answer)
        if trace.num_tokens < self._beats * self._config.every_tokens:
            return [self._extend(index)]
        return [Ask(index)]

    def on_probe(self, probe: Probe) -> list[Action]:
        return self._hear(probe.key.trace_index, probe.final_answer)

    def _go_on(self) -> list[Action]:
        self._beats += 1
        self._waiting = set(self._running)
        return [self._extend(index) for index in sorted(self._running)]

    def _extend(self, index: int) -> Extend:
        return Extend(index, self._beats * self._config.every_tokens)

    def _hear(self, index: int, answer: FinalAnswer | None) -> list[Action]:
        self._answers[index] = answer
        self._waiting.remove(index)
        return [] if self._waiting else self._end_beat()

    def _end_beat(self) -> list[Action]:
        pruned: list[Action] = []
        if self._beats > 1:
            if self._beats - 2 >= self._config.warmup:
                pruned = self._prune()
            majority = self._leader()
            self._stable = self._stable + 1 if majority is not None and majority == self._majority else 0
            self._majority = majority
        if self._running and self._stable < self._config.stable:
            return [*pruned, *self._go_on()]
        votes = majority_vote(self._answers.items())
        decided = [Prune(index, "decided") for index in sorted(self._running)]
        return [*pruned, *decided, Answer(winner(votes), votes, tuple(sorted(self._answers)))]

    def _prune(self) -> list[Action]:
        """Stop the running traces that have disagreed for too long, but not all that vote."""
        majority = self._leader()
        actions: list[Action] = []
        for index in sorted(self._running):
            answer = self._answers[index]
            agrees = answer is not None and answer.key == majority
            self._disagreed[index] = 0 if agrees else self._disagreed.get(index, 0) + 1
        for index in [each for each in sorted(self._running) if self._disagreed[each] >= self._config.patience]:
            if len(self._answers) > 1:
                self._running.remove(index)
                del self._answers[index]
                actions.append(Prune(index, "off_majority"))
        return actions

    def _leader(self) -> str | None:
        found = winner(majority_vote(self._answers.items()))
        return None if found is None else found.key
