import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from pruner import SCHEMA_VERSION
from pruner.checkpoint.database import bring, latest, next_step, open_database
from pruner.checkpoint.store import AttemptEnd, AttemptStart, Totals, TraceRange, open_store
from pruner.errors import CheckpointError, InputError
from pruner.records.traces import Ending, PairKey, Probe, ProbeKey, Segment, SegmentKey, TokenIds, TraceKey, Verdict
from pruner.settings.prices import AccountingConfig
from tests.unit.fakes import MemoryStore, problems, run_once

PROJECT = Path(__file__).parents[2]
IDENTITY = {"budget": "8", "seed": "0"}
START = AttemptStart("host", 1, "77_3", 2, {"vllm": "0.32"})
KILLED = AttemptEnd("killed", datetime(2026, 1, 1, tzinfo=UTC), 41)
FACTS = [
    Segment(SegmentKey("p", 0, 0), 3, (1, 2, 3), "abc é", None, 10, 4, (0.5, 0.25, 1.0)),
    Segment(SegmentKey("p", 0, 1), 1, (4,), "", "stop", 13, 0),
    Probe(ProbeKey("p", 0, 3), 1, (9,), "7}", "7", 20, 8, 15),
    Probe(ProbeKey("p", 1, 3), 0, (), "", None, 0, 0, 0),
    Verdict(PairKey("p", 0, 1), 0.75, 100, 50, 40, 1),
    Verdict(PairKey("p", 0, 2), None),
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint" / "shard=0000.duckdb"


def opened(path):
    return open_store(path, IDENTITY, 0.0)


def test_facts_come_back_as_they_went_in(path):
    with opened(path) as store:
        store.begin_attempt(START, KILLED)
        store.append(FACTS)
        assert store.totals == Totals(facts=6, segments=2, tokens=4)
    with opened(path) as store:
        assert sorted(map(repr, store.unfinished_facts()["p"])) == sorted(map(repr, FACTS))
        assert store.totals == Totals(facts=6, segments=2, tokens=4)


def test_a_killed_attempt_is_ended_by_the_next_one_with_what_is_known(path):
    with opened(path) as store:
        assert store.begin_attempt(START, KILLED) == 1
    with opened(path) as store:
        assert store.begin_attempt(START, KILLED) == 2
        store.end_attempt(AttemptEnd("done", datetime.now(UTC), 0, 1.0, 2.0, 0.1))
        rows = store.attempts().to_pylist()
    assert [(row["end_reason"], row["discarded_tokens"]) for row in rows] == [("killed", 41), ("done", 0)]
    assert rows[0]["slurm_job_id"] == "77_3" and rows[0]["slurm_restart"] == 2


def test_the_seconds_of_commits_are_each_attempts_own(path):
    with opened(path) as store:
        for fact in FACTS[:2]:  # the engine was started again: one store, two attempts
            store.begin_attempt(START, KILLED)
            store.append([fact])
            took_s = store.commit_s
            store.end_attempt(AttemptEnd("failed", datetime.now(UTC), commit_s=took_s))
        store.begin_attempt(START, KILLED)
        assert took_s > 0.0 and store.commit_s == 0.0


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_checkpoint_whose_file_is_removed_or_replaced_takes_no_more_commits(path, is_replaced):
    with opened(path) as store:
        store.append(FACTS[:1])
        path.rename(path.with_name("moved"))
        if is_replaced:
            path.write_bytes(path.with_name("moved").read_bytes())
        with pytest.raises(CheckpointError, match="removed or replaced while this process worked on it"):
            store.append(FACTS[1:])
        with pytest.raises(CheckpointError, match="removed or replaced"):
            store.check_held()


def test_the_attempts_of_a_slurm_job_that_committed_nothing_are_counted(path):
    def attempt(facts=(), job="77_3"):
        store.begin_attempt(replace(START, slurm_job_id=job), KILLED)
        store.append(facts)

    with opened(path) as store:
        assert store.idle_attempts("77_3") == 0
        attempt()
        attempt()
        assert store.idle_attempts("77_3") == 2 and store.idle_attempts("78") == 0
        attempt(FACTS)
        assert store.idle_attempts("77_3") == 0
        attempt()
        assert store.idle_attempts("77_3") == 1
        attempt(job="78")
        assert store.idle_attempts("77_3") == 0 and store.idle_attempts("78") == 1


def test_a_checkpoint_of_another_config_is_refused_with_the_keys_that_differ(path):
    opened(path).close()
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"budget: 8 -> 16"):
        open_store(path, IDENTITY | {"budget": "16"}, 0.0)
    assert path.read_bytes() == before


def test_a_checkpoint_that_another_program_has_opened_is_refused(path):
    opened(path).close()
    hold = f"import duckdb,sys; c=duckdb.connect({str(path)!r}); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        with pytest.raises(InputError, match="another process has opened it .*PID"):
            opened(path)
        process.stdin.close()
    opened(path).close()


def test_a_damaged_checkpoint_is_reported_and_left_alone(path):
    opened(path).close()
    damaged = b"\0" * 100 + path.read_bytes()[100:]
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="left as it is"):
        opened(path)
    assert path.read_bytes() == damaged


def all_facts(store):
    return sorted(map(repr, store.unfinished_facts()["p"]))


def test_a_copy_holds_everything_committed_and_the_later_of_two_is_taken(path, tmp_path):
    copy = tmp_path / "run's" / "shard=0000.duckdb"
    with opened(path) as store:
        store.begin_attempt(START, KILLED)
        store.append(FACTS[:3])
        store.copy_to(copy)
        store.append(FACTS[3:])
        assert [each.name for each in copy.parent.iterdir()] == [copy.name]
    assert latest([path, copy]) == latest([copy, path]) == path
    assert latest([tmp_path / "none", copy]) == copy and latest([tmp_path / "none"]) is None
    with opened(copy) as store:  # another node goes on from the copy
        assert all_facts(store) == sorted(map(repr, FACTS[:3]))
        store.begin_attempt(START, KILLED)
    assert latest([path, copy]) == copy
    bring(copy, path)
    with opened(path) as store:
        assert all_facts(store) == sorted(map(repr, FACTS[:3]))
        assert store.begin_attempt(START, KILLED) == 3


def test_what_a_killed_job_left_in_the_log_is_brought_along(path, tmp_path):
    opened(path).close()
    script = (
        "import os, sys; from pathlib import Path; from tests.unit.test_store import *\n"
        "store = opened(Path(sys.argv[1])); store.append(FACTS); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, path], cwd=PROJECT)
    assert path.with_name(path.name + ".wal").exists()
    target = tmp_path / "scratch" / path.name
    bring(path, target)
    with opened(target) as store:
        assert all_facts(store) == sorted(map(repr, FACTS))


def test_nothing_is_written_once_the_guard_says_no(path):
    def guard():
        raise CheckpointError("taken over")

    opened(path).close()
    with open_store(path, IDENTITY, 0.0, guard) as store, pytest.raises(CheckpointError, match="taken over"):
        store.append(FACTS)
    with opened(path) as store:
        assert store.unfinished_facts() == {}


def test_facts_are_not_committed_if_the_lease_was_lost_while_they_were_inserted(path):
    calls = []

    def guard():
        calls.append(1)
        if len(calls) == 2:
            raise CheckpointError("taken over")

    with open_store(path, IDENTITY, 0.0, guard) as store:
        with pytest.raises(CheckpointError, match="taken over"):
            store.append(FACTS[:1])
        store.append(FACTS[1:])
        assert all_facts(store) == sorted(map(repr, FACTS[1:]))


def test_a_failed_insert_is_rolled_back_and_the_next_commit_goes_on(path):
    with opened(path) as store:
        store.append(FACTS[:2])
        for _ in range(2):
            with pytest.raises(CheckpointError, match=r"could not commit \(Binder Error: .*nothing") as caught:
                store._write_tables({"attempts": pa.table({"nothing": [1]})})
            assert "free some of it" not in str(caught.value) and "transaction" not in str(caught.value)
        store.append(FACTS[2:])
    with opened(path) as store:
        assert all_facts(store) == sorted(map(repr, FACTS))


def test_after_an_error_that_closes_the_database_the_same_failure_is_named_until_the_end(path):
    class Broken:
        def __init__(self, connection):
            self._connection = connection

        def execute(self, sql):
            if sql == "COMMIT":
                raise duckdb.FatalException("FATAL Error: Failed to write the log: No space left on device")
            return self._connection.execute(sql)

        def __getattr__(self, name):
            return getattr(self._connection, name)

    store = opened(path)
    store._connection = Broken(store._connection)
    for attempt in (lambda: store.append(FACTS), lambda: store.end_attempt(KILLED)):
        with pytest.raises(CheckpointError, match=r"No space left on device\).*free some of it"):
            attempt()
    store.close(is_sound=False)
    with opened(path) as store:
        assert store.unfinished_facts() == {}


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (OSError("[Errno 28] No space left on device"), "The disk is full"),
        (duckdb.IOException("Could not write: Disk quota exceeded"), "The disk is full, or your share of it"),
        (duckdb.IOException("Cannot open file: Permission denied"), "Make the folder writable"),
        (OSError("[Errno 30] Read-only file system"), "Make the folder writable"),
        (duckdb.OutOfMemoryException("Out of Memory Error"), "checkpoint.every_segments"),
        (duckdb.ConstraintException("Constraint Error"), "report this line"),
    ],
)
def test_what_to_do_depends_on_what_failed(error, step):
    assert step in next_step(error)


def test_a_log_whose_checkpoint_is_gone_is_kept(path):
    path.parent.mkdir()
    log = path.with_name(path.name + ".wal")
    log.write_bytes(b"facts")
    with pytest.raises(CheckpointError, match=r"the file is gone, its .wal is there.* left as it is"):
        opened(path)
    assert log.read_bytes() == b"facts" and not path.exists()


def test_an_empty_file_is_no_new_checkpoint(path):
    path.parent.mkdir()
    path.touch()
    with pytest.raises(CheckpointError, match="left as it is"):
        opened(path)
    assert path.stat().st_size == 0


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_flipped_byte_is_noticed_or_harmless(path, share):
    with opened(path) as store:
        store.append(FACTS)
    content = bytearray(path.read_bytes())
    content[int(len(content) * share)] ^= 0xFF
    path.write_bytes(content)
    try:
        with opened(path) as store:
            assert all_facts(store) == sorted(map(repr, FACTS))
    except CheckpointError:
        assert path.read_bytes() == content


def test_doubled_facts_would_be_noticed(path):
    with opened(path) as store:
        store.append(FACTS)
        store.append(FACTS[:1])
    with pytest.raises(CheckpointError, match="1 doubled rows in segments"):
        opened(path)


def test_a_commit_is_all_or_nothing(path):
    with opened(path) as store:
        bad = Segment(SegmentKey("p", 5, 0), 1, (1,), "x", None, 2**70, 0)
        with pytest.raises(Exception):  # noqa: B017
            store.append([FACTS[0], bad])
    with opened(path) as store:
        assert store.unfinished_facts() == {}


@pytest.mark.parametrize("name", ["deepprune", "adaptive", "deepconf_online"])
def test_a_real_run_in_duckdb_equals_one_in_memory_and_derives_again(path, name):
    memory = MemoryStore()
    run_once(memory, name, 8, problems(6))
    weights = AccountingConfig(judge_prompt_weight=0.5, judge_cached_weight=0.0, judge_output_weight=1.0)
    with opened(path) as store:
        store.begin_attempt(START, KILLED)
        done = False
        while not done:
            done, _ = run_once(store, name, 8, problems(6), steps=7)
        answers = store.answers(weights)
        traces = store.traces(TraceRange(0, 6), True, True, True)
        store.forget_derived()
        assert run_once(store, name, 8, problems(6), steps=50)[0]
        assert store.answers(weights).drop_columns(["wall_s"]).equals(answers.drop_columns(["wall_s"]))
        assert store.traces(TraceRange(0, 6), True, True, True).equals(traces)
    for row, other in zip(answers.to_pylist(), sorted(memory.answers, key=lambda r: r.problem_index), strict=True):
        assert row["answer"] == other.answer and row["tokens_sampled"] == other.tokens_sampled
        new = row["tokens_judge_prompt"] - row["tokens_judge_cached"]
        assert row["tokens_net"] == row["tokens_sampled"] + 0.5 * new + row["tokens_judge_output"]
    assert sum(row["tokens_sampled"] for row in traces.to_pylist()) == sum(
        len(t) for t in traces["token_ids"].to_pylist()
    )
    assert ("confidence" in traces.column_names) == (name == "deepconf_online")
    if name == "deepconf_online":
        assert [len(t) for t in traces["confidence"].to_pylist()] == traces["tokens_sampled"].to_pylist()


def test_the_file_is_plain_duckdb(path):
    with opened(path) as store:
        store.append(FACTS)
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM segments").fetchall() == [(2,)]


def test_open_problems_are_read_a_few_at_a_time_and_then_forgotten(path, monkeypatch):
    monkeypatch.setattr("pruner.checkpoint.unfinished_facts._CHUNK_FACTS", 5)
    facts = [Segment(SegmentKey(f"p{i}", 0, j), 2, (i, j), "t", None, 0, 0) for i in range(6) for j in range(2)]
    facts += [Probe(ProbeKey(f"p{i}", 0, 2), 1, (7,), "7", "7", 1, 0, 1) for i in range(0, 6, 2)]
    with opened(path) as store:
        store.append(facts)
        known = store.unfinished_facts()
        assert list(known) == [f"p{i}" for i in range(6)] and len(known) == 6
        assert known.pop("nobody", []) == []
        for name in ("p3", "p0", "p1", "p2", "p5", "p4"):
            assert known.pop(name, []) == [fact for fact in facts if fact.key.problem_id == name]
            assert known.pop(name, []) == []
        assert len(known) == 0


def test_token_ids_of_any_kind_are_written(path):
    ids = [(), (1,), TokenIds((2, 3)), [4, 5, 6], TokenIds()]
    facts = [Segment(SegmentKey("p", i, 0), len(each), each, "", None, 0, 0) for i, each in enumerate(ids)]
    with opened(path) as store:
        store.append(facts)
        assert [fact.token_ids for fact in store.unfinished_facts()["p"]] == [tuple(each) for each in ids]


def test_a_checkpoint_of_the_version_before_goes_on_and_keeps_what_it_holds(path):
    with opened(path) as store:
        store.begin_attempt(START, KILLED)
        store.append(FACTS)
    with open_database(path) as connection:
        connection.execute("DROP TABLE endings")
        connection.execute("ALTER TABLE traces DROP COLUMN answer_key")
        connection.execute("ALTER TABLE probes DROP COLUMN answer_key")
        was = json.dumps({**IDENTITY, "answer_time_limit_s": "5.0"})
        connection.execute("UPDATE run SET schema_version = 3, identity = ?", [was])
        connection.execute("CHECKPOINT")
    ending = Ending(TraceKey("p", 0), "0.5", "1/2", 1)
    with opened(path) as store:
        assert store.totals.segments == 2
        store.begin_attempt(START, KILLED)
        store.append([ending])
    with opened(path) as store:
        assert sorted(map(repr, store.unfinished_facts()["p"])) == sorted(map(repr, [*FACTS, ending]))
    with open_database(path) as connection:
        assert connection.execute("SELECT schema_version FROM run").fetchall() == [(SCHEMA_VERSION,)]
