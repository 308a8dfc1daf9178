"""Start the main job as its user does, watch it, kill it, and compare what it wrote."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pruner.results.audit import audit
from tests.job_processes import ENGINE, PROJECT, command, run

MEASURED = ("attempts", "wall_s", "gpu_seconds", "traces_speculative", "tokens_speculative")
SMALL = (
    "problems.limit=6",
    "budget=6",
    "sampler.segment_tokens=16",
    "sampler.max_running_traces=32",
    "sampler.kv_cache_gib=1",
)
# A generative judge, and an engine of its own for it.
JUDGED = ("method=deepprune", "judge=llm")
APART = ("judge.colocate=false", "judge.dtype=float32", "judge.max_model_len=2048")

# The README's two runs, and what they are in tests: on the first problems of the demo set, in the folders that they have there.
DEMO_PROBLEMS = 24
DEMO_COMMANDS = {
    "bash slurm/run.sh": f"bash slurm/run.sh problems.limit={DEMO_PROBLEMS} run.name=default",
    "bash slurm/run.sh method=cons": f"bash slurm/run.sh method=cons problems.limit={DEMO_PROBLEMS} \"run.name='method=cons'\"",
}


def cannot_run(reason: str) -> NoReturn:
    """Skip what a user's machine cannot run; where everything has to run, that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def run_job(root: Path, *overrides: str, code: int = 0) -> subprocess.CompletedProcess:
    """Run the main job to its end; a live one with the engine in its own process, forked from one that has imported vLLM.

    That saves the seconds that vLLM's imports take. `start_job` and the documents' commands run what users get.
    """
    arguments = [f"run.root={root}", "run.name=run", *with_a_judge(overrides)]
    if code == 0 and not any(override.startswith("sampler=") for override in overrides):
        result = run_live("run", *arguments, "sampler.in_process=true")
    else:
        result = run("run", *arguments)
    assert result.returncode == code, f"exit code {result.returncode}\n{result.stdout}\n{result.stderr}"
    if code == 0:
        assert_accounting_agrees(root / "run")
    return result


def with_a_judge(overrides: Sequence[str]) -> list[str]:
    """Return the overrides of a live run, of DeepPrune where they name no method: it uses the judge as well."""
    names = {override.partition("=")[0] for override in overrides}
    return [*overrides] if names & {"method", "sampler"} else ["method=deepprune", *overrides]


def run_live(job: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run a job to its end, forked from a process that has imported vLLM."""
    return run(job, *arguments, imported=ENGINE, timeout_s=900)


def assert_accounting_agrees(folder: Path) -> None:
    """Check a finished run's answers, traces, judged facts, attempts and checkpoints against each other."""
    found = audit(folder)
    assert not found.faults and not found.unchecked and found.segments is not None, str(found)


def start_job(root: Path, *overrides: str) -> subprocess.Popen:
    log = open(root / "log.txt", "a")
    arguments = [f"run.root={root}", "run.name=run", *with_a_judge(overrides)]
    return subprocess.Popen(command("run", *arguments), cwd=PROJECT, stdout=log, stderr=log)


def wait_for_segments(root: Path, count: int, process: subprocess.Popen, timeout_s: float = 300) -> int:
    """Wait until the job has committed so many segments in all; return how many it reported."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        segments = committed_segments(root)
        if segments >= count:
            return segments
        assert process.poll() is None, f"the job ended with {process.returncode}\n{(root / 'log.txt').read_text()}"
        time.sleep(0.02)
    raise AssertionError(f"no {count} segments within {timeout_s} s\n{(root / 'log.txt').read_text()}")


def committed_segments(root: Path) -> int:
    try:
        return int(json.loads((root / "run/progress/shard=0000.json").read_text())["segments"])
    except (OSError, ValueError):
        return 0


def table(root: Path, name: str) -> pa.Table:
    """Return a table of the run, all shards, in order, without columns that only measure."""
    found = pa.concat_tables([pq.read_table(path) for path in sorted((root / "run" / name).glob("*.parquet"))])
    keys = [
        key
        for key in ("problem_index", "trace_index", "left_trace", "right_trace", "num_tokens")
        if key in found.column_names
    ]
    found = found.sort_by([(key, "ascending") for key in keys])
    return found.drop_columns([column for column in MEASURED if column in found.column_names])


def assert_same_results(one: Path, other: Path) -> None:
    for name in ("answers", "traces", "verdicts", "probes"):
        left, right = table(one, name), table(other, name)
        assert left.num_rows == right.num_rows, name
        for row, expected in zip(left.to_pylist(), right.to_pylist(), strict=True):
            assert row == expected, name


def attempts(root: Path, shard: int = 0) -> list[dict]:
    return pq.read_table(root / f"run/attempts/shard={shard:04d}.parquet").to_pylist()
