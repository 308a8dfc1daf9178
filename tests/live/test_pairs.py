"""Pairs from traces that the main job made, counted with the real tokenizer: the prefixes are those it judged."""

from __future__ import annotations

import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from tests.live.jobs_under_test import PROJECT

pytestmark = pytest.mark.live


def build(*arguments):
    command = [sys.executable, "-m", "jobs.build_pairs", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)


def test_a_runs_traces_become_pairs_and_a_second_call_does_nothing(tmp_path, all_traces):
    target = tmp_path / "pairs.parquet"
    arguments = (f"source={all_traces}/run", f"target={target}", "prefix.max_tokens=12")
    result = build(*arguments)
    assert result.returncode == 0, result.stderr
    rows = pq.read_table(target).to_pylist()
    traces = {
        (row["problem_id"], row["trace_index"]): row
        for row in pq.read_table(all_traces / "run/traces/shard=0000.parquet").to_pylist()
    }
    assert rows
    for row in rows:
        assert row["left_tokens"] == row["right_tokens"] == 12
        left = traces[row["problem_id"], row["left_trace"]]
        assert left["text"].startswith(row["left"]) and left["answer"] == row["left_answer"]
        assert row["question"]
    before = target.stat().st_mtime_ns
    assert "nothing to do" in build(*arguments).stdout and target.stat().st_mtime_ns == before
    result = build(f"source={all_traces}/run", f"target={target}", "prefix.max_tokens=100000")
    assert result.returncode == 2 and "complete prefixes" in result.stderr
