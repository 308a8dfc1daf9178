"""Parquet as it comes from outside, made plain: texts of every kind become strings, valid UTF-8, in any column, nested ones too;
times get a resolution that DuckDB, JSON and Python have; what no result can hold is refused with its row and column.

Owns the checks of foreign tables; knows nothing of what their columns mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pruner.errors import InputError, first_line
from pruner.settings.section import path_fault, text_fault

_MAX_FAULTS = 20
_MAX_DEPTH = 16


def read_parquet(path: Path, what: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file and make it plain.

    Args:
        what: names the file in messages, e.g. `problems my.parquet`.
        columns: only these, as far as they are there.

    Raises:
        InputError: no such file, unreadable, or with columns that cannot be held.
    """
    if fault := path_fault(str(path)):
        raise InputError(f"{what}: {fault}.")
    if not path.exists():
        raise InputError(f"{what}: no such file.")
    if not path.is_file():
        raise InputError(f"{what}: got a folder or device, expected a Parquet file.")
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            wanted = names if columns is None else [name for name in names if name in columns]
            if doubled := sorted({name for name in wanted if names.count(name) > 1}):
                raise InputError(f"{what}: has columns of the same name: {doubled}. Rename them.")
            table = _read_columns(file, wanted)
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        raise InputError(f"{what}: unreadable or truncated Parquet ({first_line(error)}). Write it again.") from None
    return plain_table(table, what)


def _read_columns(file: pq.ParquetFile, names: Sequence[str]) -> pa.Table:
    """Return the columns. Raises ValueError: with the name of one that cannot be read, if others can."""
    try:
        return file.read(columns=None if names == file.schema_arrow.names else names)
    except (pa.ArrowException, OSError, ValueError) as error:
        failing = error
    faults: dict[str, str] = {}
    for name in names:
        try:
            file.read(columns=[name])
        except (pa.ArrowException, OSError, ValueError) as error:
            faults[name] = first_line(error)
    if faults and len(faults) < len(names):
        name, reason = next(iter(faults.items()))
        raise ValueError(f"column {name}: {reason}")
    raise failing


def plain_table(table: pa.Table, what: str) -> pa.Table:
    """Return the table with every column made plain.

    Raises:
        InputError: with a line for every column that cannot be.
    """
    faults: list[str] = []
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if fault := text_fault(name) or (None if name.strip() else "expected a name"):
            faults.append(f"{what}: column {name!r}: {fault}.")
            continue
        try:
            columns.append(plain_column(column))
        except _Refused as error:
            row = "" if error.row is None else f"row {error.row}: "
            faults.append(f"{what}: {row}column {name}: {error}.")
    if faults:
        raise InputError(limited(faults))
    return pa.table(columns, names=table.column_names) if columns else table


def limited(faults: Sequence[str]) -> list[str]:
    """Return the faults, shortened to what a reader will read; the last line counts the rest."""
    shown = list(faults[:_MAX_FAULTS])
    if len(faults) > _MAX_FAULTS:
        shown.append(f"{len(faults) - _MAX_FAULTS} more faults of the same kinds.")
    return shown


class _Refused(ValueError):
    """A column that cannot be held. row: the first one at fault, if it is one row's."""

    def __init__(self, reason: str, row: int | None = None) -> None:
        super().__init__(reason)
        self.row = row


def plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of plain types, its texts checked.

    Raises:
        ValueError: its type or a value cannot be held.
    """
    kind = _plain_type(column.type)
    first = 0
    chunks = []
    for chunk in column.chunks:
        chunks.append(_plain_chunk(chunk, kind, first))
        first += len(chunk)
    return pa.chunked_array(chunks, kind)


def _plain_chunk(chunk: pa.Array, kind: pa.DataType, first: int) -> pa.Array:
    """Return one chunk, cast and checked. first: its first row's number."""
    try:
        chunk.validate(full=True)
        made = chunk if chunk.type == kind else _cast(chunk, kind)
        if _has_times(kind):
            made.to_pylist()  # Python's years are 1 to 9999
        return made
    except (pa.ArrowException, ValueError, OverflowError, TypeError) as error:
        failing = error
    row = _first_bad_row(chunk, kind)
    if row is None:
        raise _Refused(f"cannot be read as {kind} ({first_line(failing)})")
    raise _Refused(_reason(chunk.slice(row, 1), kind), first + row)


def _first_bad_row(chunk: pa.Array, kind: pa.DataType) -> int | None:
    """Return the first row that cannot be held, found by halves."""
    low, high = 0, len(chunk)
    if not high or _is_good(chunk, 0, high, kind):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if _is_good(chunk, low, middle, kind):
            low = middle
        else:
            high = middle
    return low


def _is_good(chunk: pa.Array, low: int, high: int, kind: pa.DataType) -> bool:
    try:
        # A part that is taken has its own buffers: a slice would still be checked with all of its children.
        part = chunk.take(pa.array(range(low, high), pa.int64()))
        part.validate(full=True)
        made = _cast(part, kind)
        if _has_times(kind):
            made.to_pylist()
        return True
    except (pa.ArrowException, ValueError, OverflowError, TypeError):
        return False


def _reason(row: pa.Array, kind: pa.DataType) -> str:
    try:
        row.take(pa.array([0])).validate(full=True)
    except (pa.ArrowException, ValueError) as error:
        is_text = "UTF8" in str(error)
        return "is not valid UTF-8" if is_text else f"is damaged ({first_line(error)})"
    return f"holds a value that {kind} cannot"


def _cast(chunk: pa.Array, kind: pa.DataType) -> pa.Array:
    if isinstance(chunk.type, pa.BaseExtensionType):
        return _cast(chunk.storage, kind)
    if pa.types.is_dictionary(chunk.type):
        return _cast(chunk.dictionary_decode(), kind)
    if pa.types.is_run_end_encoded(chunk.type):
        return _cast(pc.run_end_decode(chunk), kind)
    if pa.types.is_null(chunk.type):
        return pa.nulls(len(chunk), kind)
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        return chunk.cast(kind, safe=False)  # nanoseconds are cut off
    if pa.types.is_struct(kind) and pa.types.is_struct(chunk.type):
        children = [_cast(each, kind.field(place).type) for place, each in enumerate(chunk.flatten())]
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=chunk.is_null())
    if pa.types.is_list(kind) and _is_list(chunk.type):
        if pa.types.is_list_view(chunk.type) or pa.types.is_large_list_view(chunk.type):
            return pa.array(chunk.to_pylist(), kind)  # a view's items may be in any order
        lengths = chunk.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        ends = lengths.cumsum()
        offsets = pa.array([0, *ends.tolist()], pa.int32())
        return pa.ListArray.from_arrays(offsets, _cast(chunk.flatten(), kind.value_type), mask=chunk.is_null()).cast(
            kind
        )
    return chunk.cast(kind)


def _plain_type(kind: pa.DataType, depth: int = 0) -> pa.DataType:
    """Return the plain type for a type.

    Raises:
        ValueError: there is none.
    """
    if depth > _MAX_DEPTH:
        raise _Refused(f"is nested more than {_MAX_DEPTH} deep")
    if isinstance(kind, pa.BaseExtensionType):
        return _plain_type(kind.storage_type, depth)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _plain_type(kind.value_type, depth)
    if pa.types.is_large_string(kind):
        return kind  # may be more than 2 GiB
    if is_text(kind) or pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", None if kind.tz is None else "UTC")
    if pa.types.is_date(kind):
        return pa.date32()
    if pa.types.is_time(kind):
        return pa.time64("us")
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return kind
    if pa.types.is_decimal(kind) and kind.precision <= 38 and kind.scale >= 0:
        return pa.decimal128(kind.precision, kind.scale)
    if _is_list(kind):
        return pa.list_(_plain_type(kind.value_type, depth + 1))
    if pa.types.is_struct(kind):
        return _plain_struct(kind, depth)
    raise _Refused(f"is {kind}, which results cannot hold. Leave it out, or write it as text")


def _plain_struct(kind: pa.StructType, depth: int) -> pa.DataType:
    names = [field.name for field in kind]
    if not names or len({name.lower() for name in names}) < len(names) or any(not n or text_fault(n) for n in names):
        raise _Refused(f"has fields {names}, expected names that differ. Leave it out, or write it as text")
    return pa.struct([(field.name, _plain_type(field.type, depth + 1)) for field in kind])


def is_text(kind: pa.DataType) -> bool:
    """Return whether a type holds text, however it is stored."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def _has_times(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        return _has_times(kind.value_type)
    if pa.types.is_struct(kind):
        return any(_has_times(field.type) for field in kind)
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind))


# What a column of a foreign table is to be: text, a whole number from low to high, or lists of numbers.
TEXT, NUMBERS, IDS, TEXTS = "text", "list of numbers", "list of whole numbers", "list of texts"


@dataclass(frozen=True)
class OutOfRange:
    """A number that a column may not hold."""

    row: int
    column: str
    value: object
    low: int
    high: int

    def __str__(self) -> str:
        return f"row {self.row}: {self.column} is {self.value}, expected {self.low} to {self.high}."


def typed_table(
    table: pa.Table, wanted: Mapping[str, str | tuple[int, int]], what: str
) -> tuple[pa.Table, list[OutOfRange]]:
    """Return the table with columns of the wanted types, and the numbers that are out of range, which are null in it.

    Numbers are taken for text (an answer may be stored as one), floats for whole numbers if they have no fraction.

    Args:
        wanted: by column; a pair is a whole number's range. Columns that are not there are not looked for.

    Raises:
        InputError: with a line for every column of another type.
    """
    faults: list[str] = []
    outside: list[OutOfRange] = []
    for name, form in wanted.items():
        if name not in table.column_names:
            continue
        place = table.column_names.index(name)
        try:
            if isinstance(form, tuple):
                made, bad = _whole_numbers(table.column(place), *form)
                outside += [OutOfRange(row, name, value, *form) for row, value in bad]
            else:
                made = _of_form(table.column(place), form)
        except (pa.ArrowException, ValueError, OverflowError):
            expected = "whole numbers" if isinstance(form, tuple) else form
            faults.append(f"{what}: column {name} is {table.schema.field(place).type}, expected {expected}.")
            continue
        table = table.set_column(place, name, made)
    if faults:
        raise InputError(limited(faults))
    return table, outside


def _of_form(column: pa.ChunkedArray, form: str) -> pa.ChunkedArray:
    kind = column.type
    if form == TEXT:
        if is_text(kind):
            return column
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return pa.chunked_array([pa.array(_as_texts(column), pa.string())])
        raise ValueError
    if not pa.types.is_list(kind):
        if column.null_count == len(column):
            return pa.chunked_array([pa.nulls(len(column), pa.list_(pa.string()))])
        raise ValueError
    value = kind.value_type
    if form == TEXTS:
        return column if is_text(value) else column.cast(pa.list_(pa.string()))
    if form == IDS:
        if not pa.types.is_integer(value) and column.null_count < len(column):
            raise ValueError
        return column.cast(pa.list_(pa.int32()))
    if not (pa.types.is_integer(value) or pa.types.is_floating(value)) and column.null_count < len(column):
        raise ValueError
    return column.cast(pa.list_(pa.float32()), safe=False)


def _as_texts(column: pa.ChunkedArray) -> Iterator[str | None]:
    """Yield numbers as they would be written; one that is none is null."""
    for value in column.to_pylist():
        yield None if value is None or value != value else str(value)


def _whole_numbers(column: pa.ChunkedArray, low: int, high: int) -> tuple[pa.ChunkedArray, list[tuple[int, object]]]:
    """Return the column as int64, and the rows that are out of range or have a fraction, with their values."""
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)) and column.null_count < len(column):
        raise ValueError
    if kind == pa.int64() and not len(column):
        return column, []
    kept: list[int | None] = []
    bad: list[tuple[int, object]] = []
    for row, value in enumerate(column.to_pylist()):
        is_good = value is not None and value == value and low <= value <= high and value == int(value)
        kept.append(int(value) if is_good else None)
        if value is not None and not is_good:
            bad.append((row, value))
    return pa.chunked_array([pa.array(kept, pa.int64())]), bad


def matching(table: pa.Table, schema: pa.Schema, names: Sequence[str], what: str) -> pa.Table:
    """Return the table with the named columns of a schema of ours in their types; further columns stay.

    Raises:
        InputError: one is missing, or holds something else.
    """
    if missing := [name for name in names if name not in table.column_names]:
        raise InputError(
            f"{what}: got columns {table.column_names}, missing {missing}. Was it written by another program?"
        )
    for name in names:
        place, kind = table.column_names.index(name), schema.field(name).type
        try:
            table = table.set_column(place, name, table.column(place).cast(kind))
        except (pa.ArrowException, ValueError):
            found = table.schema.field(place).type
            raise InputError(
                f"{what}: column {name} is {found}, expected {kind}. Was it written by another program?"
            ) from None
    return table
