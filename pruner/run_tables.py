"""Reads the Parquet tables of runs. Knows their columns by schemas.py and nothing of how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pruner.columns import matching, read_parquet
from pruner.errors import InputError, first_line
from pruner.schemas import VIEWS


def read_rows(folder: Path, table: str, columns: Sequence[str], optional: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return a table of a run, all shards; optional columns only where they are there.

    Raises:
        InputError: the run has no such table, or it cannot be read.
    """
    files = sorted((folder / table).glob("shard=*.parquet"))
    if not files:
        raise InputError(f"run {folder}: has no {table} yet. Name the folder of a run that has finished problems.")
    return [row for file in files for row in read_table(file, columns, optional).to_pylist()]


def read_tables(files: Sequence[Path], columns: Sequence[str], optional: Sequence[str] = ()) -> pa.Table:
    """Return one table of all shards, further columns included.

    Raises:
        InputError: a file cannot be read, or is no table of a run.
    """
    tables = [read_table(file, columns, optional, has_all=True) for file in files]
    try:
        return pa.concat_tables(tables, promote_options="default")
    except pa.ArrowException as error:
        raise InputError(f"{files[0].parent}: its shards have different columns ({first_line(error)}).") from None


def read_table(file: Path, columns: Sequence[str], optional: Sequence[str] = (), has_all: bool = False) -> pa.Table:
    """Return one shard's table, its columns in the types that they are written with.

    Args:
        file: below the run's folder, in the folder named after the table.
        has_all: further columns are read too.
    """
    try:
        names = pq.read_schema(file).names
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{file}: unreadable Parquet ({first_line(error)}).") from None
    present = [*columns, *(name for name in optional if name in names)]
    found = read_parquet(file, str(file), None if has_all else present)
    schema = VIEWS[file.parent.name]
    typed = [name for name in present if name in schema.names]
    return matching(found, schema, [*typed, *(name for name in columns if name not in names)], str(file))
