"""How long it takes from opening a checkpoint to the first request, engine load aside."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from jobs.compose import main_config
from pruner.answers.reader import AnswerReader
from pruner.records.traces import Key
from pruner.samplers.base import Completion, Request
from tests.bench.children import cpu_s, in_child, peak_mb, serve
from tests.bench.outcome import Outcome
from tests.bench.settings import BenchConfig
from tests.bench.workbench import Workbench, begin, fake_problems, simulated_overrides

WORDS = (
    "A simulated run (as in the orchestrator benchmark) is stopped after so many segments, as a signal does; its checkpoint is opened in a "
    "new process, once as it was left (`in flight`: only its open problems are read) and once with all rows of finished problems "
    "forgotten (`rederived`: all problems are open again, and are computed from their facts, up to the first one that still needs a request). Each block is read once to notice damage, and "
    "keys are checked for doubles, before anything else."
)
CASES = ("in flight", "rederived")


def run(config: BenchConfig) -> Outcome:
    segments = config.segments[min(1, len(config.segments) - 1)]
    common = {"segment_tokens": config.segment_tokens, "overrides": config.overrides}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=config.scratch_folder) as folder:
        path = str(Path(folder) / "shard.duckdb")
        in_child("tests.bench.resume", {**common, "path": path, "segments": segments, "case": "make"})
        for _ in range(config.repeats):
            for case in CASES[:1]:
                rows.append(
                    in_child("tests.bench.resume", {**common, "path": path, "segments": segments, "case": case})
                )
        rows.append(in_child("tests.bench.resume", {**common, "path": path, "segments": segments, "case": CASES[1]}))
    figures: dict[str, float | int] = {"segments": rows[0]["segments"]}
    for case in CASES:
        for name in ("wall_s", "cpu_s"):
            figures[f"{case.replace(' ', '_')}_{name}"] = median(row[name] for row in rows if row["case"] == case)
    return Outcome(rows, figures, WORDS)


def measure(path: str, segments: int, case: str, segment_tokens: int, overrides: list[str]) -> dict[str, Any]:
    bench = Workbench.of(main_config(simulated_overrides(segment_tokens, overrides)))
    # Some more than are sampled, so that some are open when it stops.
    problems = fake_problems(segments + segments // 4)
    with AnswerReader("math") as reader:
        if case == "make":
            return _make(bench, Path(path), segments, reader, problems)
        wall, cpu = time.monotonic(), cpu_s()
        store = bench.open(Path(path))
        opened_s = time.monotonic() - wall
        if case == CASES[1]:
            store.forget_derived()
        answered = store.answered_ids()
        todo = [problem for problem in problems if problem.problem_id not in answered]
        known = store.unfinished_facts()
        num_open = len(known)
        read_s = time.monotonic() - wall - opened_s
        first = FirstRequest()
        runner = replace(bench, sampler=first).runner(
            store, reader, iter(todo), len(problems), known, lambda: first.asked_at is not None
        )
        runner.run()
        assert first.asked_at is not None, "nothing is left to do"
        wall, cpu = first.asked_at - wall, first.cpu_s - cpu
        held = store.totals.segments
        store.close()
        return {
            "case": case,
            "segments": held,
            "open_problems": num_open,
            "wall_s": wall,
            "cpu_s": cpu,
            "open_s": opened_s,
            "read_s": read_s,
            "peak_mb": peak_mb(),
        }


class FirstRequest:
    """A sampler that looks at the clock when it is first asked for something, and never answers."""

    running_tokens = 0
    cancelled_tokens = 0
    capacity_tokens: int | None = None

    def __init__(self) -> None:
        self.asked_at: float | None = None
        self.cpu_s = 0.0

    def wait_ready(self, should_stop: Callable[[], bool]) -> None:
        """It is ready once it is made."""

    def submit(self, requests: Sequence[Request]) -> None:
        if requests and self.asked_at is None:
            self.asked_at, self.cpu_s = time.monotonic(), cpu_s()

    def step(self) -> list[Completion]:
        return []

    def wait(self, wait_s: float) -> None:
        """It never has anything to report."""

    def cancel(self, keys: Sequence[Key]) -> None:
        """Nothing of it is speculative."""

    def abort(self) -> None:
        """Nothing runs."""

    def close(self) -> None:
        self.abort()


def _make(bench: Workbench, path: Path, segments: int, reader: AnswerReader, problems: list[Any]) -> dict[str, Any]:
    with bench.open(path) as store:
        begin(store)
        runner = bench.runner(
            store, reader, iter(problems), len(problems), {}, lambda: runner.progress.segments >= segments
        )
        runner.run()
    return {"segments": runner.progress.segments}


if __name__ == "__main__":
    serve(measure)
