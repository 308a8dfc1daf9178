"""slurm/serve.sh on a real Slurm: an array of three tasks on one server, and the server thrown out while they work."""

from __future__ import annotations

import subprocess

import pytest

from tests.live.jobs_under_test import PROJECT, assert_same_results, run_job
from tests.slurm.cluster_under_test import (
    has_ended,
    look_ended,
    preempt,
    queue,
    reports,
    runs,
    slurm,
    submit,
    wait_until,
)

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("cluster")]
MODEL = ".cache/models/smollm2_135m"
DEMO = ("method=cons", "problems.limit=12", "budget=8", "sampler.max_running_traces=16", "sampler.segment_tokens=16")


@pytest.mark.live
@pytest.mark.timeout(1200)
def test_an_array_works_on_a_server_that_is_thrown_out_meanwhile(tmp_path, monkeypatch):
    array_on_a_server(tmp_path, monkeypatch, "scavenge", "urgent")


def array_on_a_server(tmp_path, monkeypatch, servers, array):
    """Run an array of three tasks on one server; what is in the partition scavenge is thrown out meanwhile. servers, array: partitions."""
    monkeypatch.setenv("PRUNER_SERVE_HOST", "127.0.0.1")
    urls = tmp_path / "servers"
    options = ("--cpus-per-task=2", f"--partition={servers}", f"--output={tmp_path}/log-serve-%j.txt")
    serving = slurm("sbatch", "--parsable", *options, "slurm/serve.sh", f"--urls={urls}", MODEL).strip()
    served = (
        "sampler=server",
        f"sampler.urls=@{urls}",
        "sampler.aligned=false",
        "sampler.cache_block_tokens=32",
        *DEMO,
    )
    try:
        own = ("--array=0-2", f"--partition={array}", "--cpus-per-task=1", f"--dependency=after:{serving}")
        job = submit(tmp_path, *served, options=own)
        wait_until(lambda: any(row["problems_done"] > 0 for row in reports(tmp_path)), "the array works", tmp_path)
        assert urls.read_text().startswith("http://127.0.0.1:")
        preempt(tmp_path, serving if servers == "scavenge" else job, 5)

        def ended():
            look_ended(serving)  # which lets it go on sooner
            return has_ended(job)

        wait_until(ended, "the array ends", tmp_path, 600)
        assert [state for _, state, _, _ in queue(job)] == ["CD"] * 3, slurm("squeue", "--states=all")
        wait_until(lambda: runs(serving), "the server is back", tmp_path)
    finally:
        subprocess.run(["scancel", serving], check=False, capture_output=True)
    wait_until(lambda: has_ended(serving) and not urls.exists(), "the server ends and its file is gone", tmp_path)
    run_job(tmp_path / "undisturbed", *DEMO)
    assert_same_results(tmp_path, tmp_path / "undisturbed")


def test_what_serve_cannot_do_is_one_line():
    for arguments, line in (((), "expected a model"), (("--max-model-len=5", MODEL), "go behind the model")):
        result = subprocess.run(["bash", "slurm/serve.sh", *arguments], cwd=PROJECT, capture_output=True, text=True)
        assert result.returncode == 2 and line in result.stderr and len(result.stderr.splitlines()) == 1
