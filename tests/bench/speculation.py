"""Whether speculative traces delay what a method needs: from its asking to the engine's being given the request."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles
from typing import Any, cast

from jobs.compose import main_config
from pruner.answers.reader import AnswerReader
from pruner.answers.readings import Read
from pruner.records.traces import Key
from pruner.samplers.base import Completion, Request, Sampler
from pruner.samplers.simulated import SimulatedSampler
from pruner.shard.case import Case
from pruner.shard.exchange import Step
from tests.bench.children import cpu_s, in_child, serve
from tests.bench.outcome import Outcome
from tests.bench.settings import BenchConfig
from tests.bench.workbench import Workbench, begin, fake_problems, simulated_overrides

WORDS = (
    "Runner, cases, method=worth, store and the simulated sampler, whose step takes 5 ms; 64 traces at once, so that the last problems leave "
    "width idle. One process for each run, by turns without and with speculative traces. A request is needed from when its method asks "
    "for it until the engine is given it; one that was running already when it came to be needed took no time and is not counted."
)
AHEAD = (0, 7)


def run(config: BenchConfig) -> Outcome:
    common = {
        "segment_tokens": config.segment_tokens,
        "overrides": config.overrides,
        "num_problems": 8 * config.num_problems,
    }
    rows = [
        in_child("tests.bench.speculation", {**common, "ahead": ahead, "scratch": config.scratch_folder}, cores=1)
        for _ in range(config.repeats)
        for ahead in AHEAD
    ]
    figures = {
        f"{name}_ahead_{ahead}": median(row[name] for row in rows if row["ahead"] == ahead)
        for name in ("wall_s", "submission_p50_ms", "submission_p99_ms", "tokens_speculative", "cpu_ms_per_segment")
        for ahead in AHEAD
    }
    return Outcome(rows, figures, WORDS)


class Clocked:
    """A simulated sampler that notes when it is given what."""

    def __init__(self, sampler: SimulatedSampler) -> None:
        self._sampler = sampler
        self.given_at: dict[Key, float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sampler, name)

    def submit(self, requests: Sequence[Request]) -> None:
        now = time.monotonic()
        for request in requests:
            self.given_at[request.key] = now
        self._sampler.submit(requests)


class NotedCase:
    """A case that notes when its method asks for what. asked_at: of all cases, by time.monotonic()."""

    def __init__(self, case: Case, asked_at: dict[Key, float]) -> None:
        self._case = case
        self._asked_at = asked_at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._case, name)

    def begin(self) -> Step:
        return self._noted(self._case.begin())

    def receive(self, completion: Completion, is_needed: bool) -> Step:
        return self._noted(self._case.receive(completion, is_needed))

    def take_answer(self, read: Read) -> Step:
        return self._noted(self._case.take_answer(read))

    def _noted(self, step: Step) -> Step:
        now = time.monotonic()
        for request in step.requests:
            self._asked_at.setdefault(request.key, now)
        return step


def measure(
    ahead: int, num_problems: int, segment_tokens: int, overrides: list[str], scratch: str | None
) -> dict[str, Any]:
    own = [
        "method=worth",
        "model.typical_tokens=null",
        f"speculate.ahead={ahead}",
        "sampler.step_s=0.005",
        "sampler.accuracy=0.5",
    ]
    bench = Workbench.of(main_config(simulated_overrides(segment_tokens, [*own, *overrides])))
    assert isinstance(bench.sampler, SimulatedSampler)
    sampler, problems = Clocked(bench.sampler), fake_problems(128 * num_problems)
    asked_at: dict[Key, float] = {}
    with tempfile.TemporaryDirectory(dir=scratch) as folder, AnswerReader("math") as reader:
        store = bench.open(Path(folder) / "shard.duckdb")
        begin(store)
        wall, cpu = time.monotonic(), cpu_s()
        timed = replace(bench, sampler=cast(Sampler, sampler))
        runner = timed.runner(
            store, reader, iter(problems), len(problems), {}, case_of=lambda case: cast(Case, NotedCase(case, asked_at))
        )
        runner.run()
        wall, cpu = time.monotonic() - wall, cpu_s() - cpu
        speculative = sum(row["tokens_speculative"] for row in store.answers(main_config([]).accounting).to_pylist())
        store.close()
    waits = [1000 * (sampler.given_at[key] - at) for key, at in asked_at.items()]
    cuts = quantiles(waits, n=100)
    return {
        "ahead": ahead,
        "problems": len(problems),
        "wall_s": wall,
        "cpu_ms_per_segment": 1000 * cpu / runner.progress.segments,
        "segments": runner.progress.segments,
        "tokens_speculative": speculative,
        "requests": len(waits),
        "submission_p50_ms": cuts[49],
        "submission_p99_ms": cuts[98],
        "submission_most_ms": max(waits),
    }


if __name__ == "__main__":
    serve(measure)
