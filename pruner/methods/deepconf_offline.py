"""DeepConf offline: all traces finish; the confident ones vote, each as heavily as it is confident."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from pruner.methods.base import Action, Answer, Extend, MethodConfig, MethodContext, WithoutJudge
from pruner.records.traces import FinalAnswer, Trace
from pruner.rules.confidence import SCORES, keep_threshold, trace_confidences
from pruner.rules.voting import Vote, majority_vote, winner
from pruner.settings.section import Positive


class DeepConfOfflineConfig(MethodConfig):
    """score: what a trace's vote weighs, a name in confidence.SCORES. keep: the top share, by score, of the traces with an answer
    that votes. window: tokens of a group."""

    name: Literal["deepconf_offline"]
    score: Literal["mean", "tail", "bottom_10", "lowest_group"]
    keep: float = Field(gt=0.0, le=1.0)
    window: Positive

    @property
    def needs_confidence(self) -> bool:
        return True

    @property
    def finishes_budget(self) -> bool:
        return True

    def make(self, context: MethodContext) -> DeepConfOffline:
        return DeepConfOffline(context.budget, self)


class DeepConfOffline(WithoutJudge):
    """The state of one problem.

    Source: DeepConf (arXiv 2508.15260), offline thinking with confidence.
    """

    def __init__(self, budget: int, config: DeepConfOfflineConfig) -> None:
        self._budget = budget
        self._config = config
        self._answers: dict[int, FinalAnswer | None] = {}
        self._scores: dict[int, float] = {}

    def begin(self) -> list[Action]:
        return [Extend(i) for i in range(self._budget)]

    def on_segment(self, trace: Trace) -> list[Action]:
        if not trace.is_finished:
            return [Extend(trace.trace_index)]
        self._answers[trace.trace_index] = trace.answer
        self._scores[trace.trace_index] = SCORES[self._config.score](trace_confidences(trace), self._config.window)
        if len(self._answers) < self._budget:
            return []
        votes = confident_vote(self._answers, self._scores, self._config.keep)
        return [Answer(winner(votes), votes, tuple(range(self._budget)))]


def confident_vote(
    answers: Mapping[int, FinalAnswer | None], scores: Mapping[int, float], keep: float
) -> tuple[Vote, ...]:
    """Return the weighted vote of the top `keep` share by score of the traces that gave an answer."""
    voters = [index for index, answer in answers.items() if answer is not None]
    if not voters:
        return ()
    threshold = keep_threshold([scores[index] for index in voters], keep)
    kept = [(index, answers[index]) for index in voters if scores[index] >= threshold]
    return majority_vote(kept, dict(scores))
