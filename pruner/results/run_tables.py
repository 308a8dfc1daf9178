"""Reads the Parquet tables of runs. Knows their columns by schemas.py and nothing of how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pruner.errors import InputError, first_line
from pruner.problems.columns import is_text, matching, read_parquet
from pruner.records.schemas import VIEWS
from pruner.settings.section import MAX_COUNT
from pruner.system.files import files_fingerprint
from pruner.system.json_records import read_object

# What the views add to every row; `filename` only while they read it.
ADDED_BY_VIEWS = ("run", "filename")


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


def table_fault(file: Path, schema: pa.Schema) -> str | None:
    """Return what keeps a file from being a table with such columns; None if its footer shows nothing."""
    try:
        found = pq.read_schema(file)
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError, ValueError) as error:
        return f"unreadable Parquet ({first_line(error)})."
    if taken := [name for name in found.names if name.lower() in ADDED_BY_VIEWS]:
        return f"has a column {taken[0]}, which the views add."
    return schema_fault(found, schema)


def schema_fault(found: pa.Schema, schema: pa.Schema) -> str | None:
    """Return which column holds something else than it should; None if none does. Missing and further columns are no fault."""
    for name in found.names:
        if name in schema.names and found.names.count(name) == 1:
            have, want = found.field(name).type, schema.field(name).type
            if None not in (_form(have), _form(want)) and _form(have) != _form(want):
                return f"column {name} is {have}, expected {want}."
    return None


def _form(kind: pa.DataType) -> str | None:
    """Return what a type holds, roughly; None if it fits all."""
    if pa.types.is_null(kind):
        return None
    if is_text(kind):
        return "text"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list of {_form(kind.value_type)}"
    if (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    ):
        return "number"
    return "time" if pa.types.is_timestamp(kind) else str(kind)


def run_json_fault(file: Path) -> str | None:
    """Return what keeps a file from being a run.json; None if nothing does."""
    try:
        read_object(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return f"unreadable ({first_line(error)})."
    return None


@dataclass(frozen=True)
class Cuts:
    """The lengths into which a run cut its traces; see samplers.base.SamplerConfig. cache_block_tokens: of its prefix cache.
    typical_tokens: of a trace, as the run's model says; None: it doesn't, or the run was a replay, which has no model."""

    segment_tokens: int | None
    cache_block_tokens: int | None
    align_tokens: int | None = None
    typical_tokens: int | None = None


def cuts_of(folder: Path) -> Cuts:
    """Return how a run cut its traces.

    Raises:
        InputError: the folder is no run's.
    """
    sampler, model = _config(folder, "sampler"), _config(folder, "model")
    if missing := sorted({"segment_tokens", "cache_block_tokens"} - sampler.keys()):
        raise InputError(f"{folder / 'run.json'}: config.sampler lacks {missing[0]}. Restore it.")
    block = sampler["cache_block_tokens"]
    found = Cuts(
        sampler["segment_tokens"],
        block,
        align_tokens=block if sampler.get("aligned") is True else None,
        typical_tokens=None if sampler.get("name") == "replay" else model.get("typical_tokens"),
    )
    for name, value in vars(found).items():
        if not (value is None or (type(value) is int and 1 <= value <= MAX_COUNT)):
            raise InputError(f"{folder / 'run.json'}: {name} is {value!r}, expected a number of tokens. Restore it.")
    return found


def speculative_weight(folder: Path) -> float:
    """Return what a speculative token of a run counts in its net tokens; 1 in runs that did not know them.

    Raises:
        InputError: the folder is no run's.
    """
    weight = _config(folder, "accounting").get("speculative_weight", 1.0)
    if type(weight) not in (int, float) or not 0 <= weight <= MAX_COUNT:
        raise InputError(f"{folder / 'run.json'}: accounting.speculative_weight is {weight!r}, expected a number.")
    return float(weight)


def _config(folder: Path, section: str) -> dict[str, Any]:
    """Return a section of a run's config."""
    try:
        return dict(read_object(folder / "run.json")["config"][section])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"run {folder}: its run.json cannot be read ({error}). Name a run's folder.") from None


def run_fingerprint(folder: Path) -> str:
    """Return a hash of a run's traces."""
    return files_fingerprint(sorted((folder / "traces").glob("*.parquet")))
