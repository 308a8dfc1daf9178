"""Turn problem sets of other shapes into ours. Owns the reading of CSV and JSON lines; writes nothing."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.csv

from pruner.columns import limited, plain_column, plain_table, read_parquet
from pruner.errors import InputError, first_line
from pruner.problems import REQUIRED, check_rows
from pruner.settings.section import FilePath, Section, Seed, local_path, parse_as, text_fault
from pruner.traces import hash64

# A row must fit into a block.
_CSV_BLOCK = 1 << 26
LETTERS = "ABCD"
GPQA_COLUMNS = (
    "Question",
    "Correct Answer",
    "Incorrect Answer 1",
    "Incorrect Answer 2",
    "Incorrect Answer 3",
)


class ColumnsConfig(Section):
    """The source's columns; null ids are made from file name and row, a null answer column means no gold answers."""

    problem_id: str | None
    question: str
    answer: str | None


class ImportConfig(Section):
    source: FilePath
    target: FilePath
    format: Literal["columns", "gpqa"]
    columns: ColumnsConfig
    answer_pattern: str | None
    seed: Seed
    keep: bool


@dataclass(frozen=True)
class Options:
    """A multiple-choice question with its options in order, and the letter of the right one."""

    text: str
    letter: str


def parse_import(values: Mapping[str, Any]) -> ImportConfig:
    """Return the typed config. Raises InputError with one line per fault."""
    config = parse_as(ImportConfig, values)
    try:
        groups = 1 if config.answer_pattern is None else re.compile(config.answer_pattern).groups
    except re.error as error:
        raise InputError(f"answer_pattern: {config.answer_pattern!r} is no regular expression ({error}).") from None
    if groups != 1:
        raise InputError(f"answer_pattern: got {config.answer_pattern!r}, expected exactly one group.")
    return config


def import_table(config: ImportConfig) -> pa.Table:
    """Read the source and return it in our shape.

    Raises:
        InputError: with all faults, each with its row.
    """
    source = read_source(local_path(config.source))
    if source.num_rows == 0:
        raise InputError(f"{config.source}: has no rows.")
    table = from_gpqa(source, config) if config.format == "gpqa" else from_columns(source, config)
    columns = (table.column(name).to_pylist() for name in REQUIRED)
    if faults := check_rows(*columns):
        raise InputError([f"{config.source}: {fault}" for fault in limited(faults)])
    return table


def read_source(path: Path) -> pa.Table:
    """Read a file by its ending. Raises InputError: none such, unreadable, or an unknown ending."""
    what = f"source {path}"
    if not path.exists():
        raise InputError(f"{what}: no such file.")
    if not path.is_file():
        raise InputError(f"{what}: got a folder or device, expected a file.")
    if path.suffix == ".parquet":
        return read_parquet(path, what)
    try:
        if path.suffix in (".csv", ".tsv"):
            delimiter = "\t" if path.suffix == ".tsv" else ","
            return _read_csv(path, pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True))
        if path.suffix in (".jsonl", ".json", ".ndjson"):
            return _read_json_lines(path)
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{what}: unreadable ({first_line(error)}).") from None
    raise InputError(f"{what}: got ending {path.suffix!r}, expected .csv, .tsv, .jsonl, .json or .parquet.")


def _read_csv(path: Path, options: pyarrow.csv.ParseOptions) -> pa.Table:
    """Read all columns as text, so that ids like 007 and answers like 1.50 stay as they are; an empty field is null."""
    with pyarrow.csv.open_csv(path, parse_options=options) as reader:
        names = reader.schema.names
    if len(set(names)) < len(names):
        raise InputError(f"source {path}: has columns of the same name: {names}.")
    convert = pyarrow.csv.ConvertOptions(
        column_types={name: pa.string() for name in names},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
        check_utf8=False,  # checked below, where the row is known
    )
    read = pyarrow.csv.ReadOptions(block_size=_CSV_BLOCK)
    return plain_table(
        pyarrow.csv.read_csv(path, read_options=read, parse_options=options, convert_options=convert), f"source {path}"
    )


def _read_json_lines(path: Path) -> pa.Table:
    """Read an object a line; a column of mixed types becomes text. Lines end at LF only: a text may hold any other
    line separator of Unicode."""
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n")):
        try:
            row = json.loads(line) if line.strip() else None
        except UnicodeDecodeError:
            raise InputError(f"source {path}: line {number + 1} is not valid UTF-8.") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"source {path}: unreadable line {number + 1} ({first_line(error)}).") from None
        if row is None:
            continue
        if not isinstance(row, dict):
            raise InputError(
                f"source {path}: expected a JSON object in every line, got {type(row).__name__} in line {number + 1}."
            )
        if any(text_fault(text) for text in _texts_in(row)):
            raise InputError(f"source {path}: line {number + 1} holds text that is not valid Unicode.")
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: _json_column([row.get(name) for row in rows]) for name in names})
    return plain_table(table, f"source {path}")


def _texts_in(value: Any) -> Iterator[str]:
    """Yield all texts of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts_in(item)


def _json_column(values: list[Any]) -> pa.Array:
    try:
        found = pa.array(values)
        plain_column(pa.chunked_array([found]))
        return found
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return pa.array([v if v is None or isinstance(v, str) else json.dumps(v) for v in values], pa.string())


def from_columns(source: pa.Table, config: ImportConfig) -> pa.Table:
    """Map columns by name."""
    names = config.columns
    wanted = [name for name in (names.problem_id, names.question, names.answer) if name is not None]
    if missing := [name for name in wanted if name not in source.column_names]:
        raise InputError(f"{config.source}: got columns {source.column_names}, missing {missing}. Set columns.*=...")
    questions = _texts(source, names.question)
    answers = [None] * source.num_rows if names.answer is None else _texts(source, names.answer)
    if config.answer_pattern is not None:
        answers = [_last_match(config.answer_pattern, answer) for answer in answers]
    return _table(source, config, questions, answers, used=wanted)


def from_gpqa(source: pa.Table, config: ImportConfig) -> pa.Table:
    """Lay out GPQA's four options in an order drawn by the seed and the question; the answer is a letter."""
    if missing := [name for name in GPQA_COLUMNS if name not in source.column_names]:
        raise InputError(f"{config.source}: got columns {source.column_names}, missing {missing}. Is this a GPQA CSV?")
    columns = [_texts(source, name) for name in GPQA_COLUMNS]
    faults, laid_out = [], []
    for row, values in enumerate(zip(*columns, strict=True)):
        empty = [name for name, value in zip(GPQA_COLUMNS, values, strict=True) if not value or not value.strip()]
        if empty:
            faults.append(f"{config.source}: row {row}: {empty} empty.")
        else:
            laid_out.append(shuffle_options(str(values[0]), [str(value) for value in values[1:]], config.seed))
    if faults:
        raise InputError(limited(faults))
    return _table(source, config, [o.text for o in laid_out], [o.letter for o in laid_out], used=list(GPQA_COLUMNS))


def shuffle_options(question: str, options: Sequence[str], seed: int) -> Options:
    """Return the question with its options under letters, the first given one being right."""
    order = sorted(range(len(options)), key=lambda i: (hash64(seed, "option", question, i), i))
    lines = [f"{LETTERS[place]}) {options[i].strip()}" for place, i in enumerate(order)]
    return Options(question.strip() + "\n\n" + "\n".join(lines), LETTERS[order.index(0)])


def _table(
    source: pa.Table,
    config: ImportConfig,
    questions: Sequence[str | None],
    answers: Sequence[str | None],
    used: list[str],
) -> pa.Table:
    id_column = config.columns.problem_id
    if id_column is not None and id_column not in source.column_names:
        raise InputError(f"{config.source}: has no column {id_column!r}. Set columns.problem_id.")
    stem = Path(config.source).stem
    ids = [f"{stem}-{row}" for row in range(source.num_rows)] if id_column is None else _texts(source, id_column)
    table = pa.table(
        {
            "problem_id": pa.array(ids, pa.string()),
            "question": pa.array(questions, pa.string()),
            "answer": pa.array([a.strip() if a else None for a in answers], pa.string()),
        }
    )
    if config.keep:
        for name in source.column_names:
            if name not in (*used, id_column) and name not in table.column_names:
                table = table.append_column(name, source.column(name))
    return table


def _texts(table: pa.Table, name: str) -> list[str | None]:
    """Return a column's values as they would be written; what is no number (NaN) is none."""
    return [None if value is None or value != value else str(value) for value in table.column(name).to_pylist()]


def _last_match(pattern: str, answer: str | None) -> str | None:
    found = re.findall(pattern, answer or "")
    return found[-1] if found else None
