"""Reads the Parquet tables of runs. Knows their columns by schemas.py and nothing of how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pruner.errors import InputError


def read_rows(folder: Path, table: str, columns: Sequence[str], optional: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return a table of a run, all shards; optional columns only where they are there.

    Raises:
        InputError: the run has no such table.
    """
    files = sorted((folder / table).glob("shard=*.parquet"))
    if not files:
        raise InputError(f"run {folder}: has no {table} yet. Name the folder of a run that has finished problems.")
    rows: list[dict[str, Any]] = []
    for file in files:
        try:
            parquet = pq.ParquetFile(file)
            names = parquet.schema_arrow.names
            rows += parquet.read(columns=[*columns, *(name for name in optional if name in names)]).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file}: unreadable ({str(error).strip().splitlines()[0]}).") from None
    return rows
