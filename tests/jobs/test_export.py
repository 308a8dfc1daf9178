"""What is exported is all there is, and a recording replays to the same answers."""

import json

import pyarrow.parquet as pq
import pytest

from tests.job_processes import run
from tests.results_under_test import OVERRIDES


def export(path, kind, output):
    return run("export", str(path), "--to", kind, "--output", str(output))


def test_json_lines_hold_every_answer_and_trace(sweep, tmp_path):
    result = export(sweep, "jsonl", tmp_path)
    assert result.returncode == 0 and "24 answers, 384 traces" in result.stdout, result.stderr
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == [
        *("answers.jsonl", "probes.jsonl", "traces.jsonl", "verdicts.jsonl")
    ]
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert {row["run"] for row in answers} == {"cons", "deepprune", "deepprune,tau"}
    traces = [json.loads(line) for line in (tmp_path / "traces.jsonl").read_text().splitlines()]
    assert sum(row["tokens_sampled"] for row in answers) == sum(row["tokens_sampled"] for row in traces)
    assert all("<script>" in row["text"] for row in traces)
    assert (
        export(sweep / "cons", "jsonl", tmp_path / "one")
        .stdout.strip()
        .endswith("8 answers, 128 traces, 0 verdicts, 0 probes")
    )


def test_a_file_of_json_lines_holds_every_trace_with_its_question(sweep, tmp_path):
    target = tmp_path / "traces.jsonl"
    result = export(sweep / "deepprune", "jsonl", target)
    assert result.returncode == 0 and result.stdout.strip().endswith("traces.jsonl: 128 traces"), result.stderr
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert len(rows) == 128 and all(row["question"].startswith("What is") and row["gold"] for row in rows)
    assert {row["voted_answer"] for row in rows if row["problem_id"] == "p1"} != {None}


def test_recorded_traces_replay_to_the_same_answers(sweep, tmp_path):
    target = tmp_path / "recorded.parquet"
    result = export(sweep / "cons", "replay", target)
    assert result.returncode == 0 and "128 traces, 0 pruned traces left out" in result.stdout, result.stderr
    overrides = ["sampler=replay", f"sampler.source={target}", "method=cons", "budget=16", "run.name=again"]
    result = run("run", *overrides, f"run.root={tmp_path}/o")
    assert result.returncode == 0, result.stderr
    names = ["problem_id", "answer", "correct", "votes", "tokens_sampled"]
    again, before = (
        pq.read_table(root / "answers/shard=0000.parquet", columns=names)
        for root in (tmp_path / "o/again", sweep / "cons")
    )
    assert again.equals(before)


def test_of_a_pruned_run_the_finished_traces_are_recorded_with_their_probes(sweep, tmp_path):
    result = export(sweep / "deepprune", "replay", tmp_path / "r.parquet")
    rows = pq.read_table(tmp_path / "r.parquet").to_pylist()
    traces = pq.read_table(sweep / "deepprune/traces/shard=0000.parquet").to_pylist()
    finished = {(row["problem_id"], row["trace_index"]) for row in traces if row["status"] == "finished"}
    assert {(row["problem_id"], row["trace_index"]) for row in rows} == finished
    assert f"{128 - len(finished)} pruned traces left out" in result.stdout
    probed = [row for row in rows if row["probes"] is not None]
    assert probed and all(len(row["probes"]) * row["probe_every"] <= row["num_tokens"] for row in probed)


@pytest.mark.parametrize(
    ("kind", "path", "output", "message"),
    [
        ("replay", ".", "r.parquet", "expected one run to be replayed"),
        ("replay", "cons", "folder", "expected a .parquet file"),
        ("jsonl", "nothing", "x", "no run has written answers here yet"),
    ],
)
def test_what_cannot_be_exported_is_reported_in_one_line(sweep, tmp_path, kind, path, output, message):
    result = export(sweep / path, kind, tmp_path / output)
    assert result.returncode == 2 and message in result.stderr and len(result.stderr.splitlines()) == 1


def test_problems_without_gold_cannot_be_replayed(tmp_path):
    import pyarrow as pa

    rows = [{"problem_id": "a", "question": "?", "answer": None}]
    schema = pa.schema([(name, pa.string()) for name in ("problem_id", "question", "answer")])
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "set.parquet")
    overrides = [*OVERRIDES, f"problems.path={tmp_path}/set.parquet", f"run.root={tmp_path}/o", "run.name=run"]
    assert run("run", *overrides, "method=cons").returncode == 0
    result = export(tmp_path / "o/run", "replay", tmp_path / "r.parquet")
    assert result.returncode == 2 and "1 problems have no gold answer" in result.stderr
    assert not (tmp_path / "r.parquet").exists()
