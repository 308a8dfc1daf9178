"""Counts of what an attempt does, on top of what earlier ones did."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pruner.records.progress import Progress
from pruner.records.rows import AnswerRow
from pruner.records.traces import Fact, Segment
from pruner.shard.case import Case
from pruner.shard.queue import RequestQueue


class Status:
    """How far a shard is.

    Args:
        earlier: at the beginning of the attempt.
    """

    def __init__(self, earlier: Progress) -> None:
        self._started_at = time.monotonic()
        self._answered = earlier  # traces: of answered problems only
        self._num_segments = self._num_tokens = 0

    def count(self, facts: Iterable[Fact]) -> None:
        """Count new facts."""
        for fact in facts:
            if isinstance(fact, Segment):
                self._num_segments += 1
                self._num_tokens += fact.num_tokens

    def finish(self, row: AnswerRow) -> None:
        """Count an answered problem."""
        done, estimate = self._answered, row.tokens_unpruned_estimate
        self._answered = replace(
            done,
            problems_done=done.problems_done + 1,
            traces_finished=done.traces_finished + row.traces_finished,
            traces_pruned=done.traces_pruned + row.traces_pruned,
            traces_cut=done.traces_cut + (row.traces_cut or 0),
            traces_unanswered=done.traces_unanswered + (row.traces_unanswered or 0),
            tokens_saved=done.tokens_saved + (0 if estimate is None else max(0, int(estimate - row.tokens_sampled))),
        )

    def progress(self, cases: Sequence[Case], queues: Sequence[RequestQueue]) -> Progress:
        """Return how far it is now.

        Args:
            cases: the open ones.
            queues: the sampler's first.
        """
        done, finished = self._answered, [trace for case in cases for trace in case.finished_traces]
        return replace(
            done,
            segments=done.segments + self._num_segments,
            tokens=done.tokens + self._num_tokens,
            traces_running=queues[0].num_running,
            traces_finished=done.traces_finished + len(finished),
            traces_pruned=done.traces_pruned + sum(len(case.pruned) for case in cases),
            traces_cut=done.traces_cut + sum(trace.finish_reason == "length" for trace in finished),
            traces_unanswered=done.traces_unanswered + sum(trace.answer is None for trace in finished),
            tokens_in_flight=sum(queue.tokens_in_flight for queue in queues),
            tokens_discarded=sum(queue.tokens_discarded for queue in queues),
        ).after(time.monotonic() - self._started_at)
