"""How many segments per second the orchestrator handles on one core, commits included, and in how much memory."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from jobs.compose import main_config
from pruner.answers.reader import AnswerReader
from tests.bench.children import cpu_s, in_child, peak_mb, serve
from tests.bench.outcome import Outcome
from tests.bench.settings import BenchConfig
from tests.bench.workbench import Workbench, begin, fake_problems, simulated_overrides

WORDS = (
    "Runner, cases, method=cons, store and the simulated sampler (16 traces per problem, 4 to 12 whole segments per trace, 64 at once), "
    "one process for each size, bound to one core. The checkpoint is written with the default intervals; its closing counts. "
    "`cpu` is the processor time of the process, which leaves out what other programs and the disk take."
)


def run(config: BenchConfig) -> Outcome:
    rows = [
        in_child(
            "tests.bench.orchestrator",
            {
                "segments": segments,
                "segment_tokens": config.segment_tokens,
                "overrides": config.overrides,
                "scratch": config.scratch_folder,
            },
            cores=1,
        )
        for segments in config.segments
    ]
    rates = [row["segments_per_cpu_s"] for row in rows]
    return Outcome(
        rows,
        {
            "segments_per_cpu_s_least": min(rates),
            "segments_per_wall_s_least": min(row["segments_per_wall_s"] for row in rows),
            "spread": (max(rates) - min(rates)) / max(rates),
            "peak_mb_most": max(row["peak_mb"] for row in rows),
        },
        WORDS,
    )


def measure(segments: int, segment_tokens: int, overrides: list[str], scratch: str | None) -> dict[str, Any]:
    bench = Workbench.of(main_config(simulated_overrides(segment_tokens, overrides)))
    problems = fake_problems(segments)
    with tempfile.TemporaryDirectory(dir=scratch) as folder, AnswerReader("math") as reader:
        path = Path(folder) / "shard.duckdb"
        store = bench.open(path)
        begin(store)
        before_mb = peak_mb()
        wall, cpu = time.monotonic(), cpu_s()
        runner = bench.runner(store, reader, iter(problems), len(problems), {})
        runner.run()
        store.close()
        wall, cpu = time.monotonic() - wall, cpu_s() - cpu
        done = runner.progress.segments
        return {
            "segments": done,
            "problems": len(problems),
            "wall_s": wall,
            "cpu_s": cpu,
            "segments_per_wall_s": done / wall,
            "segments_per_cpu_s": done / cpu,
            "commit_share": store.commit_s / wall,
            "peak_mb": peak_mb(),
            "peak_mb_before": before_mb,
            "file_mb": path.stat().st_size / 1e6,
            "file_mb_per_million_tokens": path.stat().st_size / runner.progress.tokens,
        }


if __name__ == "__main__":
    serve(measure)
