"""A run that an earlier version began is read and continued, and ends with the rows that it would have had there.

tests/data/runs_of_schema_4.tar.xz was written by the last version before the packages were laid out anew: `whole` is a
finished run, `killed` the same one killed with half of its problems answered.
"""

import subprocess
import sys
import tarfile

import duckdb
import pyarrow.parquet as pq
import pytest

from pruner.results.audit import audit
from pruner.results.query import Results
from pruner.results.status import read_manifest
from tests.job_processes import PROJECT

OVERRIDES = ("method=deepprune", "sampler=simulated", "problems.limit=6", "budget=8", "sampler.max_running_traces=6")
MEASURED = ["attempts", "wall_s", "gpu_seconds"]


@pytest.fixture
def runs(tmp_path):
    with tarfile.open(PROJECT / "tests/data/runs_of_schema_4.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def rows(folder, table, columns=None):
    """Return a table's rows in order, without what only measures; columns: those to return, all if None."""
    found = pq.read_table(folder / f"{table}/shard=0000.parquet")
    kept = [name for name in columns or found.column_names if name not in MEASURED]
    return found.select(kept).sort_by([(name, "ascending") for name in kept[:3]]).to_pylist()


def segments(folder):
    with duckdb.connect(str(folder / "checkpoint/shard=0000.duckdb"), read_only=True) as connection:
        sql = "SELECT problem_id, trace_index, segment_index, attempt, num_tokens FROM segments ORDER BY ALL"
        return connection.sql(sql).fetchall()


def test_the_views_and_the_status_read_it(runs):
    with Results(runs) as results:
        found = results.rows("SELECT run, count(*) AS problems FROM answers GROUP BY ALL ORDER BY ALL")
        assert found == [{"run": "whole", "problems": 6}]  # the other one had not written its answers yet
        assert len(results.rows("FROM tokens")) == len(results.rows("FROM savings")) == 1
        assert results.rows("SELECT count(*) AS n FROM traces WHERE run = 'whole'") == [{"n": 48}]
    assert read_manifest(runs / "killed").counts == {"resumable": 1}


def test_it_goes_on_and_samples_nothing_twice(runs):
    command = [sys.executable, "-m", "jobs.run", *OVERRIDES, f"run.root={runs}", "run.name=killed"]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    # Which answers of cut traces count is a new rule; the message says how to keep the one that the run was begun with.
    assert result.returncode == 2 and 'problems.cut: "any" -> "boxed"' in result.stderr
    result = subprocess.run([*command, "problems.cut=any"], cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    found = segments(runs / "killed")
    assert {attempt for *_, attempt, _ in found} == {1, 2}
    assert len({key[:3] for key in found}) == len(found)
    for table in ("answers", "traces"):
        expected = rows(runs / "whole", table)
        assert rows(runs / "killed", table, list(expected[0])) == expected  # later columns are not there
    assert audit(runs / "killed").faults == ()
