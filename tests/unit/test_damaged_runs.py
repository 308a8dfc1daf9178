"""Damaged files of runs, and results that other programs could trip over: each is named in one line, and nothing else is lost."""

from __future__ import annotations

import errno
import json
import sqlite3

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pruner.checkpoint.reading import checkpoint_rows
from pruner.errors import InputError
from pruner.problems.columns import read_parquet
from pruner.problems.problem_set import read_problems
from pruner.problems.shapes import ProblemColumns
from pruner.results.query import Results
from pruner.results.run_folder import write_progress
from pruner.results.status import read_manifest
from pruner.system.slurm import small_number
from tests.fuzz.jobs_in_process import call
from tests.fuzz.target import SMALL_RUN
from tests.unit.test_bad_input import BAD_TEXT, GOOD, refused

DAMAGES = (
    *(
        {"segments": "many"},
        {"state": 3},
        {"updated_at": "yesterday"},
        {"tokens": None},
        {"eta_s": [1]},
        {"nonsense": 1},
    ),
    *(None, [1]),
)


def damage_progress(file, changes):
    values = json.loads(file.read_text())
    if isinstance(changes, dict):
        values |= changes
    else:
        values = {key: value for key, value in values.items() if key != "segments"} if changes is None else changes
    file.write_text(json.dumps(values))


def test_damaged_progress_is_named_by_status(root):
    file = root / "run/progress/shard=0000.json"
    whole = file.read_bytes()
    for changes in DAMAGES:
        file.write_bytes(whole)
        damage_progress(file, changes)
        shown = call("status", str(root / "run"))
        assert shown.code == 0 and "1 unreadable" in shown.output and str(file) in shown.output
        assert "1 done" in call("status", str(root)).output


@pytest.mark.parametrize("changes", DAMAGES[:3:2])
def test_damaged_progress_is_named_and_does_not_stop_a_run(root, changes):
    file = root / "run/progress/shard=0000.json"
    damage_progress(file, changes)
    again = call("run", *SMALL_RUN, f"run.root={root}", "run.name=run")
    assert again.code == 0 and f"warning: {file}: unreadable" in again.errors
    assert "1 done" in call("status", str(root / "run")).output


@pytest.mark.parametrize("has_progress", [True, False])
def test_a_checkpoint_of_another_shard_is_refused_whether_progress_is_there_or_not(tmp_path, has_progress):
    def shard(index):
        own = [f"run.root={tmp_path}", "run.name=run", "shard.count=2", f"shard.index={index}"]
        return call("run", *SMALL_RUN, *own)

    assert shard(0).code == shard(1).code == 0
    checkpoints = tmp_path / "run/checkpoint"
    (checkpoints / "shard=0001.duckdb").write_bytes((checkpoints / "shard=0000.duckdb").read_bytes())
    before = (tmp_path / "run/answers/shard=0001.parquet").read_bytes()
    if not has_progress:
        (tmp_path / "run/progress/shard=0001.json").unlink()
    result = shard(1)
    assert result.code == 1 and "problems that are not of this shard" in result.errors, result.errors
    assert (tmp_path / "run/answers/shard=0001.parquet").read_bytes() == before


@pytest.mark.parametrize("text", ["[]", '{"shard_count": "many"}', '{"shard_count": 0}', "[" * 100_000, b"\xff"])
def test_a_damaged_run_json_is_named_and_others_are_shown(root, text):
    file = root / "run/run.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert str(file) in refused("status", str(root / "run"))
    assert str(file) in refused("run", *SMALL_RUN, f"run.root={root}", "run.name=run")
    shown = call("status", str(root))
    assert shown.code == 0 and "other: 1 shard: 1 done" in shown.output and f"warning: {file}" in shown.errors
    for sql in ("FROM runs", "SELECT saved FROM savings"):
        found = call(
            "query",
            f"SELECT count(*) AS n FROM ({sql if sql.startswith('SELECT') else 'SELECT * ' + sql})",
            "--root",
            str(root),
        )
        assert found.code == 0, found.errors


def test_restart_counts_that_are_none_are_ignored(root, monkeypatch):
    assert [small_number(text) for text in (None, "", "2", "many", "-1", "9" * 5000, "²")] == [
        None,
        None,
        2,
        *[None] * 4,
    ]
    monkeypatch.setenv("SLURM_RESTART_COUNT", "many")
    result = call("run", *SMALL_RUN, f"run.root={root}", "run.name=fresh")
    assert result.code == 0, result.errors


def _sqlite(path):
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE segments (problem_id)")
    connection.close()


def _duckdb(path):
    path.unlink()
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE segments (x INTEGER)")
        connection.execute("CREATE TABLE run (schema_version INTEGER, identity VARCHAR)")


@pytest.mark.parametrize(
    "make", [_sqlite, _duckdb, lambda path: path.write_text("hello"), lambda path: path.write_bytes(b"PAR1" * 9)]
)
def test_a_checkpoint_that_is_another_file_is_named_and_no_extension_is_asked_for(root, make):
    path = root / "run/checkpoint/shard=0000.duckdb"
    make(path)
    result = call("run", *SMALL_RUN, f"run.root={root}", "run.name=run")
    assert result.code == 1 and f"checkpoint {path}: cannot be read" in result.errors
    assert len(result.errors.splitlines()) == 1 and "xtension" not in result.errors
    assert checkpoint_rows(path) is None


def test_a_damaged_table_of_one_run_is_named_and_left_out(root):
    file = root / "run/answers/shard=0000.parquet"
    whole = file.read_bytes()
    bad = pq.read_table(file)
    wrong_type = bad.set_column(bad.column_names.index("tokens_net"), "tokens_net", pa.array(["many"] * len(bad)))
    bad_text = bad.append_column("note", BAD_TEXT)
    for damage in (whole[:500], b"", b"hello", wrong_type, bad_text):
        pq.write_table(damage, file) if isinstance(damage, pa.Table) else file.write_bytes(damage)
        for job, *arguments in (
            ("query", "SELECT * FROM answers", "--root", str(root)),
            ("query", "leaderboard", "--root", str(root)),
            ("export", str(root), "--to", "jsonl", "--output", str(root.parent / "x")),
        ):
            if (damage is wrong_type and "leaderboard" not in arguments) or (
                damage is bad_text and "leaderboard" in arguments
            ):
                continue  # the one is read as text, the other is not read: they do no harm there
            result = call(job, *arguments)
            assert result.code == 0, result.errors
            assert f"warning: {file}: " in result.errors and "The run run is left out." in result.errors
        with pytest.raises(InputError, match="answers/shard=0000.parquet"), Results(root, "run") as results:
            results.table("SELECT *, sum(tokens_net) OVER () AS net FROM answers")
    assert call("report", str(root)).code == 0


def test_carried_columns_of_other_types_in_other_runs_are_read_as_text(root, capsys):
    for name, values in (("run", pa.array([1, 2])), ("other", pa.array([["a"], None]))):
        file = root / name / "answers/shard=0000.parquet"
        pq.write_table(pq.read_table(file).append_column("level", values), file)
    with Results(root) as results:
        found = {(row["run"], row["level"]) for row in results.rows("SELECT run, level FROM answers")}
    assert found == {("run", "1"), ("run", "2"), ("other", "[a]"), ("other", None)}
    assert "column level of answers" in capsys.readouterr().err


def test_json_keeps_both_columns_of_one_name_and_ends_no_line_within_a_row(root):
    found = call("query", "SELECT 'a' AS x, 'b' AS x, '\u2028\u2029\x85' AS y", "--root", str(root), "--format", "json")
    assert json.loads(found.output) == [{"x": "a", "x_1": "b", "y": "\u2028\u2029\x85"}]
    assert len(found.output.splitlines()) == 1


def test_values_that_python_has_no_type_for_are_shown(root, tmp_path):
    sql = "SELECT DATE '20000-01-01' AS a, TIMESTAMP_NS '2020-01-01 00:00:00.123456789' AS b, 'infinity'::TIMESTAMP AS c, '\\xff'::BLOB AS d"
    for form in ("table", "csv", "json", "markdown"):
        assert call("query", sql, "--root", str(root), "--format", form).code == 0
    output = str(tmp_path / "o.parquet")
    sql = "SELECT INTERVAL 3 DAYS AS a, union_value(a := 1) AS b"
    assert call("query", sql, "--root", str(root), "--format", "parquet", "--output", output).code == 0


def test_what_is_exported_with_nan_is_read_back(root, tmp_path):
    file = root / "run/answers/shard=0000.parquet"
    table = pq.read_table(file)
    pq.write_table(table.append_column("level", pa.array([float("nan"), float("-inf")])), file)
    assert call("export", str(root / "run"), "--to", "jsonl", "--output", str(tmp_path / "x")).code == 0
    lines = (tmp_path / "x/answers.jsonl").read_text().split("\n")[:-1]

    def no_constant(name):
        raise AssertionError(name)

    assert [json.loads(line, parse_constant=no_constant)["level"] for line in lines] == [None, None]
    exported = read_problems(str(tmp_path / "x/answers.jsonl"), None, ProblemColumns(answer="gold"))
    assert len(exported.problems) == 2 and exported.problems[0].answer is not None


def test_a_parquet_whose_column_cannot_be_read_names_it(tmp_path):
    bad = pa.DictionaryArray.from_arrays([0, 1], BAD_TEXT)
    path = tmp_path / "s.parquet"
    pq.write_table(pa.table(GOOD | {"note": bad}), path)
    with pytest.raises(InputError, match="column note"):
        read_parquet(path, "problems")


def test_a_disk_that_does_not_take_the_progress_file_is_what_the_attempts_row_says(tmp_path, monkeypatch):
    """Only errors of this program's own kinds were written down: the row said `failed` without a message, status `resumable`."""

    def write(folder, progress, guard=lambda: None):
        if progress.state == "running":
            raise OSError(errno.ENOSPC, "No space left on device", str(folder.progress))
        write_progress(folder, progress, guard)

    monkeypatch.setattr("pruner.shard.attempt.write_progress", write)
    result = call("run", *SMALL_RUN, f"run.root={tmp_path}", "run.name=run")
    assert result.code == 1 and "No space left on device" in result.errors
    [row] = pq.read_table(tmp_path / "run/attempts/shard=0000.parquet").to_pylist()
    assert row["end_reason"] == "failed" and "No space left on device" in row["message"]
    assert read_manifest(tmp_path / "run").shards[0].state == "failed"
