"""A run's folder: Parquet of finished problems, progress, views. Everything is written aside and renamed.

Knows the folder's layout and nothing of how the rows came about.
"""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pruner.config.job import AccountingConfig, ResultsConfig
from pruner.errors import InputError
from pruner.files import remove_partials, write_atomically, write_text
from pruner.problems import ProblemSet
from pruner.schemas import READ_VIEWS, VIEWS
from pruner.store import Store, TraceRange
from pruner.typed import read_object, record_of

SHARD_TABLES = ("answers", "traces", "verdicts", "probes", "attempts")
# Traces of so many tokens are joined at once.
_BATCH_TOKENS = 4_000_000
_SQL_TYPES = {
    "string": "VARCHAR",
    "bool": "BOOLEAN",
    "int8": "TINYINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "timestamp[us, tz=UTC]": "TIMESTAMPTZ",
    "extension<arrow.json>": "JSON",
}


@dataclass(frozen=True)
class RunFolder:
    """Where everything of one run and one of its shards stands. The only place that knows these names."""

    root: Path
    name: str
    shard_index: int

    @property
    def path(self) -> Path:
        return self.root / self.name

    @property
    def run_json(self) -> Path:
        return self.path / "run.json"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint" / f"shard={self.shard_index:04d}.duckdb"

    def scratch(self, folder: Path) -> Path:
        """Return where the checkpoint is worked on below a folder that other runs use too."""
        name = hashlib.blake2b(str(self.path.resolve()).encode(), digest_size=8).hexdigest()
        return folder / f"pruner-{name}" / self.checkpoint.name

    @property
    def lease(self) -> Path:
        return self.path / "lease" / f"shard={self.shard_index:04d}.json"

    @property
    def progress(self) -> Path:
        return self.path / "progress" / f"shard={self.shard_index:04d}.json"

    @property
    def run_lock(self) -> Path:
        """Who holds this lease decides which config the run's folder belongs to (ownership.py)."""
        return self.path / "lease" / "run.json"

    def parquet(self, table: str) -> Path:
        return self.path / table / f"shard={self.shard_index:04d}.parquet"

    def remove_partials(self) -> None:
        """Remove what killed writers of this shard left. Only whoever holds its lease may call this."""
        for path in (self.checkpoint, self.progress, *(self.parquet(table) for table in SHARD_TABLES)):
            remove_partials(path)


@dataclass(frozen=True)
class Progress:
    """What others may see of a running shard, and what the next attempt may know of one that was killed.

    Attributes:
        state: loading, running, writing (all answered, but the results are not written yet), done, interrupted, failed.
        segments, facts, tokens: committed, in all attempts.
        tokens_in_flight: sampled and not yet committed, as far as the engine has told.
        tokens_per_s: of this attempt, the judge's own tokens not counted.
        eta_s: at this attempt's rate; None while no problem is finished.
        scratch: the checkpoint that is worked on, if that is not the one in the run's folder.
    """

    state: str
    attempt: int
    host: str
    pid: int
    slurm_job_id: str | None
    problems: int
    problems_done: int
    traces_running: int
    segments: int
    tokens: int
    tokens_in_flight: int
    tokens_per_s: float = 0.0
    eta_s: float | None = None
    scratch: str | None = None
    facts: int = 0
    updated_at: str = ""
    message: str | None = None


def write_progress(folder: RunFolder, progress: Progress, guard: Callable[[], None] = lambda: None) -> None:
    """Replace what the shard tells of itself.

    Args:
        guard: raises if this process may not write the shard any more.
    """
    values = asdict(progress) | {"updated_at": datetime.now(UTC).isoformat(timespec="seconds")}
    write_text(folder.progress, json.dumps(values) + "\n", guard)


def read_progress(folder: RunFolder) -> Progress | None:
    """Return what the shard last told of itself; None if it never did.

    Raises:
        InputError: the file is damaged; names it.
    """
    try:
        progress = record_of(Progress, read_object(folder.progress))
        datetime.fromisoformat(progress.updated_at or "2000-01-01")
        return progress
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder.progress}: unreadable ({error}). The checkpoint has the facts; the next commit writes this file again."
        ) from None


def write_views(root: Path) -> None:
    """Write the views over all runs under a folder, unless they are there."""
    path, text = root / "views.sql", views_sql(root)
    try:
        is_written = path.read_text() == text
    except (OSError, ValueError):
        is_written = False
    if not is_written:
        write_text(path, text)


def views_sql(root: Path, run: str | None = None) -> str:
    """Return the views over all runs under a folder, or over one of them; names are quoted for SQL."""
    text = resources.files("pruner").joinpath("views.sql").read_text()
    columns = "\n".join(_columns_view(name, VIEWS[name]) for name in READ_VIEWS)
    folder = sql_path(root)
    text = text.replace("{columns}", columns)
    if run is not None:
        text = text.replace("'outputs/*/", "'outputs/" + glob.escape(run).replace("'", "''") + "/")
    return text.replace("'outputs/", "'" + folder.replace("'", "''") + "/")


def sql_path(path: Path) -> str:
    """Return a path as DuckDB reads it, who takes * ? [ for patterns, a leading ~ for the home folder and `name:` for an address.

    Raises:
        InputError: it has a backslash, which DuckDB cannot be made to take as it is.
    """
    text = str(path)
    if "\\" in text:
        raise InputError(f"{text}: DuckDB cannot read a folder with a backslash in its name. Rename it.")
    if not set(text) & set("*?[]:") and not text.startswith("~"):
        return text
    return glob.escape(str(path.absolute()))


def _columns_view(name: str, schema: pa.Schema) -> str:
    """Return an empty view with all columns that a view must have, for runs that were written before a column was."""
    columns = ", ".join(f"NULL::{_sql_type(field.type)} AS {field.name}" for field in schema)
    return f"CREATE OR REPLACE VIEW columns_{name} AS SELECT {columns} WHERE false;"


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    return _SQL_TYPES[str(kind)]


def write_answers(folder: RunFolder, store: Store, problems: ProblemSet, weights: AccountingConfig) -> pa.Table:
    """Write the answers of finished problems, with the problem set's further columns; return them."""
    answers = store.answers(weights)
    table = carry(answers, problems.carried)
    _write_table(folder.parquet("answers"), table, store)
    return answers


def write_results(
    folder: RunFolder, store: Store, problems: ProblemSet, config: ResultsConfig, weights: AccountingConfig
) -> pa.Table:
    """Write all Parquet of the shard; return the answers."""
    answers = write_answers(folder, store, problems, weights)
    for name in ("verdicts", "probes"):
        _write_table(folder.parquet(name), store.judged(name), store)
    write_atomically(
        folder.parquet("traces"), lambda path: _write_traces(path, store, answers, config), store.check_held
    )
    return answers


def write_attempts(folder: RunFolder, store: Store) -> None:
    _write_table(folder.parquet("attempts"), store.attempts(), store)


def _write_table(path: Path, table: pa.Table, store: Store) -> None:
    write_atomically(path, lambda partial: pq.write_table(table, partial), store.check_held)


def carry(answers: pa.Table, carried: pa.Table) -> pa.Table:
    """Append the problem set's further columns; one whose name is ours gets the prefix `problem_`."""
    rows = carried.take(answers.column("problem_index"))
    for name in carried.column_names:
        # SQL does not tell upper from lower case; the views add `run` and read `filename`.
        taken = {column.lower() for column in answers.column_names} | {"run", "filename"}
        free = name if name.lower() not in taken else f"problem_{name}"
        if free.lower() not in taken:
            answers = answers.append_column(free, rows.column(name))
    return answers


def _write_traces(path: Path, store: Store, answers: pa.Table, config: ResultsConfig) -> None:
    batches = _trace_tables(store, answers, config)
    first = next(batches)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for table in batches:
            writer.write_table(table)


def _trace_tables(store: Store, answers: pa.Table, config: ResultsConfig) -> Iterator[pa.Table]:
    columns = (answers[name].to_pylist() for name in ("problem_index", "tokens_sampled", "traces_started"))
    for chosen in trace_ranges([Size(*values) for values in zip(*columns, strict=True)]) or [TraceRange(0, 0)]:
        yield store.traces(chosen, config.text, config.token_ids, config.confidence)


@dataclass(frozen=True)
class Size:
    """How much of a finished problem there is."""

    problem_index: int
    tokens: int
    traces: int


def trace_ranges(sizes: Sequence[Size]) -> list[TraceRange]:
    """Return ranges of traces that can be joined at once: many small problems, or a part of a large one. Every trace is in one of
    them, in order.

    Args:
        sizes: in order of the problems.
    """
    ranges: list[TraceRange] = []
    small: list[Size] = []
    total = 0
    for size in sizes:
        if small and total + size.tokens > _BATCH_TOKENS:
            ranges.append(_whole(small))
            small, total = [], 0
        if size.tokens > _BATCH_TOKENS:
            ranges += _parts(size)
        else:
            small.append(size)
            total += size.tokens
    return [*ranges, _whole(small)] if small else ranges


def _whole(sizes: Sequence[Size]) -> TraceRange:
    return TraceRange(sizes[0].problem_index, sizes[-1].problem_index + 1)


def _parts(size: Size) -> list[TraceRange]:
    """Return equal parts of a problem's traces; the last has no end."""
    width = max(1, size.traces * _BATCH_TOKENS // size.tokens)
    whole = TraceRange(size.problem_index, size.problem_index + 1)
    starts = range(0, max(1, size.traces), width)
    return [replace(whole, first_trace=start, last_trace=start + width) for start in starts[:-1]] + [
        replace(whole, first_trace=starts[-1])
    ]
