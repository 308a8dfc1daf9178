"""Books that do not balance are noticed."""

import shutil

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pruner.auditing import audit
from tests.results_under_test import run


def test_the_books_of_every_run_balance(sweep):
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
    result = run("audit", str(tmp_path / "o"))
    assert result.returncode == 1 and "DIFFERENCES" in result.stdout


def test_a_checkpoint_that_is_open_and_traces_not_yet_written_are_left_out(sweep, tmp_path):
    shutil.copytree(sweep / "deepprune", tmp_path / "o/run")
    path = tmp_path / "o/run/traces/shard=0000.parquet"
    rows = pq.read_table(path)
    pq.write_table(rows.filter(pc.not_equal(rows.column("problem_id"), "p3")), path)
    checkpoint = tmp_path / "o/run/checkpoint/shard=0000.duckdb"
    checkpoint.write_bytes(b"damaged")
    found = audit(tmp_path / "o/run")
    assert not found.faults and found.unchecked == 1 and found.segments is None
    assert "1 problems whose traces are not written yet" in str(found)


def test_the_job_says_that_books_balance(sweep, tmp_path):
    result = run("audit", str(sweep))
    assert result.returncode == 0 and result.stdout.count("balanced") == 3
    assert run("audit", str(tmp_path)).returncode == 2
    with duckdb.connect(str(sweep / "cons/checkpoint/shard=0000.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM segments").fetchone()[0] > 0
