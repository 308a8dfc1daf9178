"""The engine's process of the engine benchmark: the program's own, with a clock, and with `LLM.generate` beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from pruner.records.traces import SegmentKey, TokenIds
from pruner.samplers import engine_process
from pruner.samplers.base import Completion, Request
from pruner.samplers.vllm import VllmSampler, sampling_params


@dataclass
class Clock:
    """Of one measurement. running_sum: the requests that ran, summed over steps."""

    steps: int = 0
    running_sum: int = 0
    engine_s: float = 0.0
    submit_s: float = 0.0


class BenchSampler(VllmSampler):
    """The sampler with a clock, and with traces that go on to their full length if asked."""

    _is_whole = True
    _clock = Clock()

    def reset(self, is_whole: bool) -> None:
        self._is_whole = is_whole
        self._clock = Clock()
        self.llm.reset_prefix_cache()

    def clock(self) -> dict[str, float]:
        return asdict(self._clock)

    def params(self, request: Request) -> Any:
        params = super().params(request)
        params.ignore_eos = self._is_whole
        return params

    def submit(self, requests: Sequence[Request]) -> None:
        with _timed(lambda s: setattr(self._clock, "submit_s", self._clock.submit_s + s)):
            super().submit(requests)

    def step(self) -> list[Completion]:
        if self.num_running:
            self._clock.steps += 1
            self._clock.running_sum += self.num_running
        with _timed(lambda s: setattr(self._clock, "engine_s", self._clock.engine_s + s)):
            return super().step()

    def generate(self, requests: Sequence[Request]) -> tuple[float, dict[tuple[str, int], TokenIds]]:
        """Return the seconds that `LLM.generate` takes for all requests at once, and the tokens that each trace got."""
        params = []
        for request in requests:
            each = sampling_params(request)
            each.ignore_eos, each.detokenize, each.stream_interval = True, True, None
            params.append(each)
        prompts = [{"prompt_token_ids": list(request.prompt_token_ids)} for request in requests]
        started = time.monotonic()
        outputs = self.llm.generate(prompts, params, use_tqdm=False)
        wall_s = time.monotonic() - started
        return wall_s, {
            (request.key.problem_id, request.key.trace_index): TokenIds(output.outputs[0].token_ids)
            for request, output in zip(requests, outputs, strict=True)
            if isinstance(request.key, SegmentKey)
        }


@contextmanager
def _timed(add: Callable[[float], None]) -> Iterator[None]:
    started = time.monotonic()
    yield
    add(time.monotonic() - started)


def open_bench(given: Any) -> BenchSampler:
    spec, has_gpu = given
    return BenchSampler(spec, has_gpu)


if __name__ == "__main__":
    engine_process.main(open_bench)
