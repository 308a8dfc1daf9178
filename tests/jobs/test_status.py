"""The status job: one run, a folder of runs, or JSON."""

import json

from pruner.results.status import headline, read_manifest
from tests.job_processes import run


def test_the_job_prints_a_run_all_runs_or_json(sweep):
    folder = sweep / "cons"
    assert "done" in run("status", str(folder)).stdout.splitlines()[-1]
    assert headline(read_manifest(folder)) in run("status", str(sweep)).stdout.splitlines()
    assert json.loads(run("status", str(folder), "--json").stdout)[0]["counts"]["done"] == 1
    result = run("status", str(folder / "nothing"))
    assert result.returncode == 2 and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
