"""The plan job: a table for people, and a line of JSON for programs."""

import json

from tests.job_processes import run


def test_the_job_prints_a_table_and_ends_with_json():
    arguments = ["curve=[[1,20],[64,240]]", "num_problems=4", "mean_tokens=50", "budget=4", "overrides=['method=cons']"]
    result = run("plan", *arguments)
    assert result.returncode == 0, result.stderr
    assert "4 problems x 4 traces of 50 tokens" in result.stdout and "GPU-hours" in result.stdout
    assert json.loads(result.stdout.splitlines()[-1])["tasks"] == 1
