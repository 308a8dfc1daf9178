"""Reports without a browser: figures, what they say when empty, and that nothing a model wrote becomes markup."""

import json
import re
import shutil
from dataclasses import replace

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from wcwidth import wcwidth

from pruner.reporting import figures
from pruner.reporting.canvas import render, shortened
from pruner.reporting.gather import (
    Calibration,
    calibrations,
    focus_of,
    points,
    problem_rows,
    ranked,
)
from pruner.reporting.labels import label_runs
from pruner.reporting.page import short
from pruner.reporting.payload import Limits, script_json, write_payload
from pruner.reporting.timeline import choose, read_timeline
from pruner.reporting.timeline_figure import timeline
from pruner.results.named_queries import read_queries
from pruner.results.query import Results, read_totals
from tests.job_processes import PROJECT

QUERIES = read_queries(PROJECT / "conf/query")


@pytest.fixture(scope="module")
def totals(sweep):
    with Results(sweep) as results:
        return read_totals(results)


@pytest.fixture(scope="module")
def rows(sweep, totals):
    with Results(sweep) as results:
        return problem_rows(results, [each.run for each in totals], 1000)


def test_json_in_a_script_cannot_end_it():
    text = script_json({"a": "</script><!--\u2028\u2029&'\""})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"a": "</script><!--\u2028\u2029&'\""}
    with pytest.raises(ValueError):
        script_json(float("nan"))


def test_figures_of_nothing_say_so(totals, rows):
    assert "gold answers" in figures.pareto([], "x").empty
    assert "No token" in figures.problem_tokens([], 1.0).empty
    assert figures.clusters([]).empty and figures.margins([]).empty and timeline(None).empty
    assert "both traces finished" in figures.calibration([], "x", True).empty
    nothing = [replace(row, votes_total=0.0, vote_counts=[], cluster_sizes=[]) for row in rows]
    assert figures.margins(nothing).empty and figures.clusters(nothing).empty


def test_figures_follow_the_pages_colours_and_stand_beside_each_other(rows):
    one, other = figures.margins(rows), figures.clusters(rows)
    assert "var(--right)" in one.svg and "#0a0b" not in one.svg + other.svg
    assert one.png.startswith(b"\x89PNG")
    ids = [set(re.findall(r'\bid="([^"]+)"', figure.svg)) for figure in (one, other)]
    assert not ids[0] & ids[1]
    assert set(re.findall(r"url\(#([^)]+)\)", one.svg)) <= ids[0]


def test_names_with_dollars_and_markup_are_drawn_as_they_are(rows):
    odd = [replace(row, problem_id=f"$x_{i}$ <b>&") for i, row in enumerate(rows)]
    assert "&lt;b&gt;&amp;" in figures.problem_tokens(odd, 1.0).svg


def test_what_is_no_whole_run_stands_behind_those_that_are(totals):
    # accuracy, note
    given = {"a": (0.9, "simulated"), "b": (0.5, None), "c": (0.8, None), "d": (0.99, "7 of 8 problems")}
    runs = [replace(totals[0], run=run, accuracy=accuracy, note=note) for run, (accuracy, note) in given.items()]
    assert [each.run for each in ranked(runs)] == ["c", "b", "d", "a"]
    assert [point.is_whole for point in points(runs)] == [False, True, True, False]


def test_runs_rank_as_on_the_leaderboard_and_the_focus_prunes(totals):
    assert [each.accuracy for each in ranked(totals)] == sorted((each.accuracy for each in totals), reverse=True)
    assert focus_of(totals).traces_pruned > 0
    assert {point.run for point in points(totals)} == {each.run for each in totals}


def test_labels_say_runs_apart():
    names = [
        "budget=4,method=cons,sampler=replay",
        "budget=8,method=cons,sampler=replay",
        "method=deepprune,method.tau=0.5,sampler=replay",
    ]
    assert list(label_runs(names).values()) == ["cons, budget 4", "cons, budget 8", "deepprune, tau 0.5"]
    assert label_runs(["a", "b"]) == {"a": "a", "b": "b"} and label_runs(["x=1,y=2"]) == {"x=1,y=2": "x=1,y=2"}


def test_a_judge_is_checked_by_pairs_that_finished(sweep, totals):
    judged = [each for each in totals if each.judge_verdicts]
    with Results(sweep) as results:
        found = {each.run: each for each in calibrations(results, judged, QUERIES["judge_quality"])}
        sql = "SELECT count(*) AS n FROM verdicts WHERE run = $run"
        for name, each in found.items():
            assert 0 < each.checked <= each.verdicts == results.rows(sql, {"run": name})[0]["n"]
            # The simulated probe says the answer that the trace is heading for.
            assert all(same == score for score, same, _ in each.bins)
    assert figures.calibration([Calibration("a", "probe", ((0.9, 1.0, 3),), 5)], "a", True).svg


def test_traces_that_vote_together_agree_for_the_calibration_however_they_spell_it(sweep, tmp_path):
    shutil.copytree(sweep / "deepprune", tmp_path / "deepprune")
    file = tmp_path / "deepprune/traces/shard=0000.parquet"
    table = pq.read_table(file)
    spellings = {"answer": [f"spelling {i}" for i in range(len(table))], "answer_key": ["1/2"] * len(table)}
    for name, values in (spellings | {"correct": [0] * len(table)}).items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(values, table.schema.field(name).type))
    pq.write_table(table, file)
    with Results(tmp_path) as results:
        [found] = calibrations(results, read_totals(results), QUERIES["judge_quality"])
    assert found.checked and all(same == 1 for _, same, _ in found.bins)


def test_texts_are_cut_in_their_middle_and_limited_in_all(sweep, tmp_path):
    with Results(sweep) as results:
        wanted = {"cons": list(range(8))}
        written = write_payload(results, ["cons"], tmp_path / "a", Limits(100, 10**9), wanted)
        assert written.without_text == {} and written.text_bytes > 0
        argument = (tmp_path / "a/0/3.0.js").read_text().removeprefix("receive(").rstrip(");\n").split(",", 1)[1]
        texts = json.loads(argument)
        whole = results.rows("SELECT text FROM traces WHERE run = 'cons' AND problem_index = 3 ORDER BY trace_index")
        for text, row in zip(texts, whole, strict=True):
            assert text["chars"] == len(row["text"])
            assert row["text"].startswith(text["head"]) and row["text"].endswith(text["tail"])
            assert len(text["head"]) + len(text["tail"]) == min(100, len(row["text"]))
        written = write_payload(results, ["cons"], tmp_path / "b", Limits(100, 1), wanted)
        assert written.without_text == {"cons": 7}
        assert len(list((tmp_path / "b/0").glob("*.js"))) == 9


def test_the_mark_ends_where_the_prefix_does(sweep, tmp_path):
    with Results(sweep) as results:
        write_payload(results, ["deepprune"], tmp_path, Limits(10_000, 10**9), {"deepprune": list(range(8))})
        sql = "SELECT * FROM traces WHERE run = 'deepprune' AND problem_index = 0 ORDER BY trace_index"
        rows = results.rows(sql)
    argument = (tmp_path / "0/0.0.js").read_text().removeprefix("receive(").rstrip(");\n").split(",", 1)[1]
    for row, text in zip(rows, json.loads(argument), strict=True):
        assert row["segment_tokens"][0] == row["tokens_prefix"]
        assert text["prefix_chars"] == row["segment_chars"][0]


def test_a_timeline_says_of_stops_where_the_checkpoint_can_be_read(sweep, rows, tmp_path):
    chosen = choose([row for row in rows if row.run == "deepprune"])
    assert chosen.traces_pruned and chosen.traces_finished
    shutil.copytree(sweep / "deepprune", tmp_path / "deepprune")
    path = tmp_path / "deepprune/checkpoint/shard=0000.duckdb"
    with duckdb.connect(str(path)) as connection:  # as if it had been stopped once
        connection.execute(
            "UPDATE segments SET attempt = 2, committed_at = committed_at + INTERVAL 9 SECOND WHERE segment_index > 0"
        )
        connection.execute(
            "INSERT INTO attempts SELECT * REPLACE (2 AS attempt, started_at + INTERVAL 8 SECOND AS started_at) FROM attempts"
        )
        connection.execute("UPDATE attempt_ends SET end_reason = 'interrupted'")
    with Results(tmp_path) as results:
        found = read_timeline(results, tmp_path, chosen)
        assert len(found.bars) == 16 and found.judged and found.commits
        assert {attempt for bar in found.bars for attempt in bar.attempts} == {1, 2}
        assert [life.reason for life in found.lives] == ["interrupted", None]
        assert sum(commit.tokens for commit in found.commits) == chosen.tokens_sampled
        drawn = timeline(found)
        assert "after a stop" in drawn.svg and "interrupted, then resumed" in drawn.svg and "Underlined" in drawn.note
        path.write_bytes(b"damaged")
        found = read_timeline(results, tmp_path, chosen)
        assert not found.commits and "cannot be read" in timeline(found).note


def test_numbers_are_short():
    values = (0, 950, 999.6, 12_345, 999_400, 999_999, 4_560_000, 999_999_999, 2e9, 5e12, -12_345)
    assert [short(value) for value in values] == [
        *("0", "950", "1 k", "12.3 k", "999 k", "1 M", "4.56 M", "1 G", "2 G", "5,000 G", "-12.3 k")
    ]


def test_long_names_are_cut_by_their_width_and_at_whole_letters():
    assert shortened("a" * 44, 44) == "a" * 44 and shortened("a" * 45, 44) == "a" * 22 + "…" + "a" * 21
    cut = shortened("한국어 문제 번호 " * 4 + "🙂🙂", 20)
    assert cut.startswith("한국어 문") and cut.endswith("🙂") and sum(wcwidth(sign) for sign in cut) <= 20


def test_figures_with_letters_of_every_script_are_drawn_without_a_warning(recwarn):
    def draw(figure, palette):
        figure.subplots().set_title("한국어 漢字 かな 🙂 é")

    drawn = render("scripts", "", "", draw, 200)
    assert "한국어 漢字 かな 🙂 é" in drawn.svg and drawn.png and not recwarn.list
