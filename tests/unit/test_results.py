"""Which traces are joined at once when a shard's Parquet is written."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruner.checkpoint.store import TraceRange
from pruner.results import writer
from pruner.results.writer import Size, trace_ranges


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
