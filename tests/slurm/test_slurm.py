"""The main job on a real Slurm: arrays, preemption, the time limit, sweeps."""

from __future__ import annotations

import os
import subprocess

import pyarrow.parquet as pq
import pytest

from tests.job_processes import PROJECT, run, run_program
from tests.live.jobs_under_test import assert_same_results, attempts, run_job
from tests.slurm.cluster_under_test import has_ended, preempt, reports, runs, slurm, submit, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("cluster")]
SIMULATED = ("sampler=simulated", "problems.limit=18", "budget=8", "checkpoint.every_segments=4")


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """A simulated run that nothing disturbed."""
    root = tmp_path_factory.mktemp("simulated")
    run_job(root, *SIMULATED)
    return root


def restarts(folder, shards):
    """Return (Slurm's id, its count of restarts, how it ended) of every attempt."""
    rows = [row for shard in range(shards) for row in attempts(folder, shard)]
    return [(row["slurm_job_id"], row["slurm_restart"] or 0, row["end_reason"]) for row in rows]


def preempted_twice(folder, job, shards):
    """Throw the array out once it samples, and again when what was thrown out samples again."""
    for number in range(2):
        wait_until(
            lambda seen=number: (
                has_ended(job) or any(row["state"] == "running" and row["attempt"] > seen for row in reports(folder))
            ),
            f"the array samples for the {number + 1}. time",
            folder,
        )
        preempt(folder, job, 8)
    wait_until(lambda: has_ended(job), "the array ends", folder)
    found = restarts(folder, shards)
    assert sum(reason == "interrupted" for _, _, reason in found) >= 2, found
    assert max(restart for _, restart, _ in found) >= 2, found
    assert {name.split("_")[0] for name, _, _ in found} == {job}
    for shard in range(shards):
        assert attempts(folder, shard)[-1]["end_reason"] == "done"


@pytest.mark.live
def test_a_preemption_that_leaves_a_minute_discards_nothing_with_a_drain(tmp_path):
    """At the demo's speed and with its settings, 60 s between TERM and KILL; the first task is cancelled in the queue, the second goes on by itself."""
    demo = ("method=cons", "problems.limit=6", "checkpoint.every_segments=4")
    run_job(tmp_path / "undisturbed", *demo)
    discarded = []
    for number, drain in enumerate(("checkpoint.drain_s=0", "checkpoint.drain_s=45")):
        job = submit(tmp_path, *demo, drain, options=("--cpus-per-task=8",))
        wait_until(lambda seen=number: samples(tmp_path, seen + 1), "the job samples", tmp_path)
        preempt(tmp_path, job, 8)
        wait_until(
            lambda job=job, seen=number: not runs(job) and ended(tmp_path, seen + 1), "the attempt ends", tmp_path
        )
        discarded.append(attempts(tmp_path)[number]["discarded_tokens"])
        shown = run("status", str(tmp_path / "run")).stdout
        assert "resumable" in shown and "pending (" in shown, shown
        if number == 0:
            slurm("scancel", job)
    print(
        f"discarded by a preemption with 60 s between TERM and KILL: {discarded[0]} tokens without a drain, {discarded[1]} with it"
    )
    assert discarded[0] > 0 and discarded[1] == 0
    wait_until(lambda: has_ended(job), "the job ends", tmp_path)
    assert [row["end_reason"] for row in attempts(tmp_path)] == ["interrupted", "interrupted", "done"]
    assert_same_results(tmp_path, tmp_path / "undisturbed")


def samples(folder, attempt):
    """Return whether the first shard's attempt has sampled something."""
    return any(row["state"] == "running" and row["attempt"] >= attempt and row["segments"] for row in reports(folder))


def ended(folder, attempt):
    return any(row["state"] == "interrupted" and row["attempt"] >= attempt for row in reports(folder))


def test_an_array_preempted_twice_with_the_checkpoint_on_scratch(tmp_path, simulated):
    slow = ("sampler.step_s=0.2", "sampler.max_running_traces=4")
    scratch = (f"checkpoint.dir={tmp_path}/scratch", "checkpoint.copy_every_s=1")
    job = submit(tmp_path, *SIMULATED, *slow, *scratch, options=("--array=0-2",))
    preempted_twice(tmp_path, job, 3)
    assert_same_results(tmp_path, simulated)
    assert len(list((tmp_path / "scratch").rglob("*.duckdb"))) == 3
    shown = run("status", str(tmp_path / "run"))
    assert "3 shards: 3 done; 18 of 18 problems" in shown.stdout, shown.stdout + shown.stderr


def test_a_job_near_its_time_limit_commits_and_goes_back_into_the_queue(tmp_path, simulated):
    # Slurm looks every 30 s, and up to 30 s ahead: the signal comes 20 to 50 s after the start, and each attempt gets something done.
    slow = ("sampler.step_s=0.3", "sampler.max_running_traces=4")
    job = submit(tmp_path, *SIMULATED, *slow, options=("--time=1", "--signal=B:USR1@10"))
    wait_until(lambda: has_ended(job), "the job ends", tmp_path, 500)
    found = restarts(tmp_path, 1)
    assert len(found) >= 2 and found[-1][2] == "done", found
    assert {reason for _, _, reason in found[:-1]} == {"interrupted"}, found
    assert [restart for _, restart, _ in found] == sorted({restart for _, restart, _ in found}), found
    assert_same_results(tmp_path, simulated)
    again = submit(tmp_path, *SIMULATED, options=("--time=1",))
    wait_until(lambda: has_ended(again), "the finished shard ends again", tmp_path)
    assert "nothing to do" in (tmp_path / f"log-{again}_0.txt").read_text()
    assert len(attempts(tmp_path)) == len(found)


def test_bad_input_and_what_a_user_cancels_do_not_come_back(tmp_path):
    bad = submit(tmp_path, "budget=0")
    slow = submit(tmp_path, *SIMULATED, "sampler.step_s=0.4", "sampler.max_running_traces=4")
    wait_until(lambda: has_ended(bad), "the job with bad input ends", tmp_path)
    assert "error: budget: got 0" in (tmp_path / f"log-{bad}_0.txt").read_text()
    wait_until(lambda: any(row["state"] == "running" for row in reports(tmp_path)), "the other one samples", tmp_path)
    slurm("scancel", slow)
    wait_until(lambda: has_ended(slow), "the cancelled job is gone", tmp_path)
    assert reports(tmp_path)[0]["state"] == "interrupted"


def test_an_allocation_of_two_gpus_is_split_between_sampler_and_judge(tmp_path):
    job = submit(
        tmp_path, "method=deepprune", "judge=llm", "judge.colocate=false", "dry_run=true", options=("--gpus=2",)
    )
    wait_until(lambda: has_ended(job), "the dry run ends", tmp_path)
    plan = (tmp_path / f"log-{job}_0.txt").read_text()
    assert plan.index('"CUDA_VISIBLE_DEVICES": "0"') < plan.index('"judge"') < plan.index('"CUDA_VISIBLE_DEVICES": "1"')


def sweep(tmp_path, *more):
    launch = ["-m", "hydra/launcher=slurm", "hydra.launcher.timeout_min=5"]
    points = ["method=cons,deepprune", "seed=0,1", *SIMULATED, f"run.root={tmp_path}"]
    return run_program("run", *launch, *points, *more)


def test_a_sweep_of_four_points_runs_as_slurm_jobs_and_a_second_call_does_nothing(tmp_path):
    result = sweep(tmp_path)
    assert result.returncode == 0, result.stderr
    runs = sorted(path.parent for path in tmp_path.glob("*/run.json"))
    assert len(runs) == 4 and all("method=" in run.name and "seed=" in run.name for run in runs)

    def contents():
        return [
            (run / f"{name}/shard=0000.parquet").read_bytes()
            for run in runs
            for name in ("answers", "traces", "verdicts", "attempts")
        ]

    before = contents()
    ids = [pq.read_table(run / "attempts/shard=0000.parquet").column("slurm_job_id").to_pylist() for run in runs]
    assert len({job for (job,) in ids}) == 4
    result = sweep(tmp_path)
    assert result.returncode == 0, result.stderr
    assert contents() == before
    result = sweep(tmp_path, "budget=0")
    assert result.returncode == 2 and "budget: got 0" in result.stderr, result.stderr


def test_the_script_passes_sbatchs_test():
    command = ["sbatch", "--test-only", "slurm/run.sh"]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and "to start at" in result.stderr, result.stderr


def test_a_cluster_that_is_up_is_not_started_over(cluster):
    folder = os.path.dirname(os.environ["SLURM_CONF"])
    environment = os.environ | {"PRUNER_CLUSTER": folder}
    result = subprocess.run([*cluster, "up"], env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2 and "a cluster is up there" in result.stderr
    result = subprocess.run([*cluster, "status"], env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and "scavenge*" in result.stdout and "not running" not in result.stdout
