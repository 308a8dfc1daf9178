"""The benchmark job at a small size: what it writes, and what it refuses."""

import json

import pytest

from tests.job_processes import run


@pytest.mark.parametrize(("override", "message"), [("bench=nothing", "bench: got 'nothing'"), ("repeats=0", "repeats")])
def test_a_benchmark_that_does_not_exist_is_reported(override, message):
    result = run("bench", "bench=orchestrator", override)
    assert result.returncode == 2 and message in result.stderr and "Traceback" not in result.stderr


def test_the_job_ends_with_a_line_of_json(tmp_path):
    result = run("bench", "bench=orchestrator", "segments=[300]", "segment_tokens=16", f"target={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["bench"] == "orchestrator"
    assert {path.name for path in tmp_path.iterdir()} == {"orchestrator.md", "orchestrator.parquet"}
