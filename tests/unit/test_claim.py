"""A run's folder belongs to one config: the first that starts in it, and to nobody while nothing was sampled."""

import json
from dataclasses import replace

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pruner.shard.claim
from pruner.checkpoint.lease import Lease, read_holder, this_holder
from pruner.checkpoint.store import open_store
from pruner.errors import CheckpointError, InputError
from pruner.records.progress import Progress
from pruner.records.traces import Segment, SegmentKey
from pruner.results.run_folder import RunFolder, write_progress
from pruner.shard.claim import RunRecord, claim

CONFIG = {"method": {"name": "cons"}, "model": {"name": "m"}, "budget": 4, "seed": 0, "accounting": {"price": 1}}
RECORD = RunRecord({"seed": "0"}, 1, CONFIG, {"config.yaml": "seed: 0\n"})
OTHER = replace(RECORD, identity={"seed": "1"}, config=CONFIG | {"seed": 1})
REPORTED = Progress("loading", 1, "host", 1, None, 4, 0, 0, 0, 0, 0)
FACT = Segment(SegmentKey("p", 0, 0), 1, (1,), "a", None, 1, 0)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "outputs", "run", 0)


def claimed(folder, record=RECORD, wait_s=0.0):
    holder = this_holder(None)
    lease = Lease(folder.lease, holder)
    claim(folder, record, holder, lease, wait_s)
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


def test_a_start_that_sampled_nothing_owns_nothing(folder):
    begin(folder)
    begin(replace(folder, shard_index=1))
    begin(folder, OTHER, [FACT])
    assert identity_of(folder) == OTHER.identity
    assert [path.name for path in folder.checkpoint.parent.iterdir()] == ["shard=0000.duckdb"]
    with pytest.raises(InputError, match="seed: 1 -> 0"):
        claimed(folder)


def facts_in_checkpoint(folder):
    begin(folder, RECORD, [FACT])


def facts_of_another_shard(folder):
    begin(replace(folder, shard_index=3), RECORD, [FACT])


def facts_elsewhere(folder):
    begin(folder)
    write_progress(folder, replace(REPORTED, segments=4))


def answers_only(folder):
    begin(folder)
    folder.parquet("answers").parent.mkdir()
    pq.write_table(pa.table({"problem_id": ["p"]}), folder.parquet("answers"))


def damaged_checkpoint(folder):
    begin(folder)
    folder.checkpoint.write_bytes(b"damaged" * 1000)


def damaged_progress(folder):
    begin(folder)
    folder.progress.write_text("{")


def damaged_answers(folder):
    begin(folder)
    folder.parquet("answers").parent.mkdir()
    folder.parquet("answers").write_bytes(b"damaged")


@pytest.mark.parametrize(
    "make",
    [
        facts_in_checkpoint,
        facts_of_another_shard,
        facts_elsewhere,
        answers_only,
        damaged_checkpoint,
        damaged_progress,
        damaged_answers,
    ],
)
def test_what_was_sampled_or_cannot_be_read_owns_the_run(folder, make):
    make(folder)
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="seed: 0 -> 1"):
        claimed(folder, OTHER)
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before


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
    assert read_holder(folder.lease) is None and read_holder(folder.run_lock) is None


def test_run_json_of_who_did_not_see_the_lock_is_compared_too(folder, monkeypatch):
    def by_another(path, text):
        path.write_text(pruner.shard.claim._text(folder, OTHER))
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
