"""The plan job: a table for people, and a line of JSON for programs."""

import json

from tests.job_processes import run
from tests.unit.test_clocked import write


def test_the_job_prints_a_table_and_ends_with_json():
    arguments = ["curve=[[1,20],[64,240]]", "num_problems=4", "mean_tokens=50", "budget=4", "overrides=['method=cons']"]
    result = run("plan", *arguments)
    assert result.returncode == 0, result.stderr
    assert "4 problems x 4 traces of 50 tokens" in result.stdout and "GPU-hours" in result.stdout
    assert json.loads(result.stdout.splitlines()[-1])["tasks"] == 1


def test_a_recording_is_planned_by_the_number_of_traces_ahead(tmp_path):
    path = write(tmp_path / "t.parquet", [[20, 30, 10], [10, 40, 5]], [["1", "2", "3"], ["1", "1", "1"]])
    arguments = [
        "curve=[[1,20],[64,240]]",
        f"recording={path}",
        "budget=3",
        "ahead=[0,2]",
        "overrides=['method=worth']",
    ]
    result = run("plan", *arguments)
    assert result.returncode == 0, result.stderr
    assert "| speculate.ahead | wall time, h |" in result.stdout
    assert [each["ahead"] for each in json.loads(result.stdout.splitlines()[-1])["by_ahead"]] == [0, 2]
    result = run("plan", *arguments, "budget=4")
    assert result.returncode == 2 and "budget: got 4" in result.stderr, result.stderr
