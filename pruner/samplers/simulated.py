"""Seeded fake traces: a sampler without a model, for tests of the runner, of kills and of scale.

A completion is a function of its request alone, as with the real engine in exact mode. Traces of a problem end in one of a
few answers; probes tell the answer that the trace is heading for. Traces with the right answer are a little more confident.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from pruner.config import SimulatedSamplerConfig
from pruner.samplers.base import Completion, Request
from pruner.traces import ProbeKey, SegmentKey, hash64


class SimulatedSampler:
    """Completes the oldest requests first, `step_tokens` tokens of each running one a step."""

    def __init__(self, config: SimulatedSamplerConfig, seed: int) -> None:
        self._config = config
        self._seed = seed
        self._running: dict[int, tuple[Request, int]] = {}
        self._count = 0

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def running_tokens(self) -> int:
        return sum(done for _, done in self._running.values())

    def submit(self, requests: Sequence[Request]) -> None:
        for request in requests:
            self._running[self._count] = (request, 0)
            self._count += 1

    def step(self) -> list[Completion]:
        if self._config.step_s:
            time.sleep(self._config.step_s)
        completions = []
        for number, (request, done) in list(self._running.items())[: self._config.max_running_traces]:
            done += self._config.step_tokens
            total, _ = self._length(request)
            if done < total:
                self._running[number] = (request, done)
                continue
            del self._running[number]
            completions.append(self._complete(request))
        return completions

    def abort(self) -> None:
        self._running.clear()

    def close(self) -> None:
        self._running.clear()

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

    def _complete(self, request: Request) -> Completion:
        key = request.key
        total, is_last = self._length(request)
        confidence = None
        if isinstance(key, SegmentKey):
            first = 1 + request.seed % 40_000
            token_ids = tuple(range(first, first + total))
            text = f"s{key.segment_index} wait "
            if request.decoding.has_confidence:
                confidence = self._confidences(key, request.trace_tokens, total)
            if is_last:
                text += f"\\boxed{{{self.final_answer(key.problem_id, key.trace_index)}}}"
        else:
            assert isinstance(key, ProbeKey), f"the simulated sampler has no answer to {key}"
            answer = self.final_answer(key.problem_id, key.trace_index)
            token_ids, text = (1 + answer,), str(answer)
        return Completion(
            key,
            len(token_ids),
            token_ids,
            text,
            "stop" if is_last else None,
            len(request.prompt_token_ids),
            0,
            confidence,
        )
