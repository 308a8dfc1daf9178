"""The query job: what it prints in which format, and how it refuses."""

import csv
import io
import json
import subprocess
import sys

import duckdb
import pyarrow.parquet as pq
import pytest

from pruner.records.schemas import VIEWS
from pruner.results.named_queries import read_queries
from pruner.results.query import Results
from pruner.results.writer import views_sql
from tests.job_processes import PROJECT, run
from tests.many_results import write_runs

QUERIES = read_queries(PROJECT / "conf/query")


def query(root, *arguments, environment=None):
    return run("query", *arguments, "--root", str(root), environment=environment)


def test_the_leaderboard_is_one_word(sweep):
    result = query(sweep, "leaderboard", "--format", "json")
    rows = json.loads(result.stdout)
    assert {row["run"] for row in rows} == {"cons", "deepprune", "deepprune,tau"}
    assert {row["run"]: row["baseline"] for row in rows} == {
        "cons": "none",
        "deepprune": "measured",
        "deepprune,tau": "measured",
    }
    assert [row["accuracy"] for row in rows] == sorted((row["accuracy"] for row in rows), reverse=True)
    assert all(0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1 for row in rows)


def test_parameters_are_bound_and_never_pasted(sweep):
    result = query(sweep, "leaderboard", "--param", "runs=deep%", "--param", "limit=1", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["method"] for row in rows] == ["deepprune"]
    result = query(sweep, "leaderboard", "--param", "runs=x' OR '1'='1", "--format", "json")
    assert json.loads(result.stdout) == []
    result = query(
        sweep, "SELECT count(*) AS n FROM traces WHERE trace_index < $most", "--param", "most=2", "--format", "csv"
    )
    assert result.stdout == "n\n48\n"
    for arguments, message in (
        (["leaderboard", "--param", "rnus=1"], "expected limit, runs"),
        (["SELECT $x"], "$x has no value. Add --param x=..."),
        (["SELECT 1", "--param", "x"], "got 'x', expected name=value"),
        (["leaderbord"], "Did you mean leaderboard?"),
        (["SELECT nonsense FROM answers"], "nonsense"),
        (["SELECT * FROM nowhere"], "nowhere"),
        ([], "expected a SELECT"),
        (["SELECT 1", "--format", "parquet"], "expected --output"),
        (["SELECT 1", "--time-limit", "-1"], "expected seconds, or 0 for none"),
        (["SELECT count(*) FROM range(1000000000000)", "--time-limit", "0.2"], "took longer than 0.2 s"),
    ):
        result = query(sweep, *arguments)
        assert result.returncode == 2 and message in result.stderr, result.stderr
        assert "Traceback" not in result.stderr and len(result.stderr.strip().splitlines()) == 1


def test_every_format_says_the_same_rows(sweep, tmp_path):
    sql = "SELECT run, problem_id, votes, vote_answers, question FROM answers ORDER BY ALL"
    rows = json.loads(query(sweep, sql, "--format", "json").stdout)
    assert len(rows) == 24
    table = list(csv.DictReader(io.StringIO(query(sweep, sql, "--format", "csv").stdout)))
    assert [row["question"] for row in table] == [row["question"] for row in rows]
    assert [json.loads(row["vote_answers"]) for row in table] == [row["vote_answers"] for row in rows]
    markdown = query(sweep, sql, "--format", "markdown").stdout.splitlines()
    assert len(markdown) == 26 and all(line.replace("\\|", "").count("|") == 6 for line in markdown)
    assert "<script>" not in "".join(markdown)
    result = query(sweep, sql, "--format", "parquet", "--output", str(tmp_path / "x" / "t.parquet"))
    assert result.returncode == 0 and "24 rows" in result.stdout
    assert pq.read_table(tmp_path / "x" / "t.parquet").to_pylist() == rows
    (tmp_path / "q.sql").write_text(
        f"-- Mine.\n-- param least = 0: votes\nSELECT count(*) AS n FROM ({sql}) WHERE votes >= $least"
    )
    assert query(sweep, "--file", str(tmp_path / "q.sql"), "--format", "csv").stdout == "n\n24\n"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_table_fits_the_terminal(sweep, width):
    result = query(sweep, "FROM answers", environment={"COLUMNS": str(width)})
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert max(len(line) for line in lines[:-1]) <= width
    assert "not shown:" in lines[-1] and "--format csv" in lines[-1]


def test_the_shell_gets_the_same_views(sweep, tmp_path):
    (sweep / "views.sql").write_text("-- of an older version")
    line = query(sweep, "--sql-shell").stdout
    assert line == f"duckdb -init {sweep}/views.sql\n"
    with duckdb.connect() as connection:
        connection.execute((sweep / "views.sql").read_text())
        assert connection.execute("SELECT count(*) FROM savings").fetchall() == [(3,)]
    awkward = tmp_path / "it's"
    awkward.mkdir()
    write_runs(awkward, 1, 2, 2)
    with Results(awkward) as results:
        assert results.rows("SELECT count(*) AS n FROM answers") == [{"n": 2}]
    assert views_sql(awkward).count("it''s/") == 6


def test_lists_and_columns_are_reported():
    result = run("query", "--list")
    assert result.returncode == 0 and all(name in result.stdout for name in QUERIES)
    result = run("query", "savings", "--columns")
    assert "baseline_run" in result.stdout and "tokens_judge_prompt" not in result.stdout
    assert run("query", "--columns").stdout.count("\n") > 150
    assert "expected one of runs" in run("query", "nothing", "--columns").stderr


def test_a_folder_without_runs_is_reported(tmp_path):
    result = query(tmp_path, "leaderboard")
    assert result.returncode == 2 and "no run has written answers here yet" in result.stderr


def test_the_timing_script_runs(tmp_path):
    sizes = ("--runs", "4", "--problems", "2", "--traces", "24")
    command = [sys.executable, "-m", "tests.many_results", str(tmp_path / "m"), *sizes, "--query", "leaderboard"]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0 and "rror" not in result.stdout, result.stdout + result.stderr
    assert "\nleaderboard " in result.stdout


def test_a_query_reads_all_views_and_needs_a_folder_that_is_there(sweep):
    counts = ", ".join(f"(SELECT count(*) FROM {view}) AS {view}" for view in VIEWS)
    result = query(sweep, f"SELECT {counts}", "--format", "json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)[0]
    assert found.keys() == VIEWS.keys() and found["runs"] == 3 and all(found.values())
    assert query(sweep / "none", "SELECT 1").returncode == 2
