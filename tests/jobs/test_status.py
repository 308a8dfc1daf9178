"""The status job: one run, a folder of runs, or JSON."""

import json
import subprocess
import time

from pruner.results.status import headline, read_manifest
from tests.job_processes import run, start_program


def test_the_job_prints_a_run_all_runs_or_json(sweep):
    folder = sweep / "cons"
    assert "done" in run("status", str(folder)).stdout.splitlines()[-1]
    assert headline(read_manifest(folder)) in run("status", str(sweep)).stdout.splitlines()
    assert json.loads(run("status", str(folder), "--json").stdout)[0]["counts"]["done"] == 1
    result = run("status", str(folder / "nothing"))
    assert result.returncode == 2 and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1


def test_a_watched_run_ends_when_all_its_shards_are_done(sweep, tmp_path):
    result = run("status", str(sweep / "cons"), "--watch")
    assert result.returncode == 0 and result.stdout == run("status", str(sweep / "cons")).stdout
    arguments = (
        "sampler=simulated",
        "sampler.step_s=0.05",
        "problems.limit=20",
        f"run.root={tmp_path}",
        "run.name=run",
    )
    with start_program("run", *arguments, stderr=subprocess.DEVNULL) as job:
        deadline = time.monotonic() + 60
        while not (tmp_path / "run/progress/shard=0000.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        watched = run("status", str(tmp_path / "run"), "--watch")
        assert job.wait(60) == 0
    assert (
        watched.returncode == 0
        and watched.stdout.count("1 shard: ") >= 2
        and "1 done; 20 of 20 problems" in watched.stdout
    )
