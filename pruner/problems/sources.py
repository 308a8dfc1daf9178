"""Tables as they come from outside: Parquet, Arrow, CSV and JSON lines, and sets of the `datasets` library. All are made plain (columns.py).

Owns CSV, JSON lines, Arrow files and `datasets`; knows nothing of what columns mean.
"""

from __future__ import annotations

import codecs
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather

from pruner.errors import InputError, first_line
from pruner.problems.columns import plain_column, plain_table, read_parquet
from pruner.settings.section import local_path, path_fault, text_fault

# A row must fit into a block.
_CSV_BLOCK = 1 << 26
_DATASETS, _HUB = "datasets:", "hf://"
ENDINGS = ".parquet, .jsonl, .json, .ndjson, .csv, .tsv, .arrow or .feather"


def is_remote(source: str) -> bool:
    """Return whether the `datasets` library has to be asked for it."""
    return source.startswith((_DATASETS, _HUB))


def source_stem(source: str) -> str:
    """Return a short name: of a file, without its folders and ending; of a set, without owner, configuration and split."""
    return PurePath(source.removeprefix(_DATASETS).partition(":")[0] if source.startswith(_DATASETS) else source).stem


def read_any(source: str, what: str) -> pa.Table:
    """Read a file, `datasets:NAME[:CONFIG][:SPLIT]` or `hf://datasets/OWNER/NAME[/FILE]`.

    Args:
        what: names the source in messages.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    if source.startswith(_DATASETS):
        name, *rest = source.removeprefix(_DATASETS).split(":")
        if not name or len(rest) > 2 or not all(rest):
            raise InputError(f"{what}: expected datasets:NAME, datasets:NAME:SPLIT or datasets:NAME:CONFIG:SPLIT.")
        return _load_dataset(what, name, rest[0] if len(rest) == 2 else None, rest[-1] if rest else None)
    if source.startswith(_HUB):
        owner, _, inside = source.removeprefix(f"{_HUB}datasets/").partition("/")
        name, _, file = inside.partition("/")
        if not source.startswith(f"{_HUB}datasets/") or not owner or not name:
            raise InputError(f"{what}: expected hf://datasets/OWNER/NAME or hf://datasets/OWNER/NAME/FILE.")
        return _load_dataset(what, f"{owner}/{name}", None, None, file or None)
    return read_source(local_path(source), what)


def _load_dataset(what: str, name: str, config: str | None, split: str | None, file: str | None = None) -> pa.Table:
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"{what}: the package `datasets` is not installed. Run: .venv/bin/pip install datasets"
        ) from None
    datasets.disable_progress_bars()
    for name_of_logger in ("datasets", "huggingface_hub"):  # what they have to say is in the error
        logging.getLogger(name_of_logger).setLevel(logging.ERROR)
    try:
        found = datasets.load_dataset(name, config, data_files=file)
        if split is None and len(found) > 1:
            raise InputError(
                f"{what}: has the splits {sorted(found)}. Name one: datasets:{name}:{config + ':' if config else ''}{sorted(found)[0]}"
            )
        chosen = split or next(iter(found))
        if chosen not in found:
            raise InputError(f"{what}: has no split {chosen}, only {sorted(found)}.")
        table = found[chosen].with_format("arrow")[:]
    except InputError:
        raise
    except Exception as error:  # of many libraries: files, the hub, its cache
        offline = (
            " The hub is not asked while HF_HUB_OFFLINE=1."
            if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
            else ""
        )
        raise InputError(f"{what}: cannot be loaded ({first_line(error)}).{offline}") from None
    return plain_table(table, what)


def read_source(path: Path, what: str | None = None) -> pa.Table:
    """Read a file by its ending. Raises InputError: none such, unreadable, or an unknown ending."""
    what = what or f"source {path}"
    if fault := path_fault(str(path)):
        raise InputError(f"{what}: {fault}.")
    if not path.exists():
        raise InputError(f"{what}: no such file.")
    if not path.is_file():
        raise InputError(f"{what}: got a folder or device, expected a file.")
    if path.suffix == ".parquet" or _begins_as_parquet(path):
        return read_parquet(path, what)
    try:
        if path.suffix in (".csv", ".tsv"):
            delimiter = "\t" if path.suffix == ".tsv" else ","
            return _read_csv(path, pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True), what)
        if path.suffix in (".jsonl", ".json", ".ndjson"):
            return _read_json_lines(path, what)
        if path.suffix in (".arrow", ".feather"):
            return plain_table(_read_arrow(path), what)
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{what}: unreadable ({first_line(error)}).") from None
    raise InputError(f"{what}: got ending {path.suffix!r}, expected {ENDINGS}.")


def _begins_as_parquet(path: Path) -> bool:
    """Return whether a file is Parquet whatever it is called."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError:
        return False


def _read_csv(path: Path, options: pyarrow.csv.ParseOptions, what: str) -> pa.Table:
    """Read all columns as text, so that ids like 007 and answers like 1.50 stay as they are; an empty field is null."""
    with pyarrow.csv.open_csv(path, parse_options=options) as reader:
        names = reader.schema.names
    if len(set(names)) < len(names):
        raise InputError(f"{what}: has columns of the same name: {names}.")
    convert = pyarrow.csv.ConvertOptions(
        column_types={name: pa.string() for name in names},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
        check_utf8=False,  # checked below, where the row is known
    )
    read = pyarrow.csv.ReadOptions(block_size=_CSV_BLOCK)
    return plain_table(
        pyarrow.csv.read_csv(path, read_options=read, parse_options=options, convert_options=convert), what
    )


def _read_arrow(path: Path) -> pa.Table:
    """Read an Arrow file, or a stream as `datasets` writes them."""
    try:
        return pyarrow.feather.read_table(path)
    except pa.ArrowInvalid:
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
            return stream.read_all()


def _read_json_lines(path: Path, what: str) -> pa.Table:
    """Read an object a line; a column of mixed types becomes text. Lines end at LF only: a text may hold any other
    line separator of Unicode."""
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n")):
        try:
            row = json.loads(line) if line.strip() else None
        except UnicodeDecodeError:
            raise InputError(f"{what}: line {number + 1} is not valid UTF-8.") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{what}: unreadable line {number + 1} ({first_line(error)}).") from None
        if row is None:
            continue
        if not isinstance(row, dict):
            raise InputError(
                f"{what}: expected a JSON object in every line, got {type(row).__name__} in line {number + 1}."
            )
        if any(text_fault(text) for text in _texts_in(row)):
            raise InputError(f"{what}: line {number + 1} holds text that is not valid Unicode.")
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: _json_column([row.get(name) for row in rows]) for name in names})
    return plain_table(table, what)


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
