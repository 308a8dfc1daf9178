"""Seeded fake traces: a sampler without a model, for tests of the runner, of kills and of scale.

A completion is a function of its request alone, as with the real engine in exact mode. Traces of a problem end in one of a
few answers; probes give the answer that the trace is heading for. Traces with the right answer are a little more confident.
"""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import shake_128
from typing import ClassVar, Literal

from pydantic import Field

from pruner.prompts import BytePrompts, Prompts
from pruner.records.traces import Key, ProbeKey, SegmentKey, TokenIds, hash64
from pruner.samplers.base import Completion, Request, SamplerConfig, SamplerContext
from pruner.settings.section import Positive, Share

_NUM_FAKES = 1 << 16


class SimulatedSamplerConfig(SamplerConfig):
    """mean_tokens: of a trace. accuracy: the share of traces that end in answer 0, the right one. step_s: what a step takes."""

    name: Literal["simulated"]
    segment_tokens: Positive
    mean_tokens: Positive
    cache_block_tokens: Positive
    num_answers: Positive
    accuracy: Share
    step_tokens: Positive
    step_s: float = Field(ge=0.0, le=3600.0)
    not_identity: ClassVar[tuple[str, ...]] = ("max_running_traces", "step_s")
    has_text: ClassVar[bool] = False

    def prompts(self, context: SamplerContext) -> Prompts:
        return BytePrompts()

    def open(self, context: SamplerContext) -> SimulatedSampler:
        return SimulatedSampler(self, context.seed)


@dataclass(frozen=True, slots=True)
class _Running:
    """A request at work since step `started`."""

    request: Request
    started: int
    num_tokens: int
    is_last: bool


class SimulatedSampler:
    """Completes the oldest requests first, `step_tokens` tokens of each running one a step.

    A step costs what completes in it, however many requests run: the sampler must not be what a benchmark measures.
    """

    capacity_tokens: int | None = None

    def __init__(self, config: SimulatedSamplerConfig, seed: int) -> None:
        self._config = config
        self._seed = seed
        self.cancelled_tokens = 0
        self._steps = 0
        self._waiting: deque[Request] = deque()
        self._due: dict[int, list[_Running]] = {}
        self._num_working = 0
        self._started_sum = 0

    @property
    def num_running(self) -> int:
        return self._num_working + len(self._waiting)

    @property
    def num_working(self) -> int:
        """How many of them make tokens; the others wait for their place."""
        return self._num_working

    @property
    def running_tokens(self) -> int:
        return self._config.step_tokens * (self._num_working * self._steps - self._started_sum)

    def wait_ready(self, should_stop: Callable[[], bool]) -> None:
        """It is ready once it is made."""

    def submit(self, requests: Sequence[Request]) -> None:
        self._waiting.extend(requests)

    def step(self) -> list[Completion]:
        if self._config.step_s:
            time.sleep(self._config.step_s)
        while self._waiting and self._num_working < self._config.max_running_traces:
            self._start(self._waiting.popleft())
        self._steps += 1
        finished = self._due.pop(self._steps, [])
        self._num_working -= len(finished)
        self._started_sum -= sum(running.started for running in finished)
        return [self._complete(running) for running in finished]

    def wait(self, wait_s: float) -> None:
        """Nothing to wait for: a step is the work itself."""

    def cancel(self, keys: Sequence[Key]) -> None:
        dropped = set(keys)
        self._waiting = deque(request for request in self._waiting if request.key not in dropped)
        for end, running in self._due.items():
            gone = [each for each in running if each.request.key in dropped]
            self._due[end] = [each for each in running if each.request.key not in dropped]
            self._num_working -= len(gone)
            self._started_sum -= sum(each.started for each in gone)
            self.cancelled_tokens += sum(self._config.step_tokens * (self._steps - each.started) for each in gone)

    def abort(self) -> None:
        self.cancelled_tokens += self.running_tokens
        self._waiting.clear()
        self._due.clear()
        self._num_working = self._started_sum = 0

    def close(self) -> None:
        self.abort()

    def _start(self, request: Request) -> None:
        num_tokens, is_last = self._length(request)
        end = self._steps + max(1, -(-num_tokens // self._config.step_tokens))
        self._due.setdefault(end, []).append(_Running(request, self._steps, num_tokens, is_last))
        self._num_working += 1
        self._started_sum += self._steps

    def final_answer(self, problem_id: str, trace_index: int) -> int:
        """Return the answer that a trace ends in: 0 with probability `accuracy`."""
        draw = hash64(self._seed, "answer", problem_id, trace_index) / 2**63
        if draw < self._config.accuracy or self._config.num_answers == 1:
            return 0
        return 1 + hash64(self._seed, "wrong", problem_id, trace_index) % (self._config.num_answers - 1)

    def trace_tokens(self, problem_id: str, trace_index: int) -> int:
        """Return a trace's full length: uniform on [mean / 2, 3 mean / 2]."""
        mean = self._config.mean_tokens
        return max(1, mean // 2 + hash64(self._seed, "length", problem_id, trace_index) % (mean + 1))

    def _length(self, request: Request) -> tuple[int, bool]:
        """Return how many tokens the request will give, and whether its trace ends with them."""
        if not isinstance(request.key, SegmentKey):
            return 1, True
        left = self.trace_tokens(request.key.problem_id, request.key.trace_index) - request.trace_tokens
        return (left, True) if left <= request.max_tokens else (request.max_tokens, False)

    def _confidences(self, key: SegmentKey, first: int, count: int) -> tuple[float, ...]:
        """Return the confidence of each token from the trace's `first` on; it does not depend on where segments end."""
        salt = hash64(self._seed, "confidence", key.problem_id, key.trace_index)
        level = 8 + salt % 5 + (3 if self.final_answer(key.problem_id, key.trace_index) == 0 else 0)
        return tuple(level + (salt + 37 * place) % 256 / 64 for place in range(first, first + count))

    def _complete(self, running: _Running) -> Completion:
        request = running.request
        key = request.key
        confidence = None
        if isinstance(key, SegmentKey):
            token_ids = fake_ids(request.seed, running.num_tokens)
            text = f"s{key.segment_index} wait "
            if request.decoding.has_confidence:
                confidence = self._confidences(key, request.trace_tokens, running.num_tokens)
            if running.is_last:
                text += f"\\boxed{{{self.final_answer(key.problem_id, key.trace_index)}}}"
        else:
            assert isinstance(key, ProbeKey), f"the simulated sampler has no answer to {key}"
            answer = self.final_answer(key.problem_id, key.trace_index)
            token_ids, text = TokenIds((1 + answer,)), str(answer)
        reason = "stop" if running.is_last else None
        prompt_tokens = len(request.prompt_token_ids)
        return Completion(key, len(token_ids), token_ids, text, reason, prompt_tokens, 0, confidence)


def fake_ids(seed: int, count: int) -> TokenIds:
    """Return token ids that a seed gives: a piece of a fixed table, so that a token costs a copied word."""
    table = _fake_table(max(0, count - 1).bit_length())
    start = seed % _NUM_FAKES
    return table[start : start + count]


@cache
def _fake_table(extra_bits: int) -> TokenIds:
    """Return _NUM_FAKES + 2**extra_bits numbers in [1, 2**15], drawn once and for all."""
    count = _NUM_FAKES + 2**extra_bits
    drawn = array("H", shake_128(b"fake tokens").digest(2 * count))
    return TokenIds(1 + number % 2**15 for number in drawn)
