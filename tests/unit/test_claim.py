"""A run's folder belongs to one config: the first that starts in it."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

import pruner.shard.claim
from pruner.checkpoint.lease import Lease, read_holder, this_holder
from pruner.checkpoint.store import open_store
from pruner.errors import CheckpointError, InputError
from pruner.records.progress import Progress
from pruner.records.traces import Segment, SegmentKey
from pruner.results.run_folder import RunFolder, write_progress
from pruner.shard.claim import RunRecord, claim
from pruner.system.files import create_text

PROJECT = Path(__file__).parents[2]
CONFIG = {"method": {"name": "cons"}, "model": {"name": "m"}, "budget": 4, "seed": 0, "accounting": {"price": 1}}
RECORD = RunRecord({"seed": "0"}, 1, CONFIG, {"config.yaml": "seed: 0\n"})
OTHER = replace(RECORD, identity={"seed": "1"}, config=CONFIG | {"seed": 1})
REPORTED = Progress("loading", 1, "host", 1, None, 4, 0, 0, 0, 0, 0)
FACT = Segment(SegmentKey("p", 0, 0), 1, (1,), "a", None, 1, 0)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "outputs", "run", 0)


def claimed(folder, record=RECORD, wait_s=0.0):
    lease = Lease(folder.lease, this_holder(None))
    claim(folder, record, lease, wait_s)
    return lease


def begin(folder, record=RECORD, facts=()):
    """Start on a run as the main job does, commit some facts, and end."""
    with (
        claimed(folder, record) as lease,
        open_store(folder.checkpoint, record.whole_identity, 0.0, lease.check) as store,
    ):
        store.append(facts)
        write_progress(folder, replace(REPORTED, segments=len(facts), facts=len(facts)), lease.check)


def identity_of(folder):
    return json.loads(folder.run_json.read_text())["identity"]


def test_the_first_makes_run_json_the_resolved_config_and_the_views(folder):
    claimed(folder).release()
    values = json.loads(folder.run_json.read_text())
    assert values["identity"] == {"seed": "0"} and values["shard_count"] == 1 and values["config"] == CONFIG
    assert (folder.path / ".hydra/config.yaml").read_text() == "seed: 0\n"
    assert "CREATE OR REPLACE VIEW runs" in (folder.root / "views.sql").read_text()
    assert list(folder.lease.parent.iterdir()) == [], "a lease or a lock was left"


@pytest.mark.parametrize("other", [OTHER, replace(RECORD, shard_count=2)])
@pytest.mark.parametrize("other_shard", [0, 1])
def test_another_config_is_refused_at_once_while_somebody_works_on_the_run(folder, other, other_shard):
    with claimed(folder):
        with pytest.raises(InputError, match=r"belongs to another config \((seed: 0 -> 1|shard.count: 1 -> 2)\)"):
            claimed(replace(folder, shard_index=other_shard), other, wait_s=60.0)
        assert identity_of(folder) == RECORD.identity
        assert not replace(folder, shard_index=1).lease.exists()


def test_the_same_config_waits_for_a_shard_and_is_refused_with_its_holder(folder, capsys):
    with claimed(folder):
        with pytest.raises(InputError, match=r"shard shard=0000: host .* works on it"):
            claimed(folder, wait_s=0.2)
        assert "waiting up to 0 s for host" in capsys.readouterr().err
        claimed(replace(folder, shard_index=1)).release()
    claimed(folder).release()


RACER = """
import sys, time
from pathlib import Path
from dataclasses import replace
from pruner.errors import InputError
from pruner.results.run_folder import RunFolder
from tests.unit.test_claim import CONFIG, RECORD, claimed
root, number, seed, begin = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
record = replace(RECORD, identity={"seed": seed}, shard_count=8, hydra={"config.yaml": f"seed: {seed}"})
time.sleep(max(0.0, begin - time.time()))
try:
    claimed(RunFolder(root, "run", number), record).release()
    print("owner", seed)
except InputError as error:
    print("refused" if "belongs to another config" in str(error) else error)
"""


def test_of_many_that_start_at_once_one_config_gets_the_run_and_only_its_processes(folder):
    begin_at = str(time.time() + 2.0)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, folder.root, str(number), str(number % 2), begin_at],
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )
        for number in range(8)
    ]
    ends = [racer.communicate()[0].strip() for racer in racers]
    owner = identity_of(folder)["seed"]
    assert sorted(ends) == 4 * [f"owner {owner}"] + 4 * ["refused"]
    assert (folder.path / ".hydra/config.yaml").read_text() == f"seed: {owner}"


@pytest.mark.parametrize("step", ["create_text", "write_text", "write_views"])
def test_a_start_that_is_killed_between_two_steps_is_continued_and_refuses_others_once_run_json_is_there(folder, step):
    script = (
        "import os, sys; from pathlib import Path; import pruner.shard.claim; from tests.unit.test_claim import *\n"
        f"pruner.shard.claim.{step} = lambda *_: os._exit(9)\n"
        "claimed(RunFolder(Path(sys.argv[1]), 'run', 0))"
    )
    killed = subprocess.run([sys.executable, "-c", script, folder.root], cwd=PROJECT)
    assert killed.returncode == 9 and folder.run_json.exists() == (step != "create_text")
    if folder.run_json.exists():
        with pytest.raises(InputError, match="seed: 0 -> 1.*remove that folder if you need nothing in it"):
            claimed(folder, OTHER)
    claimed(folder).release()
    assert identity_of(folder) == RECORD.identity and (folder.path / ".hydra/config.yaml").exists()
    assert (folder.root / "views.sql").exists()


def test_what_a_killed_writer_of_run_json_left_is_not_taken_for_it(folder):
    folder.path.mkdir(parents=True)
    (folder.path / ".run.json.0.partial").write_text('{"identity"')
    claimed(folder).release()
    assert identity_of(folder) == RECORD.identity


@pytest.mark.parametrize("name", ["answers", "checkpoint", "lease", ".hydra"])
def test_a_folder_that_is_a_link_out_of_the_run_is_refused_and_nothing_is_written_there(folder, tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.path.mkdir(parents=True)
    (folder.path / name).symlink_to(elsewhere)
    with pytest.raises(InputError, match=f"{name}: got a link to .*elsewhere, expected a folder of the run's own"):
        claimed(folder)
    assert list(elsewhere.iterdir()) == [] and not folder.run_json.exists()


def test_a_run_whose_whole_folder_is_a_link_is_like_any_other(folder, tmp_path):
    (tmp_path / "disk").mkdir()
    folder.root.mkdir()
    folder.path.symlink_to(tmp_path / "disk")
    claimed(folder).release()
    assert (tmp_path / "disk/run.json").exists()


def test_facts_without_run_json_belong_to_the_config_that_made_them(folder):
    begin(replace(folder, shard_index=1), replace(RECORD, shard_count=2), [FACT])
    folder.run_json.unlink()
    with pytest.raises(InputError, match=r"shard=0001.duckdb: belongs to another config \(seed: 0 -> 1"):
        claimed(folder, replace(OTHER, shard_count=2))
    with pytest.raises(InputError, match=r"shard.count: 2 -> 1"):
        claimed(folder, RECORD)
    assert not folder.run_json.exists()
    claimed(folder, replace(RECORD, shard_count=2)).release()


def test_a_checkpoint_of_before_that_does_not_know_the_number_of_shards_is_accepted(folder):
    begin(folder, RECORD, [FACT])
    with duckdb.connect(str(folder.checkpoint)) as connection:
        connection.execute("UPDATE run SET identity = ?", [json.dumps(dict(RECORD.identity))])
    begin(folder)


def test_prices_may_change(folder):
    begin(folder, RECORD, [FACT])
    claimed(folder, replace(RECORD, config=CONFIG | {"accounting": {"price": 2}})).release()
    assert json.loads(folder.run_json.read_text())["config"]["accounting"] == {"price": 2}


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"identity": 1, "shard_count": 1, "config": {}}', b"\xff"])
def test_a_damaged_run_json_is_named_and_nothing_is_taken(folder, text):
    folder.path.mkdir(parents=True)
    folder.run_json.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=r"run.json: unreadable \(.*Restore it, or choose another run.name"):
        claimed(folder)
    assert read_holder(folder.lease) is None


def test_run_json_of_a_process_that_was_faster_is_compared(folder, monkeypatch):
    def by_another(path, text):
        create_text(path, pruner.shard.claim._text(folder, OTHER))
        raise FileExistsError

    monkeypatch.setattr(pruner.shard.claim, "create_text", by_another)
    with pytest.raises(InputError, match="seed: 1 -> 0"):
        claimed(folder)
    assert identity_of(folder) == OTHER.identity and read_holder(folder.lease) is None


def test_a_folder_that_vanishes_is_said_to(folder, monkeypatch):
    monkeypatch.setattr(pruner.shard.claim, "create_text", lambda path, text: None)
    with pytest.raises(CheckpointError, match="is gone"):
        claimed(folder)


def test_a_stale_writer_cannot_replace_progress(folder):
    stale = claimed(folder)
    folder.lease.unlink()
    with claimed(folder) as held:
        write_progress(folder, replace(REPORTED, segments=7), held.check)
        with pytest.raises(CheckpointError, match="stood still for too long"):
            write_progress(folder, replace(REPORTED, segments=3), stale.check)
        assert json.loads(folder.progress.read_text())["segments"] == 7
        assert [path.name for path in folder.progress.parent.iterdir()] == [folder.progress.name]
