"""Records as Arrow tables of their columns, and back. No token is touched one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import accumulate, pairwise
from operator import attrgetter

import pyarrow as pa

from pruner.records.schemas import KEYS, TABLES
from pruner.records.traces import (
    Ending,
    Fact,
    PairKey,
    Probe,
    ProbeKey,
    Segment,
    SegmentKey,
    TokenIds,
    TraceKey,
    Verdict,
)

_KINDS: dict[str, type[Fact]] = {"segments": Segment, "probes": Probe, "verdicts": Verdict, "endings": Ending}


def fact_tables(facts: Sequence[Fact], attempt: int, committed_at: datetime) -> dict[str, pa.Table]:
    """Return the facts as rows of their tables, by table."""
    tables = {}
    for name, kind in _KINDS.items():
        if rows := [fact for fact in facts if type(fact) is kind]:
            constants = {"attempt": attempt, "committed_at": committed_at}
            tables[name] = table_of(rows, TABLES[name], KEYS[name], constants)
    return tables


def table_of(
    rows: Sequence[object], schema: pa.Schema, keys: Sequence[str] = (), constants: dict[str, object] | None = None
) -> pa.Table:
    """Return records as a table with a column an attribute.

    Args:
        keys: columns that are attributes of the records' `key`.
        constants: columns with one value in all rows.
    """
    columns = []
    for field in schema:
        if constants and field.name in constants:
            columns.append(pa.repeat(pa.scalar(constants[field.name], field.type), len(rows)))
            continue
        read = attrgetter(f"key.{field.name}" if field.name in keys else field.name)
        values = [read(row) for row in rows]
        columns.append(_packed(values) if field.name == "token_ids" else pa.array(values, field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _packed(values: Sequence[Sequence[int]]) -> pa.ListArray:
    data = TokenIds.join(values).data
    ids = pa.Array.from_buffers(pa.int32(), len(data) // 4, [None, pa.py_buffer(data)])
    offsets = pa.array(accumulate(map(len, values), initial=0), pa.int32())
    return pa.ListArray.from_arrays(offsets, ids)


def read_facts(name: str, batches: Iterable[pa.RecordBatch]) -> Iterator[Fact]:
    """Yield the facts that `fact_tables` made rows of."""
    for batch in batches:
        columns = {
            field.name: _unpacked(batch.column(field.name))
            if field.name == "token_ids"
            else batch.column(field.name).to_pylist()
            for field in TABLES[name]
            if field.name not in ("attempt", "committed_at")
        }
        names = list(columns)
        for values in zip(*columns.values(), strict=True):
            yield _READERS[name](dict(zip(names, values, strict=True)))


def _unpacked(column: pa.ListArray) -> list[TokenIds]:
    ids = column.values
    data = memoryview(ids.buffers()[1] or b"").cast("B")
    start = 4 * ids.offset
    ends = column.offsets.to_pylist()
    return [TokenIds.of_bytes(data[start + 4 * first : start + 4 * last].tobytes()) for first, last in pairwise(ends)]


def _segment(row: dict[str, object]) -> Segment:
    key = SegmentKey(row.pop("problem_id"), row.pop("trace_index"), row.pop("segment_index"))  # type: ignore[arg-type]
    confidence = row.pop("confidence")
    return Segment(key, confidence=None if confidence is None else tuple(confidence), **row)  # type: ignore


def _probe(row: dict[str, object]) -> Probe:
    key = ProbeKey(row.pop("problem_id"), row.pop("trace_index"), row.pop("num_tokens"))  # type: ignore[arg-type]
    return Probe(key, **row)  # type: ignore[arg-type]


def _verdict(row: dict[str, object]) -> Verdict:
    key = PairKey(row.pop("problem_id"), row.pop("left_trace"), row.pop("right_trace"))  # type: ignore[arg-type]
    return Verdict(key, **row)  # type: ignore[arg-type]


def _ending(row: dict[str, object]) -> Ending:
    return Ending(TraceKey(row.pop("problem_id"), row.pop("trace_index")), **row)  # type: ignore[arg-type]


_READERS: dict[str, Callable[[dict[str, object]], Fact]] = {
    "segments": _segment,
    "probes": _probe,
    "verdicts": _verdict,
    "endings": _ending,
}
