"""Records as Arrow tables of their columns, and back. No token is touched one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import accumulate, pairwise
from operator import attrgetter
from typing import Any

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

# By table: the records in its rows, and their keys.
_KINDS: dict[str, tuple[type[Fact], Callable[..., Any]]] = {
    "segments": (Segment, SegmentKey),
    "probes": (Probe, ProbeKey),
    "verdicts": (Verdict, PairKey),
    "endings": (Ending, TraceKey),
}


def fact_tables(facts: Sequence[Fact], attempt: int, committed_at: datetime) -> dict[str, pa.Table]:
    """Return the facts as rows of their tables, by table."""
    tables = {}
    for name, (kind, _) in _KINDS.items():
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
    kind, key = _KINDS[name]
    names = [each for each in TABLES[name].names if each not in ("attempt", "committed_at", *KEYS[name])]
    for batch in batches:
        keys = zip(*(batch.column(each).to_pylist() for each in KEYS[name]), strict=True)
        values = zip(*(_READERS.get(each, pa.Array.to_pylist)(batch.column(each)) for each in names), strict=True)
        for own, row in zip(keys, values, strict=True):
            yield kind(key(*own), **dict(zip(names, row, strict=True)))


def _unpacked(column: pa.ListArray) -> list[TokenIds]:
    ids = column.values
    data = memoryview(ids.buffers()[1] or b"").cast("B")
    start = 4 * ids.offset
    ends = column.offsets.to_pylist()
    return [TokenIds.of_bytes(data[start + 4 * first : start + 4 * last].tobytes()) for first, last in pairwise(ends)]


def _tuples(column: pa.ListArray) -> list[tuple[float, ...] | None]:
    return [None if values is None else tuple(values) for values in column.to_pylist()]


_READERS: dict[str, Callable[[pa.Array], list[Any]]] = {"token_ids": _unpacked, "confidence": _tuples}
