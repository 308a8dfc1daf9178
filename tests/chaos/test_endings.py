"""Runs that end at the worst moment: what they report, what `jobs.status` shows, and that the same command mends it."""

import json
import signal

import pyarrow.parquet as pq
import pytest

from pruner.checkpoint.lease import Lease, read_holder, this_holder
from pruner.results.status import read_manifest
from tests import job_processes

SMALL = ("sampler=simulated", "problems.limit=10", "budget=6", "checkpoint.every_segments=4", "run.name=run")
KILL = "os.kill(os.getpid(), 9)"
IMPORTS = """
import os, sys
import pruner.shard.run_shard, pruner.checkpoint.lease, pruner.results.writer, pruner.checkpoint.store
from pruner.errors import CheckpointError
"""


def run(root, *overrides, patch=""):
    return job_processes.run("run", *SMALL, f"run.root={root}", *overrides, patch=IMPORTS + patch)


def states(root):
    return [shard.state for shard in read_manifest(root / "run").shards]


def reasons(root):
    return pq.read_table(root / "run/attempts/shard=0000.parquet").column("end_reason").to_pylist()


def progress(root):
    return json.loads((root / "run/progress/shard=0000.json").read_text())


def test_a_run_killed_after_its_last_commit_is_done_after_the_next_call(tmp_path):
    killed = run(tmp_path, patch=f"pruner.shard.run_shard.finish_attempt = lambda *_: {KILL}")
    assert killed.returncode == -signal.SIGKILL and states(tmp_path) == ["resumable"]
    again = run(tmp_path)
    assert again.returncode == 0 and "nothing to do" in again.stderr
    assert states(tmp_path) == ["done"] and reasons(tmp_path) == ["killed"]


def test_a_run_is_done_only_when_its_results_are_written(tmp_path):
    # The first write is the empty tables at the start.
    patch = f"""
old, calls = pruner.results.writer._trace_tables, []
pruner.results.writer._trace_tables = lambda *given: calls.append(1) or ({KILL} if len(calls) > 1 else old(*given))"""
    assert run(tmp_path, patch=patch).returncode == -signal.SIGKILL
    assert progress(tmp_path)["state"] == "writing" and states(tmp_path) == ["resumable"]
    assert run(tmp_path).returncode == 0 and states(tmp_path) == ["done"]
    answers = pq.read_table(tmp_path / "run/answers/shard=0000.parquet", columns=["traces_started"])
    started = sum(answers["traces_started"].to_pylist())
    assert pq.read_table(tmp_path / "run/traces/shard=0000.parquet").num_rows == started > 0


def test_a_shard_without_problems_is_done(tmp_path):
    assert run(tmp_path, "shard.count=11", "shard.index=10").returncode == 0
    assert states(tmp_path) == ["waiting"] * 10 + ["done"]


def test_after_a_failed_commit_a_run_says_only_what_is_committed_and_goes_on(tmp_path):
    patch = """
write, calls = pruner.checkpoint.store.Store._write_tables, []
def fail_once(*given):
    calls.append(1)
    if len(calls) == 5:
        raise CheckpointError("checkpoint: could not commit (No space left)")
    return write(*given)
pruner.checkpoint.store.Store._write_tables = fail_once"""
    failed = run(tmp_path, patch=patch)
    assert failed.returncode == 1 and "error: checkpoint: could not commit (No space left)" in failed.stderr
    assert states(tmp_path) == ["failed"] and progress(tmp_path)["segments"] > 0
    again = run(tmp_path)
    assert again.returncode == 0, again.stderr
    assert states(tmp_path) == ["done"] and reasons(tmp_path) == ["failed", "done"]


@pytest.mark.parametrize("moment", ["commit", "results"])
def test_a_run_whose_lease_was_taken_over_writes_nothing_more(tmp_path, moment):
    """As when it was stopped for longer than a lease lives: another holds it by the time that it goes on."""
    if moment == "commit":
        when = """
append = pruner.checkpoint.store.Store.append
def then(store, facts, *more):
    if store.totals.segments and path_of().exists():
        take_over()
    return append(store, facts, *more)
pruner.checkpoint.store.Store.append = then"""
    else:
        when = """
old = pruner.shard.run_shard.finish_attempt
def then(*given):
    old(*given)
    take_over()
pruner.shard.run_shard.finish_attempt = then"""
    patch = (
        """
import json, pathlib
def path_of():
    return pathlib.Path([each for each in sys.argv if each.startswith("run.root=")][0][9:]) / "run/lease/shard=0000.json"
def files():
    return {str(p): p.read_bytes() for p in path_of().parents[1].rglob("*.*") if p.is_file() and "duckdb" not in p.name}
def take_over():
    values = json.loads(path_of().read_text())
    if values["token"] != "another":
        path_of().write_text(json.dumps(values | {"token": "another"}))
        global seen
        seen = files()
"""
        + when
    )
    patch += """
import atexit
atexit.register(lambda: print("changed:", [p for p, b in files().items() if seen.get(p) != b]))"""
    result = run(tmp_path, "results.every_s=0.001", patch=patch)
    assert result.returncode == 1 and "stood still for too long" in result.stderr, result.stderr
    assert result.stdout.splitlines()[-1] == "changed: []", result.stdout
    assert read_holder(tmp_path / "run/lease/shard=0000.json").token == "another"


def test_a_second_process_on_a_shard_is_refused_with_the_holder(tmp_path):
    with Lease(tmp_path / "run/lease/shard=0000.json", this_holder("7_0")).take(0):
        refused = run(tmp_path, "checkpoint.lock_wait_s=0.2")
    assert refused.returncode == 2
    assert "Slurm job 7_0 works on it" in refused.stderr and "Traceback" not in refused.stderr
    assert run(tmp_path).returncode == 0


def test_a_run_whose_folder_is_removed_says_so_and_does_not_make_it_again(tmp_path):
    patch = """
import pathlib, shutil
append = pruner.checkpoint.store.Store.append
def then(store, *given):
    if store.totals.segments:
        shutil.rmtree(store.path.parents[1])
    return append(store, *given)
pruner.checkpoint.store.Store.append = then"""
    result = run(tmp_path, patch=patch)
    assert result.returncode == 1 and "lease is gone; something other than this program did that" in result.stderr
    assert "stood still" not in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()
