"""How long questions and pages take on a folder of many runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from jobs.benches.live import RUN, run_job
from jobs.benches.outcome import Outcome
from jobs.benches.settings import BenchConfig
from pruner.errors import EngineError
from pruner.system.files import write_text

WORDS = "One simulated run (56 problems, 16 traces) copied under so many names; each command in a process of its own, its start included."
_SQL = "SELECT method, avg(correct) AS accuracy, sum(tokens_net) AS tokens_net FROM answers GROUP BY ALL ORDER BY ALL"


def run(config: BenchConfig) -> Outcome:
    with tempfile.TemporaryDirectory(dir=config.scratch_folder) as folder:
        root = Path(folder)
        run_job(root, ["sampler=simulated", *config.overrides])
        copy_runs(root, config.num_runs)
        rows: list[Mapping[str, str | int | float]] = [
            {"round": number, "runs": config.num_runs, "command": name, "wall_s": seconds(command)}
            for number in range(config.repeats)
            for name, command in commands(root).items()
        ]
    names = dict.fromkeys(str(row["command"]) for row in rows)
    figures = {f"{name}_s": median(float(row["wall_s"]) for row in rows if row["command"] == name) for name in names}
    return Outcome(rows, figures, WORDS)


def commands(root: Path) -> dict[str, Sequence[str]]:
    """Return what is timed: a query over all runs, a page of one and a page of all."""
    python = [sys.executable, "-m"]
    return {
        "query": [*python, "jobs.query", _SQL, "--root", str(root)],
        "report_of_a_run": [*python, "jobs.report", str(root / RUN)],
        "report_of_all": [*python, "jobs.report", str(root)],
    }


def copy_runs(root: Path, count: int) -> None:
    """Copy a run's folder until there are so many, each with a name and a seed of its own."""
    for number in range(1, count):
        name = f"{RUN}{number}"
        shutil.copytree(root / RUN, root / name, ignore=shutil.ignore_patterns("*.duckdb", "lease"))
        path = root / name / "run.json"
        write_text(path, json.dumps({**json.loads(path.read_text()), "run": name, "seed": number}))


def seconds(command: Sequence[str]) -> float:
    started = time.monotonic()
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise EngineError(f"{command[2]} ended with code {result.returncode}: {result.stderr.strip()[-300:]}")
    return time.monotonic() - started
