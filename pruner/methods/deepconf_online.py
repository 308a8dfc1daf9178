"""DeepConf online: learn from a few whole traces how low confidence may fall, then stop those that fall lower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from pruner.methods.base import Action, Answer, Extend, MethodConfig, MethodContext, Prune, WithoutJudge
from pruner.records.traces import FinalAnswer, Trace
from pruner.rules.confidence import LowestGroup, check_count, keep_threshold, segment_confidences
from pruner.rules.voting import Vote, majority_vote, winner
from pruner.settings.section import Positive


class DeepConfOnlineConfig(MethodConfig):
    """DeepConf's settings.

    Attributes:
        warmup: traces that set the threshold and finish whatever their confidence.
        keep: share of the warm-up traces that the threshold would let through: 0.1 is DeepConf-low, 0.9 DeepConf-high.
        consensus: no further trace starts once the leading answer has this share of the weighted vote. None: the whole
            budget starts, as in the authors' code.
        wave: traces started at once after the warm-up; the consensus is looked at only when all of them have ended.
        window: tokens of a group.
    """

    name: Literal["deepconf_online"]
    warmup: Positive
    keep: float = Field(gt=0.0, le=1.0)
    consensus: Annotated[float, Field(gt=0.0, le=1.0)] | None
    wave: Positive
    window: Positive

    @property
    def needs_confidence(self) -> bool:
        return True

    def make(self, context: MethodContext) -> DeepConfOnline:
        return DeepConfOnline(context.budget, self)


class DeepConfOnline(WithoutJudge):
    """The state of one problem.

    A trace votes if it finished, gave an answer and never fell below the threshold, and weighs what its lowest group has in
    confidence. That holds for warm-up traces too, as in the authors' code. Where nobody may vote, all finished traces do,
    one vote each. A trace is looked at where a segment ends, so it runs on to there after it fell below the threshold.

    Source: DeepConf (arXiv 2508.15260), online thinking with confidence.
    """

    def __init__(self, budget: int, config: DeepConfOnlineConfig) -> None:
        self._budget = budget
        self._config = config
        self._num_started = 0
        self._num_ended = 0
        self._answers: dict[int, FinalAnswer | None] = {}
        self._running: dict[int, LowestGroup] = {}
        self._lowest: dict[int, float] = {}
        self._threshold: float | None = None

    def begin(self) -> list[Action]:
        return self._start(self._config.warmup)

    def on_segment(self, trace: Trace) -> list[Action]:
        index = trace.trace_index
        lowest = self._running[index]
        lowest.extend(segment_confidences(trace.segments[-1]))
        check_count(trace, lowest.num_tokens)
        if trace.is_finished:
            self._answers[index] = trace.answer
            self._lowest[index] = lowest.confidence
            return self._end(index)
        if self._threshold is not None and lowest.is_below(self._threshold):
            return [Prune(index, "low_confidence"), *self._end(index)]
        return [Extend(index)]

    def _start(self, count: int) -> list[Action]:
        fresh = range(self._num_started, min(self._budget, self._num_started + count))
        self._num_started = fresh.stop
        self._running.update((index, LowestGroup(self._config.window)) for index in fresh)
        return [Extend(index) for index in fresh]

    def _end(self, index: int) -> list[Action]:
        """A trace finished or was pruned; once all that started have, start more or answer."""
        del self._running[index]
        self._num_ended += 1
        if self._num_ended < self._num_started:
            return []
        if self._threshold is None:
            self._threshold = keep_threshold(list(self._lowest.values()), self._config.keep)
        votes = self._confident_votes(self._threshold)
        if self._num_started < self._budget and not has_consensus(votes, self._config.consensus):
            return self._start(self._config.wave)
        votes = votes or majority_vote(self._answers.items())
        return [Answer(winner(votes), votes, tuple(sorted(self._answers)))]

    def _confident_votes(self, threshold: float) -> tuple[Vote, ...]:
        confident = [(index, self._answers[index]) for index, lowest in self._lowest.items() if lowest >= threshold]
        return majority_vote(confident, self._lowest)


def has_consensus(votes: Sequence[Vote], consensus: float | None) -> bool:
    """Return whether the leading answer has its share of the weighted vote; nobody has if nothing weighs anything."""
    total = sum(vote.weight for vote in votes)
    return consensus is not None and total > 0 and votes[0].weight / total >= consensus
