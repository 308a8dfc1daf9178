"""The audit job: what it prints, and that its exit code says whether the totals balance."""

import shutil

import duckdb
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tests.job_processes import run


def test_the_job_says_that_accounting_balance(sweep, tmp_path):
    result = run("audit", str(sweep))
    assert result.returncode == 0 and result.stdout.count("balanced") == 3
    assert run("audit", str(tmp_path)).returncode == 2
    with duckdb.connect(str(sweep / "cons/checkpoint/shard=0000.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM segments").fetchone()[0] > 0


def test_a_run_that_does_not_balance_or_cannot_be_read_ends_with_1(sweep, tmp_path):
    shutil.copytree(sweep / "cons", tmp_path / "o/run")
    answers = tmp_path / "o/run/answers/shard=0000.parquet"
    table = pq.read_table(answers)
    index = table.column_names.index("tokens_net")
    more = pc.add(table.column("tokens_net"), 1)
    pq.write_table(table.set_column(index, table.schema.field(index), more), answers)
    result = run("audit", str(tmp_path / "o"))
    assert result.returncode == 1 and "DIFFERENCES" in result.stdout
    (tmp_path / "o/run/checkpoint/shard=0000.duckdb").write_bytes(b"damaged" * 1000)
    result = run("audit", str(tmp_path / "o/run"))
    assert result.returncode == 1 and "balanced" not in result.stdout and "Traceback" not in result.stderr
