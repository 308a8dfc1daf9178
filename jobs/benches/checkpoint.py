"""What the checkpoint costs a live run: its share of the time, and its size."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median

from jobs.benches.live import RUN, last_attempt, run_job
from jobs.benches.outcome import Outcome
from jobs.benches.settings import BenchConfig

WORDS = (
    "The main job on the real engine, method=cons, with the default commit intervals: seconds spent committing as a share of the "
    "seconds of work (columns commit_s and work_s of the attempts table). What a file of a few thousand tokens takes is mostly "
    "DuckDB's blocks of 256 KiB; the size per million tokens of a large one is in the table of bench=orchestrator."
)


def run(config: BenchConfig) -> Outcome:
    rows = []
    for number in range(config.repeats):
        with tempfile.TemporaryDirectory(dir=config.scratch_folder) as folder:
            root = Path(folder)
            own = ["method=cons", f"problems.limit={config.num_problems}", f"budget={config.num_traces}"]
            wall_s = run_job(root, [*own, *config.overrides])
            attempt = last_attempt(root)
            size = sum(file.stat().st_size for file in (root / RUN / "checkpoint").glob("*.duckdb"))
            rows.append(
                {
                    "round": number,
                    "wall_s": wall_s,
                    "load_s": attempt["load_s"],
                    "work_s": attempt["work_s"],
                    "commit_s": attempt["commit_s"],
                    "commit_share": attempt["commit_s"] / attempt["work_s"],
                    "segments": attempt["segments"],
                    "tokens": attempt["tokens_sampled"],
                    "tokens_per_s": attempt["tokens_sampled"] / attempt["work_s"],
                    "file_mb": size / 1e6,
                }
            )
    return Outcome(rows, {"commit_share": median(float(row["commit_share"]) for row in rows)}, WORDS)
