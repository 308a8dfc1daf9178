"""Tables from outside, made plain: texts of every kind become strings, valid UTF-8, in any column, nested ones too; times get a
resolution that DuckDB, JSON and Python have; what no result can hold is refused with its row and column.

Owns the checks of foreign tables; knows nothing of what their columns mean.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pruner.errors import InputError, first_line
from pruner.settings.section import path_fault, text_fault

# The types that foreign columns are wanted in; see `typed_table`.
TEXT, TEXTS = pa.string(), pa.list_(pa.string())
NUMBERS, IDS = pa.list_(pa.float32()), pa.list_(pa.int32())
_MAX_FAULTS = 20
_MAX_DEPTH = 16
_UNREADABLE = (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError)
_NOT_HELD = (pa.ArrowException, ValueError, OverflowError, TypeError)


def check_file(path: Path, what: str) -> None:
    """Raises InputError: there is no such file."""
    if fault := path_fault(str(path)):
        raise InputError(f"{what}: {fault}.")
    if not path.exists():
        raise InputError(f"{what}: no such file.")
    if not path.is_file():
        raise InputError(f"{what}: got a folder or device, expected a file.")


def read_parquet(path: Path, what: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file and make it plain.

    Args:
        what: names the file in messages, e.g. `problems my.parquet`.
        columns: only these, as far as they are there.

    Raises:
        InputError: no such file, unreadable, or with columns that cannot be held.
    """
    check_file(path, what)
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            wanted = [name for name in names if columns is None or name in columns]
            check_names_differ(wanted, what)
            table = _read_columns(file, wanted)
    except InputError:
        raise
    except _UNREADABLE as error:
        raise InputError(f"{what}: unreadable or truncated Parquet ({first_line(error)}). Write it again.") from None
    return plain_table(table, what)


def check_names_differ(names: Sequence[str], what: str) -> None:
    """Raises InputError: two columns have one name."""
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{what}: has columns of the same name: {doubled}. Rename them.")


def _read_columns(file: pq.ParquetFile, names: Sequence[str]) -> pa.Table:
    """Return the columns. Raises ValueError: with the name of one that cannot be read."""
    try:
        return file.read(columns=None if names == file.schema_arrow.names else names)
    except _UNREADABLE:
        for name in names:
            try:
                file.read(columns=[name])
            except _UNREADABLE as error:
                raise ValueError(f"column {name}: {first_line(error)}") from None
        raise


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
    """Return the first 20 faults; the last line counts the rest."""
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
        return _checked(chunk, kind)
    except _NOT_HELD as error:
        row = bisect_left(range(len(chunk)), True, key=lambda each: not _is_good(chunk, each + 1, kind))
        if row == len(chunk):
            raise _Refused(f"cannot be read as {kind} ({first_line(error)})") from None
    try:
        chunk.take(pa.array([row])).validate(full=True)
    except _NOT_HELD as error:
        reason = "is not valid UTF-8" if "UTF8" in str(error) else f"is damaged ({first_line(error)})"
        raise _Refused(reason, first + row) from None
    raise _Refused(f"holds a value that {kind} cannot", first + row)


def _is_good(chunk: pa.Array, num_rows: int, kind: pa.DataType) -> bool:
    """Return whether the first rows can be held."""
    try:
        # Rows that are taken have their own buffers: a slice would still be checked with all of its children.
        _checked(chunk.take(pa.array(range(num_rows), pa.int64())), kind)
        return True
    except _NOT_HELD:
        return False


def _checked(chunk: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return the values in a plain type. Raises one of _NOT_HELD: it cannot hold them."""
    chunk.validate(full=True)
    made = chunk if chunk.type == kind else _cast(chunk, kind)
    if _any_type(kind, pa.types.is_temporal):
        made.to_pylist()  # Python's years are 1 to 9999
    return made


def _cast(chunk: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast, nanoseconds cut off. pyarrow cannot cast runs, and does not cast views whose items are in another order."""
    if _any_type(chunk.type, lambda each: pa.types.is_run_end_encoded(each) or _is_view(each)):
        return pa.array(chunk.to_pylist(), kind)
    return chunk.cast(options=pc.CastOptions(kind, allow_time_truncate=True))


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
    if _is_list(kind):
        return pa.list_(_plain_type(kind.value_type, depth + 1))
    if pa.types.is_struct(kind):
        return _plain_struct(kind, depth)
    if pa.types.is_decimal(kind) and kind.precision <= 38 and kind.scale >= 0:
        return pa.decimal128(kind.precision, kind.scale)
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", None if kind.tz is None else "UTC")
    for is_kind, plain in _PLAIN_TYPES:
        if is_kind(kind):
            return plain or kind
    raise _Refused(f"is {kind}, which results cannot hold. Leave it out, or write it as text")


# What a simple type becomes; None: it stays.
_PLAIN_TYPES = (
    (pa.types.is_large_string, None),  # may be more than 2 GiB
    (pa.types.is_string, None),
    (pa.types.is_string_view, pa.string()),
    (pa.types.is_null, pa.string()),
    (pa.types.is_date, pa.date32()),
    (pa.types.is_time, pa.time64("us")),
    (pa.types.is_float16, pa.float32()),
    (pa.types.is_floating, None),
    (pa.types.is_integer, None),
    (pa.types.is_boolean, None),
)


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


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    is_stored = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(is_stored or _is_view(kind))


def _any_type(kind: pa.DataType, is_kind: Callable[[pa.DataType], bool]) -> bool:
    """Return whether a type, or one inside it, is of a kind."""
    inside = [kind.field(place).type for place in range(kind.num_fields)]
    return is_kind(kind) or any(_any_type(each, is_kind) for each in inside)


def texts(column: pa.ChunkedArray) -> list[str | None]:
    """Return a column's values as they would be written; NaN is null.

    A column of floats that are all whole is one of whole numbers with gaps, as pandas makes it.

    Raises:
        ValueError: the column holds neither texts nor numbers.
    """
    kind = column.type
    if is_text(kind) or column.null_count == len(column):
        return list(column.to_pylist())
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise ValueError(f"{kind} is neither text nor a number")
    values = [None if value is None or value != value else value for value in column.to_pylist()]
    if pa.types.is_floating(kind) and all(each is None or (abs(each) < 2**53 and each == int(each)) for each in values):
        values = [None if each is None else int(each) for each in values]
    return [each if each is None else format(each, "f") if isinstance(each, Decimal) else str(each) for each in values]


def typed_table(
    table: pa.Table, wanted: Mapping[str, pa.DataType | tuple[int, int]], what: str, hint: str = ""
) -> pa.Table:
    """Return the table with some columns in other types. Numbers are taken for text, since an answer may be stored as one.

    Args:
        wanted: by column; a pair is a whole number's range. Columns that are not there are not looked for.
        hint: follows the fault of a column of another type.

    Raises:
        InputError: with a line for every column of another type, or for every number that is out of its range.
    """
    faults: list[str] = []
    outside: list[str] = []
    for name in (name for name in wanted if name in table.column_names):
        place, kind = table.column_names.index(name), wanted[name]
        try:
            if isinstance(kind, tuple):
                made, bad = _whole_numbers(table.column(place), *kind)
                outside += [
                    f"{what}: row {row}: {name} is {value}, expected {kind[0]} to {kind[1]}." for row, value in bad
                ]
            else:
                made = _of_kind(table.column(place), kind)
            table = table.set_column(place, name, made)
        except _NOT_HELD:
            expected = "whole numbers" if isinstance(kind, tuple) else kind
            faults.append(f"{what}: column {name} is {table.schema.field(place).type}, expected {expected}.{hint}")
    if faults or outside:
        raise InputError(limited(faults or outside))
    return table


def _of_kind(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if column.type == kind or (kind == TEXT and is_text(column.type)):
        return column
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), kind)])
    if kind == TEXT:
        return pa.chunked_array([pa.array(texts(column), kind)])
    return column.cast(kind, safe=kind != NUMBERS)


def _whole_numbers(column: pa.ChunkedArray, low: int, high: int) -> tuple[pa.ChunkedArray, list[tuple[int, object]]]:
    """Return the column as int64, and (row, value) of those that are out of range or have a fraction."""
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)) and column.null_count < len(column):
        raise ValueError(f"{kind} is no number")
    bad = [
        (row, value)
        for row, value in enumerate(column.to_pylist())
        if value is not None and not (low <= value <= high and value == int(value))
    ]
    return column if bad else column.cast(pa.float64()).cast(pa.int64()), bad


def matching(table: pa.Table, schema: pa.Schema, names: Sequence[str], what: str) -> pa.Table:
    """Return the table with the named columns of a schema of ours in their types; further columns stay.

    Raises:
        InputError: one is missing, or holds something else.
    """
    hint = " Was it written by another program?"
    if missing := [name for name in names if name not in table.column_names]:
        raise InputError(f"{what}: got columns {table.column_names}, missing {missing}.{hint}")
    return typed_table(table, {name: schema.field(name).type for name in names}, what, hint)
