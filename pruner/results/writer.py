"""A run's folder: Parquet of finished problems, progress, views. Everything is written aside and renamed.

Knows the folder's layout and nothing of how the rows came about.
"""

from __future__ import annotations

import glob
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pruner.checkpoint.store import Store, TraceRange
from pruner.errors import InputError
from pruner.problems.problem_set import ProblemSet
from pruner.records.schemas import READ_VIEWS, VIEWS
from pruner.results.run_folder import RunFolder
from pruner.results.run_tables import ADDED_BY_VIEWS
from pruner.settings.prices import AccountingConfig
from pruner.settings.section import Seconds, Section
from pruner.system.files import write_atomically, write_text

# At most this many tokens are joined at once.
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


class ResultsConfig(Section):
    """text, token_ids, confidence: written with each trace, confidences where the method has them sampled. every_s: how often
    Parquet of finished problems is refreshed."""

    text: bool
    token_ids: bool
    confidence: bool
    every_s: Seconds


@dataclass(frozen=True)
class TraceColumns:
    """The optional columns of each trace; see ResultsConfig. thinking_end: see ModelConfig."""

    text: bool
    token_ids: bool
    confidence: bool
    thinking_end: str | None = None

    @classmethod
    def of(cls, config: ResultsConfig, thinking_end: str | None) -> TraceColumns:
        return cls(config.text, config.token_ids, config.confidence, thinking_end)


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
    text = resources.files("pruner.results").joinpath("views.sql").read_text()
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


def write_answers(folder: RunFolder, store: Store, problems: ProblemSet, answers: pa.Table) -> None:
    """Write the answers of finished problems, as by store.answers, with the problem set's further columns."""
    write_batches(folder.parquet("answers"), iter([carry(answers, problems.carried)]), store.check_held)


def write_results(
    folder: RunFolder, store: Store, problems: ProblemSet, columns: TraceColumns, weights: AccountingConfig
) -> None:
    """Write all Parquet of the shard. Answers come last: of what has one, a reader finds everything."""
    answers = store.answers(weights)

    def guard() -> None:
        store.check_held()
        # Now, so that no trace is ever read twice.
        for part in folder.trace_parts():
            part.unlink(missing_ok=True)

    write_batches(folder.parquet("traces"), _trace_tables(store, answers, columns, None), guard)
    write_judged(folder, store)
    write_answers(folder, store, problems, answers)


def write_judged(folder: RunFolder, store: Store) -> None:
    """Write the verdicts and probes of finished problems."""
    for name in ("verdicts", "probes"):
        write_batches(folder.parquet(name), iter([store.judged(name)]), store.check_held)


def write_traces(path: Path, store: Store, answers: pa.Table, columns: TraceColumns, only: Sequence[int]) -> None:
    """Write the traces of some finished problems to a file, whole or not at all.

    Args:
        only: indexes of the problems, in order.
    """
    chosen = answers.filter(pc.is_in(answers["problem_index"], pa.array(only, answers["problem_index"].type)))
    write_batches(path, _trace_tables(store, chosen, columns, only), store.check_held)


def write_attempts(folder: RunFolder, store: Store) -> None:
    write_batches(folder.parquet("attempts"), iter([store.attempts()]), store.check_held)


def carry(answers: pa.Table, carried: pa.Table) -> pa.Table:
    """Append the problem set's further columns; one whose name is ours gets the prefix `problem_`."""
    rows = carried.take(answers.column("problem_index"))
    for name in carried.column_names:
        # SQL ignores case in names.
        taken = {column.lower() for column in answers.column_names} | set(ADDED_BY_VIEWS)
        free = name if name.lower() not in taken else f"problem_{name}"
        if free.lower() not in taken:
            answers = answers.append_column(free, rows.column(name))
    return answers


def write_batches(path: Path, batches: Iterator[pa.Table], guard: Callable[[], None] = lambda: None) -> int:
    """Write tables of one schema, at least one, as one file; return the rows.

    Args:
        guard: raises if this process may not write the file any more.
    """
    count = 0

    def write(partial: Path) -> None:
        nonlocal count
        first = next(batches)
        with pq.ParquetWriter(partial, first.schema) as writer:
            for table in itertools.chain([first], batches):
                writer.write_table(table)
                count += table.num_rows

    write_atomically(path, write, guard)
    return count


def _trace_tables(
    store: Store, answers: pa.Table, columns: TraceColumns, only: Sequence[int] | None
) -> Iterator[pa.Table]:
    sizes = (answers[name].to_pylist() for name in ("problem_index", "tokens_sampled", "traces_started"))
    for chosen in trace_ranges([Size(*values) for values in zip(*sizes, strict=True)]) or [TraceRange(0, 0)]:
        table = store.traces(chosen, columns.text, columns.token_ids, columns.confidence, only)
        yield with_response(table, columns.thinking_end) if columns.text else table


def with_response(table: pa.Table, thinking_end: str | None) -> pa.Table:
    """Return traces with where their reasoning ends and their response begins, behind their texts."""
    reasoning: list[int | None] = []
    response: list[int | None] = []
    for text in table.column("text").to_pylist():
        at = -1 if text is None or thinking_end is None else text.find(thinking_end)
        if text is None:
            at, begin = None, None
        elif thinking_end is None:
            at, begin = None, 0
        else:
            at, begin = (len(text), None) if at < 0 else (at, at + len(thinking_end))
        reasoning.append(at)
        response.append(begin)
    place = table.column_names.index("text") + 1
    table = table.add_column(place, "reasoning_chars", pa.array(reasoning, pa.int32()))
    return table.add_column(place + 1, "response_start", pa.array(response, pa.int32()))


@dataclass(frozen=True)
class Size:
    """The size of a finished problem."""

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
