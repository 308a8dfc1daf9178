"""The benchmarks at small sizes: that they measure what they say and write it down. How fast it is, is not tested."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.compose import main_config
from pruner.shard.inputs import read_inputs
from tests.bench import judge, orchestrator, resume
from tests.bench.__main__ import main
from tests.bench.machine import machine_facts
from tests.bench.outcome import Outcome, markdown, shown, write_outcome

PROJECT = Path(__file__).parents[2]


def test_an_outcome_is_written_as_a_table_and_as_words(tmp_path):
    outcome = Outcome([{"a": 1, "b": "x"}, {"a": 2, "c": 0.12346}], {"ratio": 0.98765}, "How.")
    text = write_outcome("name", outcome, {"cores": 2}, tmp_path)
    assert "| a | b | c |" in text and "| 2 |  | 0.1235 |" in text and "Machine: cores 2." in text
    assert (tmp_path / "name.md").read_text() == text == markdown("name", outcome, {"cores": 2})
    table = pq.read_table(tmp_path / "name.parquet")
    assert table.column("a").to_pylist() == [1, 2] and json.loads(table.schema.metadata[b"machine"]) == {"cores": 2}


def test_numbers_are_shown_as_read():
    assert [shown(value) for value in (None, True, 1234567, 1234.5, 0.00012346, "x")] == [
        "",
        "True",
        "1,234,567",
        "1,234",
        "0.0001235",
        "x",
    ]


def test_the_machine_is_reported():
    facts = machine_facts()
    assert facts["cores"] >= 1 and facts["cpu"] and "duckdb" in facts


def test_the_orchestrator_is_measured_over_whole_segments(tmp_path):
    found = orchestrator.measure(300, 32, [], str(tmp_path))
    assert found["problems"] == 2 and 150 < found["segments"] < 450
    assert found["segments_per_cpu_s"] > 0 and 0 < found["commit_share"] < 1
    assert not list(tmp_path.iterdir())


def test_a_resume_is_measured_from_a_checkpoint_that_was_left(tmp_path):
    arguments = {"path": str(tmp_path / "shard.duckdb"), "segments": 700, "segment_tokens": 16, "overrides": []}
    made = resume.measure(case="make", **arguments)
    left = resume.measure(case="in flight", **arguments)
    assert left["segments"] == made["segments"] >= 700 and 0 < left["open_problems"] < 7
    again = resume.measure(case="rederived", **arguments)
    assert again["segments"] == made["segments"] and again["open_problems"] > left["open_problems"]


def test_few_of_all_pairs_are_compared():
    found = judge.compared(64, 0.8, 0)
    assert 0.6 < found["redundancy"] < 0.95 and found["pairs"] > 0
    assert found["share_of_k_k1"] < 0.2 and found["share_of_there"] < 1.0


@pytest.mark.parametrize("order", ["shared first", "shared second"])
def test_newcomers_are_paired_with_the_first_two_of_their_problem(order):
    config = main_config(["judge=llm", "problems.limit=2"])
    inputs = read_inputs(config)
    ids = [problem.problem_id for problem in inputs.problems.problems]
    texts = [(problem_id, index, f"trace {index}") for problem_id in ids for index in range(4)]
    found = [request.key for request in judge.pair_requests(config, inputs, texts, 50, order)]
    pairs = [(key.left_trace, key.right_trace)[:: 1 if order == "shared first" else -1] for key in found]
    assert [key.problem_id for key in found] == [ids[0]] * 4 + [ids[1]] * 4
    assert pairs == [(0, 2), (1, 2), (0, 3), (1, 3)] * 2


def test_long_texts_begin_with_their_own_trace_and_differ():
    found = [judge.long_text(["one", "two", "three"], index, 40) for index in range(3)]
    assert [len(text) for text in found] == [40] * 3 and len(set(found)) == 3
    assert found[1].startswith("two\nthree\none")


@pytest.mark.parametrize(
    ("arguments", "message"), [(["nothing"], "bench: got 'nothing'"), (["resume", "repeats=0"], "repeats")]
)
def test_a_benchmark_that_does_not_exist_is_one_line(arguments, message, capsys):
    assert main(arguments) == 2 and message in capsys.readouterr().err


def test_a_benchmark_ends_with_a_line_of_json(tmp_path, capsys):
    assert main(["orchestrator", "segments=[300]", "segment_tokens=16", "repeats=1", f"target={tmp_path}"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["bench"] == "orchestrator"
    assert {path.name for path in tmp_path.iterdir()} == {"orchestrator.md", "orchestrator.parquet"}
