"""Read recorded traces and write labelled pairs, as Parquet. Knows no model; tokens come from a function."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from pruner.answers import extract_answer
from pruner.errors import InputError, first_line
from pruner.learning.pairs import LabelledPair, Recorded
from pruner.problems.columns import TEXT, limited, matching, read_parquet, typed_table
from pruner.problems.problem_set import KindName
from pruner.results.run_tables import TRACE_COLUMNS, _read_run, large_texts
from pruner.rules.prefix import AnyPrefix
from pruner.settings.section import MAX_COUNT, FilePath, Folds, Positive, Section, Seed, local_path
from pruner.system.files import write_atomically

Encode = Callable[[str], tuple[tuple[int, ...], tuple[int, ...]]]

PAIRS = pa.schema(
    [
        ("problem_id", pa.string()),
        ("question", pa.dictionary(pa.int32(), pa.string())),
        ("left_trace", pa.int32()),
        ("right_trace", pa.int32()),
        ("left", pa.dictionary(pa.int32(), pa.string())),
        ("right", pa.dictionary(pa.int32(), pa.string())),
        ("left_tokens", pa.int32()),
        ("right_tokens", pa.int32()),
        ("left_answer", pa.string()),
        ("right_answer", pa.string()),
        ("label", pa.int8()),
        ("fold", pa.int16()),
        ("problem_set", pa.string()),
        ("model", pa.string()),
    ]
)
# Texts are stored as dictionaries and read as strings.
_PLAIN_PAIRS = pa.schema(
    [(field.name, pa.string() if pa.types.is_dictionary(field.type) else field.type) for field in PAIRS]
)
_MADE_WITH = b"pruner_pairs"


class RecordedColumns(Section):
    """The columns of a Parquet of recorded traces; answer null reads the answers out of the texts. Sets and models are only
    distinguished in tables: null takes the file's name for the set."""

    problem_id: str
    question: str
    trace_index: str
    text: str
    answer: str | None
    problem_set: str | None = None
    model: str | None = None


class _FixedTokens(Section):
    prefix_tokens: Positive


class PairsConfig(Section):
    """What pairs are built from and how; see conf/build_pairs.yaml."""

    source: FilePath
    target: FilePath
    columns: RecordedColumns
    answers: KindName
    patterns: tuple[str, ...]
    tokenizer: str
    segment_tokens: Positive
    traces_per_problem: Annotated[int, Field(ge=2, le=MAX_COUNT)] | None
    pairs_per_problem: Positive | None
    folds: Folds
    seed: Seed
    prefix: AnyPrefix
    model: _FixedTokens


def pairs_identity(config: PairsConfig, source: pa.Table) -> str:
    """Return everything that the pairs are a function of: the config, but for where it writes, and the traces."""
    digest = blake2b(digest_size=16)
    for name in source.column_names:
        for value in source.column(name).to_pylist():
            digest.update(repr(value).encode())
    values = config.model_dump(mode="json", exclude={"source", "target"})
    return json.dumps(values | {"traces": digest.hexdigest()}, sort_keys=True)


def read_traces(config: PairsConfig) -> pa.Table:
    """Return recorded traces as problem_id, question, trace_index, text, answer, by problem and index.

    Raises:
        InputError: with all faults.
    """
    path = local_path(config.source)
    table = _read_run(path) if path.is_dir() else _read_recorded(path, config.columns)
    ids, indexes, texts = (table.column(name).to_pylist() for name in ("problem_id", "trace_index", "text"))
    faults, seen = [], set()
    for row, (problem_id, index, text) in enumerate(zip(ids, indexes, texts, strict=True)):
        if problem_id is None or index is None or text is None:
            faults.append(f"row {row}: problem_id, trace_index or text is null.")
        elif (problem_id, index) in seen:
            faults.append(f"row {row}: problem {problem_id!r} has trace {index} already.")
        seen.add((problem_id, index))
    if faults:
        raise InputError([f"traces {config.source}: {fault}" for fault in limited(faults)])
    return table.sort_by([("problem_id", "ascending"), ("trace_index", "ascending")])


def traces_by_problem(table: pa.Table, patterns: tuple[str, ...], encode: Encode) -> Iterator[list[Recorded]]:
    """Yield the traces of one problem after the other. An answer that was not recorded is read out of the text."""
    group: list[Recorded] = []
    for batch in table.to_batches(max_chunksize=1024):
        for row in batch.to_pylist():
            if group and group[0].problem_id != row["problem_id"]:
                yield group
                group = []
            ids, ends = encode(row["text"])
            answer = row["answer"] if row["answer"] is not None else extract_answer(row["text"], patterns)
            group.append(
                Recorded(
                    problem_id=row["problem_id"],
                    trace_index=row["trace_index"],
                    question=row["question"] or "",
                    text=row["text"],
                    answer=answer,
                    token_ids=ids,
                    token_ends=ends,
                    problem_set=row["problem_set"],
                    model=row["model"],
                )
            )
    if group:
        yield group


def written_identity(target: Path) -> str | None:
    """Return what an existing file of pairs was made from; None if there is none or it is no such file."""
    try:
        metadata = pq.read_schema(target).metadata or {}
    except (OSError, ValueError, pa.ArrowException):
        return None
    return metadata.get(_MADE_WITH, b"").decode(errors="replace") or None


def write_pairs(pairs: Iterable[LabelledPair], target: Path, identity: str) -> int:
    """Write pairs atomically; return how many."""
    table = pa.Table.from_pylist([asdict(pair) for pair in pairs], schema=PAIRS)
    table = table.replace_schema_metadata({_MADE_WITH: identity.encode()})
    write_atomically(target, lambda path: pq.write_table(table, path))
    return table.num_rows


def _read_recorded(path: Path, columns: RecordedColumns) -> pa.Table:
    wanted = {name: column for name, column in columns.model_dump().items() if column is not None}
    table = read_parquet(path, f"source {path}", list(wanted.values()))
    if missing := [column for column in wanted.values() if column not in table.column_names]:
        raise InputError(f"source {path}: got columns {table.column_names}, missing {missing}. Set columns.*=...")
    kinds: dict[str, pa.DataType | tuple[int, int]] = dict.fromkeys(wanted.values(), TEXT)
    table = typed_table(table, kinds | {columns.trace_index: (0, MAX_COUNT)}, f"source {path}")
    absent = {"answer": pa.nulls(table.num_rows, pa.string()), "problem_set": path.stem, "model": ""}
    columns_of = {
        name: table.column(wanted[name]) if name in wanted else _filled(absent[name], table.num_rows)
        for name in TRACE_COLUMNS
    }
    return large_texts(pa.table(columns_of))


def _filled(value: pa.Array | str, num_rows: int) -> pa.Array:
    return pa.array([value] * num_rows, pa.string()) if isinstance(value, str) else value


@dataclass(frozen=True)
class PairSet:
    """Labelled pairs as they were written.

    Attributes:
        prefix: the truncation of their prefixes.
        made_with: what they were made from, a hash of the traces included.
    """

    pairs: tuple[LabelledPair, ...]
    prefix: AnyPrefix
    made_with: dict[str, Any]


def read_pairs(path: Path) -> PairSet:
    """Return a file of pairs.

    Raises:
        InputError: it is none that jobs.build_pairs wrote.
    """
    identity = written_identity(path)
    if identity is None:
        there = "holds no labelled pairs" if path.exists() else "no such file"
        raise InputError(f"pairs {path}: {there}. Make them with `python -m jobs.build_pairs target={path} ...`.")
    rows = matching(read_parquet(path, f"pairs {path}"), _PLAIN_PAIRS, PAIRS.names, f"pairs {path}")
    try:
        made_with = json.loads(identity)
        prefix = _WrittenPrefix.model_validate_json(json.dumps({"prefix": made_with["prefix"]})).prefix
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"pairs {path}: its metadata cannot be read ({first_line(error)}). Build it again.") from None
    pairs = tuple(LabelledPair(**row) for row in rows.select(PAIRS.names).to_pylist())
    return PairSet(pairs, prefix, made_with)


def read_pair_sets(paths: Sequence[str]) -> PairSet:
    """Return the pairs of several files as one set.

    Raises:
        InputError: their prefixes were cut differently.
    """
    sets = [read_pairs(local_path(path)) for path in paths]
    if other := [path for path, each in zip(paths, sets, strict=True) if each.prefix != sets[0].prefix]:
        raise InputError(f"pairs {other[0]}: its prefixes are cut in another way than those of {paths[0]}.")
    pairs = tuple(pair for each in sets for pair in each.pairs)
    return PairSet(pairs, sets[0].prefix, {path: each.made_with for path, each in zip(paths, sets, strict=True)})


class _WrittenPrefix(Section):
    prefix: AnyPrefix
