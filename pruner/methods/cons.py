"""Self-consistency: finish all traces, then vote. The baseline that every saving is measured against."""

from __future__ import annotations

from typing import Literal

from pruner.methods.base import Action, Answer, Extend, MethodConfig, MethodContext, WithoutJudge
from pruner.records.traces import FinalAnswer, Trace
from pruner.rules.voting import majority_vote, winner


class ConsConfig(MethodConfig):
    name: Literal["cons"]

    @property
    def finishes_budget(self) -> bool:
        return True

    def make(self, context: MethodContext) -> Cons:
        return Cons(context.budget)


class Cons(WithoutJudge):
    """cons@N: N traces, all finished, one vote each.

    Source: Wang et al. 2022 (arXiv 2203.11171).
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._answers: dict[int, FinalAnswer | None] = {}

    def begin(self) -> list[Action]:
        return [Extend(i) for i in range(self._budget)]

    def on_segment(self, trace: Trace) -> list[Action]:
        if not trace.is_finished:
            return [Extend(trace.trace_index)]
        self._answers[trace.trace_index] = trace.answer
        if len(self._answers) < self._budget:
            return []
        votes = majority_vote(self._answers.items())
        return [Answer(winner(votes), votes, tuple(range(self._budget)))]
