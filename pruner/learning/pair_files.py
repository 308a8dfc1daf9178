"""Labelled pairs as Parquet files: made from recorded traces, and read again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pruner.answers import cached_key
from pruner.errors import InputError, first_line
from pruner.learning.config import PairsConfig
from pruner.learning.pairs import (
    LabelledPair,
    PairSource,
    PrefixedTrace,
    folds_by_problem,
    label_pairs,
    recorded_prefix,
)
from pruner.problems.columns import matching, read_parquet
from pruner.prompts import load_tokenizer, token_ends
from pruner.recordings.recording import Recording, read_recording
from pruner.rules.prefix import AnyPrefix
from pruner.settings.section import Section, local_path, target_path
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
    try:
        recording = read_recording(config.source, config.columns)
    except InputError as error:
        raise InputError([fault.replace("sampler.", "") for fault in error.faults]) from None
    if not recording.has_text:
        raise InputError(f"source {config.source}: its traces have no text. Run it with results.text=true.")
    made_with = config.model_dump(mode="json", exclude={"source", "target"}) | {"traces": recording.fingerprint}
    identity = json.dumps(made_with, sort_keys=True)
    if written_identity(target) == identity:
        print(f"nothing to do: {config.target} holds these pairs")
        return
    tokenizer = load_tokenizer(config.tokenizer, None, False)
    pairs = recorded_pairs(config, recording, lambda text: token_ends(tokenizer, text))
    if not pairs:
        raise InputError(f"source {config.source}: no two traces of a problem have answers and complete prefixes.")
    write_pairs(pairs, target, identity)
    same = sum(pair.label for pair in pairs)
    mixed = {pair.problem_id for pair in pairs if pair.label} & {pair.problem_id for pair in pairs if not pair.label}
    print(
        f"{len(pairs):,} pairs of {len({pair.problem_id for pair in pairs})} problems in {config.target}: "
        f"{same / len(pairs):.1%} agree, {len(mixed)} problems have both kinds"
    )


def recorded_pairs(config: PairsConfig, recording: Recording, encode: Encode) -> list[LabelledPair]:
    """Return the labelled pairs of a recording, by problem and trace indexes. encode: a text's tokens."""
    truncation = config.prefix.make()
    folds = folds_by_problem(recording.problems, config.folds, config.seed)
    pairs: list[LabelledPair] = []
    for name, recorded in sorted(recording.problems.items()):
        traces = []
        for index, trace in sorted(recorded.traces.items()):
            if trace.finish_reason is None or trace.answer is None:
                continue
            prefix = recorded_prefix(trace.text, *encode(trace.text), truncation, config.segment_tokens)
            if prefix is not None:
                traces.append(PrefixedTrace(index, prefix, trace.answer, cached_key(trace.answer, config.answers)))
        source = PairSource(
            name, recorded.problem.question, folds[name], local_path(config.source).stem, recording.model
        )
        pairs += label_pairs(source, traces, config)
    return pairs


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
