"""The replay sampler: serves recorded traces as segments, as if they were sampled now. No model; nothing is made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import ClassVar, Literal

from pruner.errors import InputError
from pruner.prompts import Prompts, RecordedPrompts
from pruner.recordings.recording import RecordedTrace, Recording, ReplayColumns, read_recording
from pruner.recordings.replay import ProbeCost, Replay
from pruner.records.traces import Key, SegmentKey
from pruner.samplers.base import Completion, Request, SamplerConfig, SamplerContext
from pruner.settings.section import FilePath, Natural, Orders, Positive, Running, local_path


class ReplaySamplerConfig(SamplerConfig):
    """source: a run's folder or a Parquet. resample: R, repeat each problem with R seeded orders of
    its traces; null: once, in the recorded order. segment_tokens, cache_block_tokens: null: as the earlier run had them, else whole
    traces and 16.
    probe_tokens, probe_opening_tokens: what a probe of a plain Parquet is taken to cost. no_answer: what stands in a plain Parquet's
    answers where a trace gave none."""

    name: Literal["replay"]
    source: FilePath
    resample: Orders | None = None
    segment_tokens: Positive | None = None
    max_running_traces: Running = 1024
    cache_block_tokens: Positive | None = None
    probe_tokens: Natural = 10
    probe_opening_tokens: Natural = 10
    no_answer: tuple[str, ...] = ()
    columns: ReplayColumns = ReplayColumns()
    not_identity: ClassVar[tuple[str, ...]] = ("max_running_traces", "source")
    has_recording: ClassVar[bool] = True

    @property
    def unused_keys(self) -> tuple[str, ...]:
        return ("model",)

    def read_replay(self, seed: int) -> Replay:
        """Return the recorded traces. Raises InputError: they cannot be read."""
        path = local_path(self.source)
        return _replay(self, seed, path.stat().st_mtime_ns if path.exists() else 0)

    def fingerprints(self, context: SamplerContext) -> dict[str, str]:
        assert context.replay is not None
        return {"traces": context.replay.recording.fingerprint}

    def prompts(self, context: SamplerContext) -> Prompts:
        assert context.replay is not None
        replay = context.replay
        return RecordedPrompts(lambda problem_id: replay.source(problem_id).prompt_tokens)

    def open(self, context: SamplerContext) -> ReplaySampler:
        assert context.replay is not None
        return ReplaySampler(context.replay)


@lru_cache(maxsize=2)
def _replay(config: ReplaySamplerConfig, seed: int, changed_at: int) -> Replay:
    """Return the same replay, with its orders, to all points of a sweep."""
    cost = ProbeCost(config.probe_tokens, config.probe_opening_tokens)
    recording = _recording(config.source, config.columns, config.no_answer, changed_at)
    return Replay(recording, config.resample, seed, cost)


@lru_cache(maxsize=2)
def _recording(source: str, columns: ReplayColumns, no_answer: tuple[str, ...], changed_at: int) -> Recording:
    return read_recording(source, columns, no_answer)


def check_is_whole(trace: RecordedTrace, problem_id: str) -> None:
    """Raises InputError: a trace that was pruned when it was recorded is asked for more."""
    if trace.finish_reason is None:
        raise InputError(
            f"sampler.source: trace {trace.trace_index} of problem {problem_id} was pruned after {trace.num_tokens} tokens, and "
            "the method asks for more. Replay traces of a run of method=cons, or the method that pruned them."
        )


class ReplaySampler:
    """Completes everything at the next step, in the order in which it was asked for."""

    capacity_tokens: int | None = None
    cancelled_tokens = 0

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._running: list[Request] = []

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def running_tokens(self) -> int:
        return 0

    def wait_ready(self, should_stop: Callable[[], bool]) -> None:
        """It is ready once it is made."""

    def submit(self, requests: Sequence[Request]) -> None:
        self._running += requests

    def step(self) -> list[Completion]:
        requests, self._running = self._running, []
        return [self._complete(request) for request in requests]

    def wait(self, wait_s: float) -> None:
        """Nothing to wait for: a step is the work itself."""

    def cancel(self, keys: Sequence[Key]) -> None:
        self._running = [request for request in self._running if request.key not in keys]

    def abort(self) -> None:
        self._running.clear()

    def close(self) -> None:
        self._running.clear()

    def _complete(self, request: Request) -> Completion:
        key = request.key
        assert isinstance(key, SegmentKey), f"only traces are replayed, got {key}"
        trace = self._replay.trace(key.problem_id, key.trace_index)
        start, end = request.trace_tokens, min(request.trace_tokens + request.max_tokens, trace.num_tokens)
        if end == trace.num_tokens and end - start < request.max_tokens:
            check_is_whole(trace, key.problem_id)
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
