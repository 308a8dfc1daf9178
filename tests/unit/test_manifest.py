import json
from dataclasses import replace
from pathlib import Path

import pytest

from pruner.checkpoint.lease import Lease, this_holder
from pruner.errors import InputError
from pruner.records.progress import Progress
from pruner.results.run_folder import RunFolder, write_progress
from pruner.results.status import describe, jobs_of, read_manifest

PROJECT = Path(__file__).parents[2]
REPORTED = Progress("running", 2, "node7", 41, "9_1", 8, 3, 5, 120, 4000, 7, 100.0, 30.0)


@pytest.fixture
def run(tmp_path):
    """A run of five shards, one in each state."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"shard_count": 5}))
    shards = [RunFolder(tmp_path, "run", index) for index in range(5)]
    write_progress(shards[0], replace(REPORTED, state="done", problems_done=8, eta_s=0.0))
    write_progress(shards[1], REPORTED)
    write_progress(shards[2], REPORTED)
    write_progress(shards[3], replace(REPORTED, state="failed", message="the disk is full"))
    with Lease(shards[1].lease, this_holder("9_1")).take(0):
        yield folder


def test_every_shard_has_its_state(run):
    manifest = read_manifest(run)
    assert [shard.state for shard in manifest.shards] == ["done", "running", "resumable", "failed", "waiting"]
    assert manifest.counts == {"done": 1, "running": 1, "resumable": 1, "failed": 1, "waiting": 1}
    assert manifest.eta_s is None, "one has not begun"


def test_the_table_names_the_job_and_the_last_error(run):
    text = describe(read_manifest(run))
    assert (
        "5 shards: 1 done, 1 running, 1 resumable, 1 failed, 1 waiting; 17 of 32 problems in the 4 that began" in text
    )
    lines = text.splitlines()
    assert "Slurm job 9_1" in lines[3] and "0:00:30" in lines[3]
    assert "was: host node7, pid 41, Slurm job 9_1" in lines[4]
    assert lines[-1] == "shard 3: the disk is full"


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"without run.json"):
        read_manifest(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        read_manifest(tmp_path)


def test_shards_that_nobody_works_on_show_what_the_queue_says(run):
    manifest = read_manifest(run)
    assert jobs_of(manifest) == ["9"]
    queue = {f"9_{index}": f"pending {index}" for index in (0, 1, 2, 4)}
    lines = describe(manifest, {**queue, "9_1": "pending 2"}).splitlines()
    assert "queue" in lines[1].split() and "pending 2" in lines[4] and "pending 4" in lines[6]
    assert all("pending" not in line for line in lines[2:4]), lines
    assert "queue" not in describe(manifest, {"10_2": "pending"}).splitlines()[1].split()
