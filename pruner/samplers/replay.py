"""The replay sampler: serves recorded traces as segments, as if they were sampled now. No model; nothing is made up."""

from __future__ import annotations

from collections.abc import Sequence

from pruner.errors import InputError
from pruner.replay import Replay
from pruner.samplers.base import Completion, Request
from pruner.traces import SegmentKey


class ReplaySampler:
    """Completes everything at the next step, in the order in which it was asked for."""

    capacity_tokens: int | None = None

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._running: list[Request] = []

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def running_tokens(self) -> int:
        return 0

    def submit(self, requests: Sequence[Request]) -> None:
        self._running += requests

    def step(self) -> list[Completion]:
        requests, self._running = self._running, []
        return [self._complete(request) for request in requests]

    def abort(self) -> None:
        self._running.clear()

    def close(self) -> None:
        self._running.clear()

    def _complete(self, request: Request) -> Completion:
        key = request.key
        assert isinstance(key, SegmentKey), f"only traces are replayed, got {key}"
        trace = self._replay.trace(key.problem_id, key.trace_index)
        start, end = request.trace_tokens, min(request.trace_tokens + request.max_tokens, trace.num_tokens)
        if end == trace.num_tokens and trace.finish_reason is None and end - start < request.max_tokens:
            raise InputError(
                f"sampler.source: trace {trace.trace_index} of problem {key.problem_id} was pruned after {end} tokens, and the "
                "method asks for more. Replay traces of a run of method=cons, or the method that pruned them."
            )
        is_last = end == trace.num_tokens and trace.finish_reason is not None
        return Completion(
            key=key,
            num_tokens=end - start,
            token_ids=trace.token_ids[start:end],
            text=trace.text[trace.char(start) : len(trace.text) if is_last else trace.char(end)],
            finish_reason=trace.finish_reason if is_last else None,
            prompt_tokens=self._replay.source(key.problem_id).prompt_tokens + start,
            cached_tokens=0,
            confidence=tuple(trace.confidence[start:end]) or None,
        )
