"""Labelled pairs as Parquet files: made from recorded traces, and read again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pruner.answers import cached_key, extract_answer
from pruner.errors import InputError, first_line
from pruner.learning.config import PairsConfig, RecordedColumns
from pruner.learning.pairs import LabelledPair, Recorded, folds_by_problem, label_pairs
from pruner.problems.columns import TEXT, limited, matching, read_parquet, typed_table
from pruner.prompts import load_tokenizer, token_ends
from pruner.results.run_tables import TRACE_COLUMNS, large_texts, read_finished
from pruner.rules.prefix import AnyPrefix
from pruner.settings.section import MAX_COUNT, Section, local_path, target_path
from pruner.system.files import write_atomically

PAIRS = pa.schema(
    [
        ("problem_id", pa.string()),
        ("question", pa.string()),
        ("left_trace", pa.int32()),
        ("right_trace", pa.int32()),
        ("left", pa.string()),
        ("right", pa.string()),
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
_MADE_WITH = b"pruner_pairs"
# From a text to its tokens' ids and, for each, the character behind it.
Encode = Callable[[str], tuple[tuple[int, ...], tuple[int, ...]]]


@dataclass(frozen=True)
class PairSet:
    """Labelled pairs as they were written.

    Attributes:
        prefix: the truncation of their prefixes.
        made_with: everything that they were made from, a hash of the traces included.
    """

    pairs: tuple[LabelledPair, ...]
    prefix: AnyPrefix
    made_with: dict[str, Any]


def build_pairs(config: PairsConfig) -> None:
    """Write the file of pairs, if it is not there already; print what is in it.

    Raises:
        InputError: the traces cannot be read, or give no pair.
    """
    target = target_path(config.target)
    table = read_traces(config)
    identity = pairs_identity(config, table)
    if written_identity(target) == identity:
        print(f"nothing to do: {config.target} holds these pairs")
        return
    tokenizer = load_tokenizer(config.tokenizer, None, False)
    folds = folds_by_problem(table.column("problem_id").to_pylist(), config.folds, config.seed)
    pairs: list[LabelledPair] = []
    for traces in traces_by_problem(table, config.patterns, lambda text: token_ends(tokenizer, text)):
        fold = folds[traces[0].problem_id]
        pairs += label_pairs(traces, config, lambda answer: cached_key(answer, config.answers), fold)
    if not pairs:
        raise InputError(f"source {config.source}: no two traces of a problem have answers and complete prefixes.")
    write_pairs(pairs, target, identity)
    same = sum(pair.label for pair in pairs)
    mixed = {pair.problem_id for pair in pairs if pair.label} & {pair.problem_id for pair in pairs if not pair.label}
    print(
        f"{len(pairs):,} pairs of {len({pair.problem_id for pair in pairs})} problems in {config.target}: "
        f"{same / len(pairs):.1%} agree, {len(mixed)} problems have both kinds"
    )


def pairs_identity(config: PairsConfig, source: pa.Table) -> str:
    """Return everything that the pairs are a function of: the config, but for where it writes, and the traces."""
    digest = blake2b(digest_size=16)
    for name in source.column_names:
        for value in source.column(name).to_pylist():
            digest.update(repr(value).encode())
    values = config.model_dump(mode="json", exclude={"source", "target"})
    return json.dumps(values | {"traces": digest.hexdigest()}, sort_keys=True)


def read_traces(config: PairsConfig) -> pa.Table:
    """Return recorded traces with the columns TRACE_COLUMNS, by problem and index.

    Raises:
        InputError: with all faults.
    """
    path = local_path(config.source)
    table = read_finished(path) if path.is_dir() else _read_recorded(path, config.columns)
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
    rows = (row for batch in table.to_batches(max_chunksize=1024) for row in batch.to_pylist())
    for _, group in groupby(rows, key=itemgetter("problem_id")):
        yield [_recorded(row, patterns, encode) for row in group]


def _recorded(row: dict[str, Any], patterns: tuple[str, ...], encode: Encode) -> Recorded:
    ids, ends = encode(row["text"])
    answer = extract_answer(row["text"], patterns) if row["answer"] is None else row["answer"]
    own = {"question": row["question"] or "", "answer": answer, "token_ids": ids, "token_ends": ends}
    return Recorded(**{**row, **own})


def _read_recorded(path: Path, columns: RecordedColumns) -> pa.Table:
    wanted = {name: column for name, column in columns.model_dump().items() if column is not None}
    table = read_parquet(path, f"source {path}", list(wanted.values()))
    if missing := [column for column in wanted.values() if column not in table.column_names]:
        raise InputError(f"source {path}: got columns {table.column_names}, missing {missing}. Set columns.*=...")
    kinds: dict[str, pa.DataType | tuple[int, int]] = dict.fromkeys(wanted.values(), TEXT)
    table = typed_table(table, kinds | {columns.trace_index: (0, MAX_COUNT)}, f"source {path}")
    absent = {"answer": None, "problem_set": path.stem, "model": ""}
    return large_texts(
        pa.table(
            {
                name: table.column(wanted[name])
                if name in wanted
                else pa.array([absent[name]] * table.num_rows, pa.string())
                for name in TRACE_COLUMNS
            }
        )
    )


def write_pairs(pairs: Iterable[LabelledPair], target: Path, identity: str) -> None:
    """Write pairs, whole or not at all."""
    table = pa.Table.from_pylist([asdict(pair) for pair in pairs], schema=PAIRS)
    table = table.replace_schema_metadata({_MADE_WITH: identity.encode()})
    write_atomically(target, lambda path: pq.write_table(table, path))


def written_identity(target: Path) -> str | None:
    """Return what an existing file of pairs was made from; None if there is none or it is no such file."""
    try:
        metadata = pq.read_schema(target).metadata or {}
    except (OSError, ValueError, pa.ArrowException):
        return None
    return metadata.get(_MADE_WITH, b"").decode(errors="replace") or None


def read_pairs(path: Path) -> PairSet:
    """Return a file of pairs.

    Raises:
        InputError: it is none that jobs.build_pairs wrote.
    """
    identity = written_identity(path)
    if identity is None:
        there = "holds no labelled pairs" if path.exists() else "no such file"
        raise InputError(f"pairs {path}: {there}. Make them with `python -m jobs.build_pairs target={path} ...`.")
    rows = matching(read_parquet(path, f"pairs {path}"), PAIRS, PAIRS.names, f"pairs {path}")
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
