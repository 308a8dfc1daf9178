"""Cost accounting that does not add up is noticed."""

import json
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pruner.results.audit import audit


def test_the_accounting_of_every_run_balance(sweep):
    for folder in sorted(path.parent for path in sweep.glob("*/run.json")):
        found = audit(folder)
        assert not found.faults and not found.unchecked, str(found)
        assert found.problems == 8 and found.traces == 128 and found.segments > 128


def change(folder, table, column, by):
    path = folder / table / "shard=0000.parquet"
    rows = pq.read_table(path)
    values = rows.column(column).to_pylist()
    values[0] += by
    index = rows.column_names.index(column)
    pq.write_table(
        rows.set_column(index, rows.schema.field(column), pa.array(values, rows.schema.field(column).type)), path
    )


@pytest.mark.parametrize(
    ("table", "column", "message"),
    [
        ("answers", "tokens_finished", "tokens sampled = finished + pruned"),
        ("answers", "tokens_prefix", "tokens sampled = prefix + continued"),
        ("answers", "tokens_judge_prompt", "judge's prompt tokens"),
        ("answers", "tokens_net", "net tokens"),
        ("answers", "judge_probes", "probes and their rows"),
        ("traces", "tokens_sampled", "in the checkpoint"),
        ("traces", "trace_index", "distinct rows"),
        ("attempts", "tokens_sampled", "its attempts sampled"),
    ],
)
def test_a_token_too_many_is_noticed(sweep, tmp_path, table, column, message):
    shutil.copytree(sweep / "deepprune", tmp_path / "o/run")
    change(tmp_path / "o/run", table, column, 1)
    found = audit(tmp_path / "o/run")
    assert any(message in fault for fault in found.faults), str(found)


def copied(sweep, tmp_path, name="cons"):
    shutil.copytree(sweep / name, tmp_path / "o/run")
    return tmp_path / "o/run"


def test_traces_not_yet_written_are_unchecked(sweep, tmp_path):
    folder = copied(sweep, tmp_path, "deepprune")
    path = folder / "traces/shard=0000.parquet"
    rows = pq.read_table(path)
    pq.write_table(rows.filter(pc.not_equal(rows.column("problem_id"), "p3")), path)
    found = audit(folder)
    assert not found.faults and found.unchecked == 1
    assert "1 problems whose traces are not written yet" in str(found)


def test_a_run_whose_checkpoint_cannot_be_read_is_not_called_balanced(sweep, tmp_path):
    folder = copied(sweep, tmp_path)
    (folder / "checkpoint/shard=0000.duckdb").write_bytes(b"damaged" * 1000)
    found = audit(folder)
    assert found.segments is None and "cannot be read" in found.faults[0]
    assert "1 DIFFERENCES" in str(found) and "balanced" not in str(found)


def test_a_checkpoint_that_is_open_or_elsewhere_is_left_out_and_said_to_be(sweep, tmp_path):
    folder = copied(sweep, tmp_path)
    checkpoint = folder / "checkpoint/shard=0000.duckdb"
    hold = f"import duckdb,sys; c=duckdb.connect({str(checkpoint)!r}); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        found = audit(folder)
        process.stdin.close()
    assert not found.faults and "shard=0000: another process has its checkpoint open" in str(found)
    checkpoint.unlink()
    elsewhere = audit(folder)
    assert not elsewhere.faults and "shard=0000: no checkpoint in the run's folder" in str(elsewhere)
    for each in (found, elsewhere):
        assert "the tables agree, not compared with every checkpoint" in str(each) and "balanced" not in str(each)


def test_a_run_that_has_written_nothing_is_said_to(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text("{}")
    assert "nothing is written yet" in str(audit(tmp_path / "run")) and "balanced" not in str(audit(tmp_path / "run"))


def second_shard(folder):
    """Let the run's one shard stand there as a second one too."""
    for path in sorted(folder.rglob("shard=0000.*")):
        shutil.copy(path, path.with_name(path.name.replace("0000", "0001")))


def edit_run_json(folder, **changes):
    values = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(values | changes))


def test_shards_that_answer_the_same_problems_are_noticed(sweep, tmp_path):
    folder = copied(sweep, tmp_path)
    second_shard(folder)
    faults = "\n".join(audit(folder).faults)
    assert "shard=0001: there are files of it, but run.json knows 1 shards" in faults
    assert "p0: 2 answers, in shard=0000 and shard=0001" in faults
    assert "p0: sampled in shard=0000 and shard=0001" in faults
    assert "answered in shard=0001, but problem 0 is that of shard 0 of 1" in faults


def test_a_shard_cut_in_another_way_is_noticed(sweep, tmp_path):
    folder = copied(sweep, tmp_path)
    edit_run_json(folder, shard_count=2)
    faults = "\n".join(audit(folder).faults)
    assert "shard=0000: run.json and its checkpoint differ (shard.count: 1 -> 2)" in faults
    assert "p1: answered in shard=0000, but problem 1 is that of shard 1 of 2" in faults


def test_a_shard_of_another_config_is_noticed(sweep, tmp_path):
    folder = copied(sweep, tmp_path)
    identity = json.loads((folder / "run.json").read_text())["identity"]
    edit_run_json(folder, identity=identity | {"seed": "9"})
    assert "shard=0000: run.json and its checkpoint differ (seed: 0 -> 9)" in audit(folder).faults
    (folder / "run.json").write_text("{}")
    assert "run.json: cannot be read" in "\n".join(audit(folder).faults)


def test_more_answers_than_problems_are_noticed(sweep, tmp_path):
    folder = copied(sweep, tmp_path)
    path = folder / "progress/shard=0000.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"problems": 7}))
    faults = audit(folder).faults
    assert "shard=0000: 8 answers for its 7 problems" in faults and "8 problems are answered, the set has 7" in faults
