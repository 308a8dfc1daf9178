"""Which traces are joined at once when a shard's Parquet is written."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.checkpoint.store import TraceRange
from pruner.results import writer
from pruner.results.query import Results
from pruner.results.writer import Size, trace_ranges
from tests.job_processes import run


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer, "_BATCH_TOKENS", 100)


def test_a_shard_without_a_finished_problem_has_no_range():
    assert trace_ranges([]) == []


def test_small_problems_go_together():
    assert trace_ranges([Size(0, 10, 2), Size(3, 10, 2), Size(4, 0, 0)]) == [TraceRange(0, 5)]


def test_a_large_problem_goes_in_parts():
    found = trace_ranges([Size(0, 60, 2), Size(1, 41, 2), Size(5, 250, 10), Size(6, 1, 1)])
    parts = [TraceRange(5, 6, 0, 4), TraceRange(5, 6, 4, 8), TraceRange(5, 6, 8)]
    assert found == [TraceRange(0, 1), TraceRange(1, 2), *parts, TraceRange(6, 7)]


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 60), st.tuples(st.integers(0, 900), st.integers(0, 20)), min_size=1, max_size=30))
def test_every_trace_is_in_one_range_in_order(sizes: dict[int, tuple[int, int]]):
    ranges = trace_ranges([Size(index, *size) for index, size in sorted(sizes.items())])
    traces = [(index, trace) for index, (_, count) in sorted(sizes.items()) for trace in range(max(1, count))]
    found = [
        (index, trace)
        for each in ranges
        for index, trace in traces
        if each.first_problem <= index < each.last_problem and each.first_trace <= trace < each.last_trace
    ]
    assert found == traces


@pytest.mark.parametrize(
    ("text", "mark", "expected"),
    [
        ("so 5", None, (None, 0)),
        ("hm</think>so 5", "</think>", (2, 10)),
        ("hm", "</think>", (2, None)),
        ("a</think>b</think>c", "</think>", (1, 9)),
        ("🙂é</think>so", "</think>", (2, 10)),
        (None, "</think>", (None, None)),
    ],
)
def test_where_a_reasoning_ends_and_its_response_begins(text, mark, expected):
    table = writer.with_response(
        pa.table({"trace_index": [0], "text": pa.array([text], pa.string()), "last": [1]}), mark
    )
    assert table.column_names == ["trace_index", "text", "reasoning_chars", "response_start", "last"]
    assert (table["reasoning_chars"][0].as_py(), table["response_start"][0].as_py()) == expected


def test_the_view_has_reasoning_and_response_apart(tmp_path):
    result = run(
        "run",
        "sampler=simulated",
        "method=cons",
        "problems.limit=2",
        "budget=2",
        f"run.root={tmp_path}",
        "run.name=run",
    )
    assert result.returncode == 0, result.stderr
    file = tmp_path / "run/traces/shard=0000.parquet"
    table = pq.read_table(file, partitioning=None)
    texts = pa.array(["<think>\n🙂 hm</think>\n\nso 5", "so 6", None, "hm"], pa.string())
    bare = table.drop_columns(["text", "reasoning_chars", "response_start"])
    with_text = bare.append_column("text", texts)
    for mark, expected in (
        ("</think>", [("🙂 hm", "\n\nso 5"), ("so 6", None), (None, None), ("hm", None)]),
        (None, [(None, text) for text in texts.to_pylist()]),
    ):
        pq.write_table(writer.with_response(with_text, mark), file)
        with Results(tmp_path) as results:
            rows = results.rows("SELECT reasoning, response FROM traces ORDER BY problem_index, trace_index")
        assert [(row["reasoning"], row["response"]) for row in rows] == expected
    pq.write_table(bare, file)
    with Results(tmp_path) as results:
        assert results.rows("SELECT DISTINCT text, reasoning, response FROM traces") == [
            {"text": None, "reasoning": None, "response": None}
        ]
