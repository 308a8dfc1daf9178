"""SQL over results: views, shipped queries, formats, and that nothing else can be read and nothing written."""

import json
import re
import shutil
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.compose import main_config
from pruner import SCHEMA_VERSION
from pruner.comparison.curves import run_of_folder
from pruner.comparison.table import table as compared_table
from pruner.config.identity import identity
from pruner.errors import InputError
from pruner.methods.registry import METHODS
from pruner.records.schemas import VIEWS
from pruner.reporting.gather import curve_at_k, points, vote_curve
from pruner.results.named_queries import literal, parse_parameters, read_queries
from pruner.results.query import Results, connect, read_totals
from tests.job_processes import PROJECT
from tests.many_results import write_runs

QUERIES = read_queries(PROJECT / "conf/query")


@pytest.mark.parametrize("name", QUERIES)
def test_every_shipped_query_works_and_says_what_it_says(sweep, name):
    shipped = QUERIES[name]
    assert shipped.description and all(each.meaning for each in shipped.parameters)
    with Results(sweep) as results:
        table = results.table(shipped.sql, shipped.values({}))
    assert table.column_names
    if name not in ("failures", "certified"):
        assert table.num_rows, name


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_has_its_documented_columns_in_order(sweep, view):
    with Results(sweep) as results:
        found = results.table(f"FROM {view} LIMIT 0").schema
    assert found.names[: len(VIEWS[view])] == VIEWS[view].names
    for field in VIEWS[view]:
        if view != "runs":
            assert found.field(field.name).type == field.type, field.name


def test_the_documented_columns_are_these():
    """Columns are an interface: one may be added here, none may disappear."""
    pinned = {
        "runs": "run method model budget seed shard_count created_at schema_version setting config",
        "answers": "run problem_id problem_index method model problem_set judge budget seed gold status failure answer correct "
        "votes votes_total vote_answers vote_counts any_correct single_accuracy clusters cluster_sizes clusters_overflowed "
        "traces_started traces_finished traces_pruned tokens_prompt tokens_sampled tokens_prefix tokens_continued "
        "tokens_finished tokens_pruned tokens_unpruned_estimate judge_calls judge_probes judge_verdicts "
        "judge_verdicts_missing tokens_judge_prompt tokens_judge_cached tokens_judge_output wall_s gpu_seconds tokens_net "
        "attempts question",
        "traces": "run problem_id problem_index trace_index status finish_reason prune_reason answer correct is_voter "
        "cluster_index num_segments segment_tokens segment_chars tokens_sampled tokens_prefix text token_ids",
        "verdicts": "run problem_id left_trace right_trace score prompt_tokens head_tokens output_tokens problem_index",
        "probes": "run problem_id trace_index num_tokens output_tokens token_ids text answer prompt_tokens shared_tokens problem_index",
        "attempts": "run shard attempt host pid slurm_job_id slurm_restart versions started_at sampler_gpus judge_gpus "
        "ended_at end_reason discarded_tokens load_s work_s commit_s message segments tokens_sampled tokens_prompt "
        "tokens_prompt_cached judge_calls tokens_judge_prompt tokens_judge_prompt_cached tokens_judge_output",
        "tokens": "run method model problem_set judge budget seed problems accuracy answered no_answer failed "
        "problems_graded problems_right single_accuracy traces_started traces_finished traces_pruned tokens_sampled "
        "tokens_prefix tokens_continued tokens_finished tokens_pruned judge_calls judge_probes judge_verdicts "
        "judge_verdicts_missing tokens_judge_prompt tokens_judge_cached tokens_judge_output tokens_net attempts "
        "tokens_discarded attempts_discarded_unknown judge_prompt_weight judge_cached_weight judge_output_weight "
        "gpu_seconds_sampler gpu_seconds_judge cost_basis cost",
        "savings": "run method model problem_set judge budget seed problems accuracy tokens_sampled tokens_net baseline "
        "baseline_run accuracy_baseline tokens_baseline saved",
    }
    assert VIEWS.keys() == pinned.keys()
    for view, columns in pinned.items():
        assert set(columns.split()) <= set(VIEWS[view].names), set(columns.split()) - set(VIEWS[view].names)


def test_runs_of_an_older_schema_still_read_and_what_they_lack_is_null(sweep, tmp_path):
    write_runs(tmp_path / "o", 2, 3, 4)
    old, new = sorted(path for path in (tmp_path / "o").iterdir() if path.is_dir())
    for name, dropped in (("answers", ["tokens_net", "problem_set", "question"]), ("attempts", ["sampler_gpus"])):
        path = old / name / "shard=0000.parquet"
        table = pq.read_table(path).drop_columns(dropped)
        pq.write_table(table, path)
    (old / "run.json").write_text(json.dumps(json.loads((old / "run.json").read_text()) | {"schema_version": 1}))
    with Results(tmp_path / "o") as results:
        rows = results.rows("SELECT run, tokens_net, problem_set, tokens_sampled FROM answers")
        assert {row["tokens_net"] is None for row in rows if row["run"] == old.name} == {True}
        assert {row["problem_set"] for row in rows if row["run"] == new.name} == {"set"}
        assert all(row["tokens_sampled"] > 0 for row in rows)
        versions = results.rows("SELECT run, schema_version FROM runs ORDER BY run")
        assert [row["schema_version"] for row in versions] == [1, SCHEMA_VERSION]
        assert len(results.rows("FROM tokens")) == 2
    # Where every run is an older one, its columns are there all the same.
    for path in new.rglob("*"):
        path.unlink() if path.is_file() else None
    with Results(tmp_path / "o") as results:
        assert results.table("SELECT tokens_net FROM answers").column("tokens_net").null_count == 3
        assert results.table("SELECT gpu_seconds_sampler FROM tokens").num_rows == 1


def test_literals_are_what_they_look_like():
    assert [literal(text) for text in ("3", "0.5", "null", "true", "deep%", "'3'", "a b")] == [
        3,
        0.5,
        None,
        True,
        "deep%",
        "3",
        "a b",
    ]
    assert parse_parameters(["a=1", "b=x=y"]) == {"a": 1, "b": "x=y"}
    with pytest.raises(InputError, match="expected name=value"):
        parse_parameters(["=3"])


ATTACKS = (
    "COPY (SELECT 1) TO '{root}/x.csv'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{root}/x.csv'",
    "ATTACH '{root}/x.db'",
    "CREATE TABLE x AS SELECT 1",
    "DROP VIEW answers",
    "INSERT INTO answers SELECT * FROM answers",
    "DELETE FROM answers",
    "SET enable_external_access = true",
    "PRAGMA database_size",
    "EXPORT DATABASE '{root}/x'",
    "INSTALL httpfs",
    "SELECT 1; COPY (SELECT 1) TO '{root}/x.csv'",
    "SELECT * FROM read_text('/etc/hostname')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM read_text('{root}/../outside.txt')",
    "SELECT * FROM read_text('{root}/cons/../../outside.txt')",
    "SELECT * FROM enable_logging(storage = 'file', storage_path = '{root}/logs')",
    "SELECT * FROM query('COPY (SELECT 1) TO ''{root}/x.csv''')",
    "SELECT * FROM sys",
    "WITH x AS (INSERT INTO answers SELECT * FROM answers RETURNING *) SELECT * FROM x",
)


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_query_reads_outside_or_writes_anything(sweep, attack):
    (sweep.parent / "outside.txt").write_text("secret")
    before = {path: path.stat().st_mtime_ns for path in sweep.parent.rglob("*")}
    with Results(sweep) as results:
        with pytest.raises(InputError):
            results.table(attack.replace("{root}", str(sweep)))
        assert results.rows("SELECT count(*) AS n FROM answers") == [{"n": 24}]
    assert {path: path.stat().st_mtime_ns for path in sweep.parent.rglob("*")} == before


def test_queries_work_while_files_are_replaced(tmp_path):
    write_runs(tmp_path / "o", 8, 4, 8)
    files = sorted((tmp_path / "o").glob("*/answers/*.parquet"))
    tables = [pq.read_table(path) for path in files]
    rows = [
        (path.parent.parent.name, row) for path, table in zip(files, tables, strict=True) for row in table.to_pylist()
    ]
    whole = {(name, row["problem_id"]): row["tokens_sampled"] for name, row in rows}
    stop = threading.Event()

    def replace():
        turn = 0
        while not stop.is_set():
            turn += 1
            for path, table in zip(files, tables, strict=True):
                partial = path.with_name(".partial")
                pq.write_table(table.slice(0, 1 + turn % 4), partial)
                partial.replace(path)
                time.sleep(0.8)

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        for _ in range(10):
            with Results(tmp_path / "o") as results:
                rows = results.rows("SELECT run, problem_id, tokens_sampled FROM answers")
                assert 8 <= len(rows) <= 32
                assert all(whole[row["run"], row["problem_id"]] == row["tokens_sampled"] for row in rows)
                assert len(results.rows("FROM tokens")) == 8
    finally:
        stop.set()
        writer.join()


def test_accounting_of_runs_say_the_baseline(sweep):
    with Results(sweep) as results:
        totals = {each.run: each for each in read_totals(results)}
    cons, pruned = totals["cons"], totals["deepprune"]
    assert (cons.baseline, pruned.baseline, pruned.baseline_run) == ("none", "measured", "cons")
    assert pruned.saved == pytest.approx(1 - pruned.tokens_net / cons.tokens_net)
    assert pruned.accuracy_baseline == cons.accuracy
    assert cons.cost == pytest.approx(2.5e-6 * cons.tokens_net) and cons.cost_basis == "net tokens"
    assert (pruned.judge_prompt_weight, pruned.judge_output_weight) == (0.3, 1.0)


def test_without_a_baseline_the_saving_is_an_estimate_and_gpus_cost_by_the_hour(tmp_path):
    write_runs(tmp_path, 2, 3, 40)
    with Results(tmp_path) as results:
        pruned = next(each for each in read_totals(results) if each.method == "deepprune")
        assert pruned.baseline == "measured"  # runs 0 and 1 have one model and seed
        assert pruned.cost == pytest.approx(2.0) and pruned.cost_basis == "GPU hours"
        assert pruned.gpu_seconds_sampler + pruned.gpu_seconds_judge == pytest.approx(3600)
        assert pruned.gpu_seconds_judge == pytest.approx(3600 * (1 - pruned.tokens_sampled / pruned.tokens_net))
    for path in sorted(tmp_path.glob("method=cons*/answers/*.parquet")):
        pq.write_table(pq.read_table(path).slice(1), path)
    with Results(tmp_path) as results:
        pruned = next(each for each in read_totals(results) if each.method == "deepprune")
        assert pruned.baseline == "estimate" and pruned.baseline_run is None
        assert pruned.saved == pytest.approx(1 - pruned.tokens_net / pruned.tokens_baseline)


def test_problem_sets_with_other_columns_stand_side_by_side(tmp_path):
    write_runs(tmp_path, 2, 2, 2)
    first, second = sorted(tmp_path.glob("*/answers/*.parquet"))
    for path, values in ((first, pa.array([1, 2])), (second, pa.array(["a", "b"]))):
        table = pq.read_table(path)
        pq.write_table(table.append_column("level", values), path)
    with Results(tmp_path) as results:
        assert sorted(row["level"] for row in results.rows("SELECT level FROM answers")) == ["1", "2", "a", "b"]


def test_a_run_whose_columns_hold_something_else_is_left_out(sweep, tmp_path, capfd):
    root = tmp_path / "outputs"
    shutil.copytree(sweep / "cons", root / "cons")
    (root / "odd/answers").mkdir(parents=True)
    pq.write_table(pa.table({"problem_id": ["a"], "problem_index": ["zero"]}), root / "odd/answers/shard=0000.parquet")
    with Results(root) as results:
        rows = results.rows("SELECT DISTINCT run, typeof(problem_index) AS kind FROM answers")
    assert rows == [{"run": "cons", "kind": "BIGINT"}]
    assert "column problem_index is string, expected int64. The run odd is left out." in capfd.readouterr().err
    with Results(root, "odd") as results, pytest.raises(InputError, match="column problem_index is string"):
        results.rows("SELECT * FROM answers")


def test_a_run_with_a_column_that_the_views_add_is_left_out(sweep, tmp_path, capfd):
    root = tmp_path / "outputs"
    shutil.copytree(sweep / "cons", root / "cons")
    (root / "odd/answers").mkdir(parents=True)
    table = pa.table({"problem_id": ["a"], "FileName": ["x"]})
    pq.write_table(table, root / "odd/answers/shard=0000.parquet")
    with Results(root) as results:
        assert results.rows("SELECT DISTINCT run FROM answers") == [{"run": "cons"}]
    assert "has a column FileName, which the views add. The run odd is left out." in capfd.readouterr().err


def rewritten(file, **columns):
    """Replace columns of a Parquet, or add them."""
    table = pq.read_table(file)
    for name, values in columns.items():
        if name in table.column_names:
            table = table.set_column(
                table.column_names.index(name), name, pa.array(values, table.schema.field(name).type)
            )
        else:
            table = table.append_column(name, pa.array(values))
    pq.write_table(table, file)


def answer_file(root):
    return next(root.glob("*/answers/*.parquet"))


def bootstrap_by_hand(values, count=1000):
    """The percentile interval of resampled means, draw by draw."""
    means = []
    for draw in range(count):
        picked = []
        for place in range(len(values)):
            number = draw * len(values) + place
            for _ in range(2):
                number = ((number >> 16 ^ number) * 73244475) % 2**32
            picked.append(values[(number >> 16 ^ number) % len(values)])
        means.append(sum(picked) / len(values))
    return np.quantile(means, [0.025, 0.975]).tolist()


def test_accuracy_is_over_graded_problems_with_a_bootstrap_over_them(tmp_path):
    # Half of 60 problems have a gold answer; half of these are right.
    write_runs(tmp_path / "o", 1, 60, 2)
    correct = [None if i % 2 else (i // 2) % 2 for i in range(60)]
    rewritten(answer_file(tmp_path / "o"), correct=correct)
    expected = bootstrap_by_hand([right for right in correct if right is not None])
    with Results(tmp_path / "o") as results:
        (row,) = results.rows("SELECT problems_graded, accuracy, accuracy_low, accuracy_high FROM tokens")
        (led,) = results.rows(QUERIES["leaderboard"].sql, {"runs": "%", "limit": 9})
        (reported,) = points(read_totals(results))
    assert (row["problems_graded"], row["accuracy"]) == (30, 0.5)
    assert [row["accuracy_low"], row["accuracy_high"]] == pytest.approx(expected)
    assert [reported.low, reported.high] == pytest.approx(expected)
    assert (led["graded"], led["low"], led["high"]) == (30, round(expected[0], 3), round(expected[1], 3))
    run = run_of_folder(answer_file(tmp_path / "o").parents[1])
    [compared] = compared_table([run], None, 1000, 0)
    assert (compared.accuracy.value, compared.accuracy.low, compared.accuracy.high) == pytest.approx((0.5, *expected))


def test_repetitions_of_a_problem_are_no_problems_of_their_own(tmp_path):
    # 20 problems, three orders each.
    write_runs(tmp_path / "o", 1, 60, 2)
    correct = [int((7 * i + i // 20) % 5 < 2) for i in range(60)]
    rewritten(
        answer_file(tmp_path / "o"),
        correct=correct,
        source_problem_id=[f"s{i % 20}" for i in range(60)],
        repetition=pa.array([i // 20 for i in range(60)], pa.int32()),
    )
    expected = bootstrap_by_hand([sum(correct[i::20]) / 3 for i in range(20)])
    with Results(tmp_path / "o") as results:
        (led,) = results.rows("SELECT accuracy, accuracy_low, accuracy_high FROM tokens")
        (reported,) = points(read_totals(results))
    [compared] = compared_table([run_of_folder(answer_file(tmp_path / "o").parents[1])], None, 1000, 0)
    figures = (sum(correct) / 60, *expected)
    assert tuple(led.values()) == pytest.approx(figures)
    assert (reported.accuracy, reported.low, reported.high) == pytest.approx(figures)
    assert (compared.accuracy.value, compared.accuracy.low, compared.accuracy.high) == pytest.approx(figures)


def test_what_k_traces_are_worth_is_said_of_runs_that_finish_all(sweep):
    query = QUERIES["at_k"]
    with Results(sweep) as results:
        found = results.rows(query.sql, {"runs": "%"})
        graded = results.rows("SELECT * FROM answers WHERE run = 'cons' AND correct IS NOT NULL")
        curve = curve_at_k(results, "cons", query)
        assert curve_at_k(results, "deepprune", query) == []
    assert {row["run"] for row in found} == {"cons"} and [row["k"] for row in found] == [1, 2, 4, 8, 16]
    for name, reached in (("pass_at_k", "any_correct"), ("maj_at_k", "credit")):
        means = [sum(row[column] for row in graded) / len(graded) for column in ("single_accuracy", reached)]
        assert [found[0][name], found[-1][name]] == pytest.approx(means, abs=1e-4)
        assert [getattr(each, name) for each in curve] == [row[name] for row in found]


@pytest.mark.parametrize("is_whole", [True, False])
def test_the_vote_of_all_traces_is_as_right_as_the_answer(tmp_path, is_whole):
    """Equal answers may be graded differently, since grading reads each spelling. The first voter's grade counts."""
    write_runs(tmp_path / "o", 1, 1, 4)
    [file] = (tmp_path / "o").glob("*/traces/*.parquet")
    rewritten(file, answer=["1/2", "0.5", "0.50", "7"], answer_key=["1/2"] * 3 + ["7"], correct=[0, 1, 1, 0])
    rewritten(answer_file(tmp_path / "o"), correct=[0], traces_finished=[4 if is_whole else 3])
    with Results(tmp_path / "o") as results:
        curve = vote_curve(results, file.parents[1].name, QUERIES["at_k"])
    assert curve.is_whole == is_whole
    assert (curve.points[-1].k, curve.points[-1].maj_at_k, curve.points[-1].pass_at_k) == (4, 0.0, 1.0)


def test_a_query_without_end_is_stopped(sweep):
    endless = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with Results(sweep, time_limit_s=0.5) as results:
        with pytest.raises(InputError, match=r"took longer than 0.5 s. .* --time-limit"):
            results.table(endless)
        assert results.rows("SELECT count(*) AS n FROM runs") == [{"n": 3}]


def test_certified_answers_are_counted(tmp_path):
    write_runs(tmp_path / "o", 1, 8, 2)
    certified = [True, True, True, False, False, False, False, False]
    rewritten(answer_file(tmp_path / "o"), certified=certified, correct=[1, 1, 0, 1, 0, 0, 0, 0])
    with Results(tmp_path / "o") as results:
        (row,) = results.rows(QUERIES["certified"].sql, {"runs": "%"})
        (totals,) = read_totals(results)
    assert (row["certified"], row["share"], row["accuracy"], row["accuracy_of_others"]) == (3, 0.375, 0.6667, 0.2)
    assert totals.problems_certified == 3


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_method_samples_the_traces_of_cons_so_that_its_baseline_is_found(method):
    """Whatever a method adds to what its run belongs to is left out of the view's `setting`."""
    own, cons = (
        identity(main_config([f"method={name}", "model.typical_tokens=29", "judge=probe"]), {})
        for name in (method, "cons")
    )
    [left_out] = re.findall(
        r"regexp_matches\(entry\.key,\s+'(.+?)'\)", (PROJECT / "pruner/results/views.sql").read_text()
    )
    differing = {key for key in own.keys() | cons.keys() if own.get(key) != cons.get(key)}
    assert not {key for key in differing if not re.search(left_out, key)}


def test_a_notebook_gets_a_connection_with_the_views_and_functions(sweep):
    with connect(str(sweep)) as connection:
        [(problems,)] = connection.sql("SELECT sum(problems)::INT FROM tokens").fetchall()
        connection.execute("CREATE TABLE mine AS SELECT run, pass_at_k(2, 1, 1) AS p FROM runs")
        assert problems == 24 and connection.sql("SELECT DISTINCT p FROM mine").fetchall() == [(0.5,)]
    with connect(sweep, "cons") as connection:
        assert connection.sql("SELECT DISTINCT run FROM traces").fetchall() == [("cons",)]
    with pytest.raises(InputError, match="no run has written answers"):
        connect("/nonexistent")
