"""The checkpoint's file: it is made, opened, checked and copied here, and damage is reported. Knows no fact, only tables.

A file is made aside and renamed, and never deleted or begun again by itself.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from pruner import SCHEMA_VERSION
from pruner.errors import CheckpointError, InputError, first_line
from pruner.records.schemas import KEYS, TABLES
from pruner.settings.dotted import differing_keys
from pruner.system import files

# Versions whose checkpoints are brought up to this one when they are opened.
UPGRADED = (3, 4, 5, 6, 7)
_LOCK_POLL_S = 0.5
_DISK_FULL = ("no space left", "disk quota exceeded", "disk is full", "file too large")
_NOT_WRITABLE = ("permission denied", "read-only file system", "operation not permitted")
SHARD_COUNT = "shard.count"
# Rows that are compressed and written as one. A commit into a larger group that is not full makes DuckDB write the whole
# group again at the next checkpoint: with its default of 122,880 rows that took most of the time (tests/bench/RESULTS.md).
ROW_GROUP_ROWS = 2048
# The engine needs the cores and the memory; a commit is small.
LIMITS: dict[str, str | int] = {"threads": 2, "memory_limit": "512MB"}
# A file of another kind would make DuckDB look for an extension, on the network too.
NO_EXTENSIONS = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}


def latest(paths: Sequence[Path]) -> Path | None:
    """Return the checkpoint, of copies of one, that holds the most; None if there is none.

    A later attempt counts more than more rows: it went on from what the other has. `open_store` reports damage.

    Raises:
        CheckpointError: one is damaged, so the question cannot be decided.
    """
    found = [path for path in paths if path.exists()]
    return max(found, key=_extent) if len(found) > 1 else next(iter(found), None)


def bring(source: Path, target: Path) -> None:
    """Copy a checkpoint that nobody works on, its log included, to where it will be worked on.

    Raises:
        CheckpointError: it cannot be read or written.
    """
    try:
        if log_of(source).exists():
            with open_database(source) as connection:
                connection.execute("CHECKPOINT")
    except duckdb.Error as error:
        raise unreadable(source, error) from error
    with written_aside(target, "copied there") as partial:
        shutil.copyfile(source, partial)


def _extent(path: Path) -> tuple[int, int, int]:
    try:
        with open_database(path, "READ_ONLY") as connection:
            there = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
            facts = " + ".join(f"(SELECT count(*) FROM {name})" for name in KEYS if name in there)
            sql = (
                f"SELECT (SELECT coalesce(max(attempt), 0) FROM attempts), {facts}, (SELECT count(*) FROM attempt_ends)"
            )
            attempt, rows, ends = connection.execute(sql).fetchall()[0]
            return int(attempt), int(rows), int(ends)
    except duckdb.Error as error:
        raise unreadable(path, error) from error


def open_database(path: Path, mode: str = "READ_WRITE") -> duckdb.DuckDBPyConnection:
    """Open a checkpoint as the database of a new connection."""
    # What does not fit into memory goes beside the file: by default it would go where the job was started, in one folder for all.
    connection = duckdb.connect(config={**LIMITS, **NO_EXTENSIONS, "temp_directory": f"{path}.tmp"})
    try:
        options = "TYPE duckdb, " + (mode if mode == "READ_ONLY" else f"ROW_GROUP_SIZE {ROW_GROUP_ROWS}")
        connection.execute(f"ATTACH {quoted(str(path))} AS shard ({options})")
        connection.execute("USE shard")
    except duckdb.Error:
        connection.close()
        raise
    return connection


def connect(path: Path, lock_wait_s: float) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + lock_wait_s
    while True:
        try:
            return open_database(path)
        except duckdb.Error as error:
            if not _is_in_use(error) or time.monotonic() >= deadline:
                raise unreadable(path, error) from error
            time.sleep(_LOCK_POLL_S)


def create(path: Path, identity: Mapping[str, str]) -> None:
    """Make an empty checkpoint, whole or not at all. Raises CheckpointError."""
    with written_aside(path, "made") as partial, open_database(partial) as connection:
        connection.execute("CREATE TABLE run (schema_version INTEGER, identity VARCHAR, created_at TIMESTAMPTZ)")
        connection.execute(
            "INSERT INTO run VALUES (?, ?, ?)", [SCHEMA_VERSION, json.dumps(dict(identity)), datetime.now(UTC)]
        )
        upgrade(connection)


@contextlib.contextmanager
def written_aside(path: Path, verb: str) -> Iterator[Path]:
    """Yield a place to write a checkpoint in; rename it to `path` when that is done, so that a full disk or a kill leaves none or
    a whole one.

    Args:
        verb: what could not be done, in the message of an error.

    Raises:
        CheckpointError: the disk does not take it; nothing is left of the attempt.
    """
    old_log = log_of(path)  # it belongs to the checkpoint that is replaced
    try:
        with files.written_aside(path, guard=lambda: old_log.unlink(missing_ok=True)) as partial:
            try:
                yield partial
            finally:
                log_of(partial).unlink(missing_ok=True)
    except (duckdb.Error, OSError) as error:
        raise CheckpointError(
            f"checkpoint {path}: could not be {verb} ({first_line(error)}). {next_step(error)}"
        ) from error


def recorded_identity(path: Path) -> dict[str, str]:
    """Read of which config a checkpoint is that nobody works on.

    Raises:
        InputError: another process has it open.
        CheckpointError: it cannot be read.
    """
    try:
        with open_database(path, "READ_ONLY") as connection:
            return _identity_in(connection)[1]
    except (duckdb.Error, ValueError) as error:
        raise unreadable(path, error) from error


def _identity_in(connection: duckdb.DuckDBPyConnection) -> tuple[int, dict[str, str]]:
    """Return the schema version and the identity that an open checkpoint was made with.

    Raises:
        ValueError: its table `run` is damaged.
    """
    try:
        [(version, text)] = connection.execute("SELECT schema_version, identity FROM run").fetchall()
        return version, {str(key): str(value) for key, value in dict(json.loads(text)).items()}
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"its table run is not readable: {error}") from error


def differing_from(was: Mapping[str, str], identity: Mapping[str, str]) -> list[str]:
    """Return what differs from a checkpoint's identity. An older one does not say into how many shards its run was cut."""
    known = identity if SHARD_COUNT in was else {key: identity[key] for key in identity if key != SHARD_COUNT}
    return differing_keys(was, known)


def log_of(path: Path) -> Path:
    return path.with_name(path.name + ".wal")


def quoted(text: str) -> str:
    """Return a text of SQL."""
    return "'" + text.replace("'", "''") + "'"


def check(connection: duckdb.DuckDBPyConnection, path: Path, identity: Mapping[str, str]) -> None:
    try:
        version, old = _identity_in(connection)
    except ValueError as error:
        raise unreadable(path, error) from error
    if version in UPGRADED:
        upgrade(connection)
    elif version != SCHEMA_VERSION:
        raise InputError(
            f"checkpoint {path}: written by schema version {version}, this program has {SCHEMA_VERSION}. "
            "Finish it with the version that began it, or choose another run.name."
        )
    differing = differing_from(old, identity)
    if differing:
        raise InputError(
            f"checkpoint {path}: belongs to another config ({'; '.join(differing)}). "
            "Undo the change, or choose another run.name."
        )
    for name, schema in TABLES.items():
        found = {row[0] for row in connection.execute(f"DESCRIBE {name}").fetchall()}
        if missing := [column for column in schema.names if column not in found]:
            raise unreadable(path, ValueError(f"its table {name} has no {missing}"))
        connection.execute(f"SELECT bit_xor(hash(every)) FROM {name} AS every").fetchall()
    for name, keys in KEYS.items():
        sql = f"SELECT count(*) - count(DISTINCT ({', '.join(keys)})) FROM {name}"
        if doubled := connection.execute(sql).fetchall()[0][0]:
            raise CheckpointError(
                f"checkpoint {path}: {doubled} doubled rows in {name}. This is a fault of the program."
            )


def upgrade(connection: duckdb.DuckDBPyConnection) -> None:
    """Give a new checkpoint, or one of an older version, the tables and columns that it lacks; what it holds stays as it is. Facts
    that an older version did not keep, as answers' keys, are made when they are next needed."""
    connection.execute("BEGIN")
    for name, schema in TABLES.items():
        connection.register("empty_rows", schema.empty_table())
        connection.execute(f"CREATE TABLE IF NOT EXISTS {name} AS SELECT * FROM empty_rows")
        sql = "SELECT column_name, column_type FROM (DESCRIBE empty_rows) ANTI JOIN (DESCRIBE {table}) USING (column_name)"
        for column, kind in connection.execute(sql.replace("{table}", name)).fetchall():
            connection.execute(f"ALTER TABLE {name} ADD COLUMN {column} {kind}")
        connection.unregister("empty_rows")
    connection.execute("UPDATE run SET schema_version = ?", [SCHEMA_VERSION])
    connection.execute("COMMIT")
    connection.execute("CHECKPOINT")


def _is_in_use(error: Exception) -> bool:
    return isinstance(error, duckdb.IOException) and "could not set lock" in str(error).lower()


def unreadable(path: Path, error: Exception) -> InputError | CheckpointError:
    """Return why a checkpoint could not be opened or read, as one line."""
    if _is_in_use(error):
        return InputError(
            f"checkpoint {path}: another process has opened it ({first_line(error)}). Wait for it or stop it."
        )
    if any(words in str(error) for words in ("Permission denied", "Read-only", "No space left")):
        return CheckpointError(
            f"checkpoint {path}: cannot be opened for writing ({first_line(error)}). It is not damaged."
        )
    if isinstance(error, duckdb.OutOfMemoryException):
        return CheckpointError(
            f"checkpoint {path}: reading it takes more memory than there is ({first_line(error)}). It is not damaged."
        )
    return CheckpointError(
        f"checkpoint {path}: cannot be read ({first_line(error)}). It was left as it is: restore it from a copy, or move it "
        "and its .wal aside to begin the shard again."
    )


def next_step(error: Exception) -> str:
    """Return what to do about something that could not be written."""
    text = str(error).lower()
    if any(words in text for words in _DISK_FULL):
        return "The disk is full, or your share of it: free some of it, and run the same command again."
    if any(words in text for words in _NOT_WRITABLE):
        return "Make the folder writable, and run the same command again."
    if isinstance(error, duckdb.OutOfMemoryException):
        return "The checkpoint's share of memory did not suffice: run the same command again with a smaller checkpoint.every_segments."
    return "Run the same command again; if it fails in the same way, report this line: the disk may be broken, or the program."
