"""Tables as text: for a terminal, CSV, JSON, Markdown. Knows no SQL and no disk."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from wcwidth import wcswidth

FORMATS = ("table", "csv", "json", "parquet", "markdown")
_LEAST_WIDTH = 6
_GAP = "  "
# str.splitlines and some readers of JSON lines end a line at these.
_LINE_ENDS = {ord(letter): f"\\u{ord(letter):04x}" for letter in "\x85\u2028\u2029"}


def to_csv(table: pa.Table) -> str:
    """Return CSV with a header; lists and structs as JSON."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.column_names)
    for row in _rows(table):
        writer.writerow([as_json(value) if isinstance(value, list | dict) else _hexed(value) for value in row])
    return out.getvalue()


def to_json(table: pa.Table) -> str:
    """Return a JSON list, an object a row."""
    rows = [as_json(row) for row in plain_rows(table)]
    return "[" + ",\n ".join(rows) + "]\n"


def to_markdown(table: pa.Table) -> str:
    """Return a Markdown table; numbers to the right."""
    numeric = [_is_number(field.type) for field in table.schema]
    names = [_escaped(name) for name in table.column_names]
    lines = markdown_table(names, [[_escaped(shown(value)) for value in row] for row in _rows(table)], numeric)
    return "".join(f"{line}\n" for line in lines)


def markdown_table(
    names: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool] | None = None
) -> list[str]:
    """Return the lines of a Markdown table; numeric columns are aligned to the right."""
    rules = ["--:" if is_number else "---" for is_number in numeric or [False] * len(names)]
    return ["| " + " | ".join(line) + " |" for line in [names, rules, *rows]]


def aligned(lines: Sequence[Sequence[str]], numeric: Sequence[bool] | None = None) -> list[str]:
    """Return lines of cells in columns of equal width, numeric ones to the right."""
    widths = [max(_width(line[i]) for line in lines) for i in range(len(lines[0]))]
    return [_line(line, widths, numeric or [False] * len(widths)) for line in lines]


def to_text(table: pa.Table, width: int | None, max_rows: int) -> str:
    """Return a table that fits a terminal, with a note of what was left out.

    Args:
        width: of the terminal; None: as wide as it gets.
        max_rows: the first ones are shown.
    """
    numeric = [_is_number(field.type) for field in table.schema]
    cells = [list(table.column_names)] + [[shown(value) for value in row] for row in _rows(table.slice(0, max_rows))]
    cells = [[_printable(cell) for cell in line] for line in cells]
    widths = [max(_width(line[i]) for line in cells) for i in range(len(numeric))]
    widths = fitted(widths, numeric, width)
    lines = [_line(line, widths, numeric) for line in cells]
    lines.insert(1, _GAP.join("─" * w for w in widths))
    notes = []
    if table.num_rows > max_rows:
        notes.append(f"{max_rows:,} of {table.num_rows:,} rows")
    if len(widths) < len(numeric):
        notes.append(_printable(f"not shown: {', '.join(table.column_names[len(widths) :])}"))
    if notes:
        lines.append(f"({'; '.join(notes)}; --format csv shows all)")
    return "\n".join(lines) + "\n"


def fitted(widths: Sequence[int], numeric: Sequence[bool], width: int | None) -> list[int]:
    """Return the columns' widths in a terminal: the widest texts are cut first, then columns are left out on the right."""
    kept = list(widths)
    if width is None:
        return kept
    while len(kept) > 1:
        over = sum(kept) + len(_GAP) * (len(kept) - 1) - width
        texts = [i for i in range(len(kept)) if not numeric[i] and kept[i] > _LEAST_WIDTH]
        if over <= 0:
            return kept
        if sum(kept[i] - _LEAST_WIDTH for i in texts) < over:
            kept.pop()
            continue
        while over > 0:
            widest = max(texts, key=kept.__getitem__)
            kept[widest] -= 1
            over -= 1
    return [min(kept[0], width)] if kept else kept


def shown(value: Any) -> str:
    """Return a value for people: floats to 6 digits, null as nothing."""
    if value is None:
        return ""
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
    if isinstance(value, list | dict):
        return as_json(value)
    return str(_hexed(value))


def _hexed(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    out = []
    for cell, width, is_number in zip(cells, widths, numeric, strict=False):
        cut = _cut(cell, width)
        pad = " " * (width - _width(cut))
        out.append(pad + cut if is_number else cut + pad)
    return _GAP.join(out).rstrip()


def _width(text: str) -> int:
    """Return how many columns of a terminal the text takes: letters of East Asian scripts take two."""
    return max(0, wcswidth(text))


def _cut(text: str, width: int) -> str:
    """Return the text, or its beginning and an ellipsis, in at most `width` columns."""
    if _width(text) <= width:
        return text
    while text and _width(text) > width - 1:
        text = text[:-1]
    return f"{text}…"


def _rows(table: pa.Table) -> list[tuple[Any, ...]]:
    columns = [values(column) for column in table.columns]
    return list(zip(*columns, strict=True))


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def as_json(value: Any) -> str:
    """Return a value as JSON in one line, whatever a reader takes for the end of one: Unicode's own line ends are escaped. NaN
    and infinity, which JSON has not, are null; bytes are hexadecimal."""
    text = json.dumps(_finite(value), default=str, ensure_ascii=False)
    return text.translate(_LINE_ENDS)


def distinct(table: pa.Table) -> pa.Table:
    """Return the table with names that differ: a second `x` becomes `x_1`."""
    names: list[str] = []
    for name in table.column_names:
        free, number = name, 0
        while free in names or (number and free in table.column_names):
            number += 1
            free = f"{name}_{number}"
        names.append(free)
    return table.rename_columns(names)


def storable(table: pa.Table) -> pa.Table:
    """Return the table as Parquet can hold it: columns of other types (intervals, unions) as text."""
    for place, name in enumerate(table.column_names):
        try:
            pq.write_table(table.select([place]), pa.BufferOutputStream())
        except (pa.ArrowException, ValueError):
            texts = [None if value is None else shown(value) for value in values(table.column(place))]
            table = table.set_column(place, name, pa.array(texts, pa.string()))
    return table


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows as dicts, each column under a name of its own."""
    names = distinct(table).column_names
    return [dict(zip(names, row, strict=True)) for row in _rows(table)]


def values(column: pa.ChunkedArray) -> list[Any]:
    """Return a column's values; those that Python has no type for, like nanoseconds or the year 20000, as text."""
    try:
        return column.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException):
        pass
    try:
        return column.cast(pa.string()).to_pylist()
    except (ValueError, OverflowError, pa.ArrowException):
        rows = [column.slice(row, 1).combine_chunks() for row in range(len(column))]
        return [None if row.null_count else " ".join(row.to_string().split()) for row in rows]


def _finite(value: Any) -> Any:
    """Return the value as JSON can have it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _printable(text: str) -> str:
    """Return one line without control characters: what models write must not steer the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _escaped(text: str) -> str:
    return _printable(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
