"""Tables as they come from outside: Parquet, Arrow, CSV and JSON lines, and sets of the `datasets` library. All are made plain (columns.py).

Owns CSV, JSON lines, Arrow files and `datasets`; knows nothing of what columns mean.
"""

from __future__ import annotations

import codecs
import json
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather

from pruner.errors import InputError, first_line
from pruner.problems.columns import check_file, check_names_differ, plain_column, plain_table, read_parquet
from pruner.settings.section import local_path

# A row must fit into a block.
_CSV_BLOCK = 1 << 26
_DATASETS, _HUB = "datasets:", "hf://"


def source_stem(source: str) -> str:
    """Return a short name: of a file, without its folders and ending; of a set, without owner, configuration and split."""
    return PurePath(source.removeprefix(_DATASETS).partition(":")[0] if source.startswith(_DATASETS) else source).stem


def read_source(source: str, what: str) -> pa.Table:
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
    return _read_file(local_path(source), what)


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
        splits = datasets.load_dataset(name, config, data_files=file)
        if split is None and len(splits) > 1:
            address = ":".join([name, *([config] if config else []), min(splits)])
            raise InputError(f"{what}: has the splits {sorted(splits)}. Name one: datasets:{address}")
        chosen = split or next(iter(splits))
        if chosen not in splits:
            raise InputError(f"{what}: has no split {chosen}, only {sorted(splits)}.")
        table = splits[chosen].with_format("arrow")[:]
    except InputError:
        raise
    except Exception as error:  # of many libraries: files, the hub, its cache
        is_offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
        offline = " The hub is not asked while HF_HUB_OFFLINE=1." if is_offline else ""
        raise InputError(f"{what}: cannot be loaded ({first_line(error)}).{offline}") from None
    return plain_table(table, what)


def _read_file(path: Path, what: str) -> pa.Table:
    """Read a file by its ending. Raises InputError: none such, unreadable, or an unknown ending."""
    if re.fullmatch(r"[\w-]+/[\w.-]+", str(path)) and path.suffix not in (".parquet", *_READERS) and not path.exists():
        raise InputError(f"{what}: no such file. A set of the Hugging Face hub is hf://datasets/{path}.")
    check_file(path, what)
    if path.suffix == ".parquet" or _begins_as_parquet(path):
        return read_parquet(path, what)
    if path.suffix not in _READERS:
        raise InputError(f"{what}: got ending {path.suffix!r}, expected {', '.join(['.parquet', *_READERS])}.")
    try:
        return plain_table(_READERS[path.suffix](path, what), what)
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{what}: unreadable ({first_line(error)}).") from None


def _begins_as_parquet(path: Path) -> bool:
    """Return whether a file is Parquet whatever it is called."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError:
        return False


def _read_csv(path: Path, what: str) -> pa.Table:
    """Read all columns as text, so that ids like 007 and answers like 1.50 stay as they are; an empty field is null."""
    delimiter = "\t" if path.suffix == ".tsv" else ","
    options = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    with pyarrow.csv.open_csv(path, parse_options=options) as reader:
        names = reader.schema.names
    check_names_differ(names, what)
    convert = pyarrow.csv.ConvertOptions(
        column_types={name: pa.string() for name in names},
        null_values=[""],
        strings_can_be_null=True,
        check_utf8=False,  # plain_table checks it, and knows the row
    )
    read = pyarrow.csv.ReadOptions(block_size=_CSV_BLOCK)
    return pyarrow.csv.read_csv(path, read_options=read, parse_options=options, convert_options=convert)


def _read_arrow(path: Path, what: str) -> pa.Table:
    """Read an Arrow file, or a stream as `datasets` writes them."""
    try:
        return pyarrow.feather.read_table(path)
    except pa.ArrowInvalid:
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
            return stream.read_all()


def _read_json_lines(path: Path, what: str) -> pa.Table:
    """Read one object per line; a column of mixed types becomes text. Lines end at LF only: a text may hold any other
    line separator of Unicode. Python's reader keeps all digits of a number and makes no dates of texts."""
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        try:
            row = json.loads(line.decode()) if line.strip() else None
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeError:
            raise InputError(f"{what}: line {number} is not valid UTF-8.") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{what}: unreadable line {number} ({first_line(error)}).") from None
        if isinstance(row, dict):
            rows.append(row)
        elif row is not None:
            kind = type(row).__name__
            raise InputError(f"{what}: expected a JSON object in every line, got {kind} in line {number}.")
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _json_column([row.get(name) for row in rows]) for name in names})


def _json_column(values: list[Any]) -> pa.ChunkedArray:
    try:
        return plain_column(pa.chunked_array([pa.array(values)]))
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        made = [each if each is None or isinstance(each, str) else json.dumps(each) for each in values]
        return pa.chunked_array([pa.array(made, pa.string())])


_READERS: dict[str, Callable[[Path, str], pa.Table]] = {
    **dict.fromkeys((".jsonl", ".json", ".ndjson"), _read_json_lines),
    **dict.fromkeys((".csv", ".tsv"), _read_csv),
    **dict.fromkeys((".arrow", ".feather"), _read_arrow),
}
