"""How traces are cut into segments and seeded: the request for a trace's next segment, and the segment that comes of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pruner.records.traces import (
    Problem,
    Segment,
    TokenIds,
    Trace,
    cut_at_stop,
    grid_shift,
    hash64,
    segment_end,
)
from pruner.samplers.base import Completion, Decoding, Request


@dataclass(frozen=True)
class TraceRule:
    """How all traces of a run are cut and seeded.

    Attributes:
        max_tokens: of a trace, whatever the context would still hold.
        align_tokens: the block of the prefix cache that segments end one token behind; None: they end on multiples of segment_tokens.
    """

    seed: int
    segment_tokens: int
    max_tokens: int
    max_model_len: int
    decoding: Decoding
    align_tokens: int | None = None


@dataclass(frozen=True)
class PromptedProblem:
    """A problem with its prompt. priority: its place in the order in which problems were opened; lower ones go first."""

    problem: Problem
    prompt_token_ids: tuple[int, ...]
    priority: int


class Segments:
    """The segments of one problem's traces."""

    def __init__(self, prompted: PromptedProblem, rule: TraceRule) -> None:
        self._rule = rule
        self._prompt = TokenIds(prompted.prompt_token_ids)
        self._priority = prompted.priority
        self._shift = grid_shift(len(self._prompt), rule.align_tokens)
        self.max_trace_tokens = min(rule.max_tokens, rule.max_model_len - len(self._prompt))

    def request(self, trace: Trace, until_tokens: int | None) -> Request:
        """Return the request for a trace's next segment.

        Args:
            until_tokens: of the trace, where the segment ends at the latest.
        """
        key, rule = trace.next_key, self._rule
        end = segment_end(trace.num_tokens, rule.segment_tokens, until_tokens, self.max_trace_tokens, self._shift)
        return Request(
            key=key,
            prompt_token_ids=TokenIds.join([self._prompt, *[segment.token_ids for segment in trace.segments]]),
            max_tokens=end - trace.num_tokens,
            seed=hash64(rule.seed, "segment", key.problem_id, key.trace_index, key.segment_index),
            priority=self._priority,
            decoding=rule.decoding,
            trace_tokens=trace.num_tokens,
        )

    def read(self, trace: Trace, completion: Completion) -> Segment:
        """Return the segment with which a completion continues a trace."""
        text, is_cut = cut_at_stop(trace.text, completion.text, self._rule.decoding.stop)
        reason = "stop" if is_cut else completion.finish_reason
        if reason is None and trace.num_tokens + completion.num_tokens >= self.max_trace_tokens:
            reason = "length"
        return Segment(
            key=trace.next_key,
            num_tokens=completion.num_tokens,
            token_ids=TokenIds(completion.token_ids),
            text=text,
            finish_reason=reason,
            prompt_tokens=completion.prompt_tokens,
            cached_tokens=completion.cached_tokens,
            confidence=completion.confidence,
        )
