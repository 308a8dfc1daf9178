"""The worker that reads answers is killed while a run goes on: the rows are the same, or the job says why it ended."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import job_processes
from tests.chaos.harness import worker_of
from tests.live.jobs_under_test import table

pytestmark = pytest.mark.chaos

# Each answer takes algebra: spelled in several ways that are equal.
SPELLINGS = (r"\frac{{{0}}}{{3}}", r"{0}\cdot 3^{{-1}}", r"\sqrt{{{1}/9}}", r"x={0}/3")


def recording(path: Path) -> Path:
    rows = [
        {
            "problem_id": f"p{problem}",
            "gold_answer": f"{problem + 1}/3",
            "trace_index": trace,
            "num_tokens": 10 + trace,
            "answer": SPELLINGS[trace % 4].format(value := problem + 1 + (trace % 5 == 0) * (1 + trace), value**2),
        }
        for problem in range(60)
        for trace in range(12)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def overrides(root: Path, source: Path) -> list[str]:
    own = (
        "sampler=replay",
        f"sampler.source={source}",
        "method=adaptive",
        "method.wave=2",
        "budget=12",
        "run.name=run",
    )
    return [*own, f"run.root={root}", "checkpoint.every_segments=20"]


def run(root: Path, source: Path) -> subprocess.CompletedProcess[str]:
    return job_processes.run("run", *overrides(root, source))


@pytest.mark.parametrize("kills", [1, 5])
def test_a_run_whose_worker_is_killed_gives_the_same_rows_or_says_why_not(tmp_path, kills):
    source = recording(tmp_path / "recorded.parquet")
    assert run(tmp_path / "whole", source).returncode == 0
    job = job_processes.start_program("run", *overrides(tmp_path / "hurt", source), stderr=subprocess.PIPE)
    done = 0
    while done < kills and job.poll() is None:
        worker = worker_of(job.pid)
        if worker is None:
            time.sleep(0.01)
            continue
        os.kill(worker, 9)
        done += 1
        time.sleep(0.05)
    _, errors = job.communicate(timeout=300)
    assert job.returncode == 0 or (job.returncode == 1 and "error: answers: the worker" in errors), errors
    assert "Traceback" not in errors
    if job.returncode:
        assert run(tmp_path / "hurt", source).returncode == 0
    for name in ("answers", "traces"):
        assert table(tmp_path / "hurt", name).to_pylist() == table(tmp_path / "whole", name).to_pylist()
    votes = table(tmp_path / "whole", "answers").column("vote_counts").to_pylist()
    assert max(each[0] for each in votes) > 2, "equal answers of different spellings vote together"
