"""Recorded traces, read from a Parquet file or the folder of a run. Knows nothing of how a run replays them."""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pruner.errors import InputError
from pruner.problems.columns import IDS, NUMBERS, TEXT, TEXTS, limited, read_parquet, typed_table
from pruner.records.schemas import ANSWERS, ANSWERS_ADDED
from pruner.records.traces import PairKey, Probe, ProbeKey, Problem, TokenIds, Verdict
from pruner.results.run_tables import cuts_of, read_tables
from pruner.settings.section import MAX_COUNT, Section, local_path
from pruner.system.files import files_fingerprint

# What is read of an earlier run's tables; text, tokens and confidences as far as they are there.
_COLUMNS = {
    "answers": ("problem_id", "problem_index", "status", "question", "gold", "tokens_prompt", "model"),
    "traces": (
        *("problem_id", "trace_index", "status", "tokens_sampled", "finish_reason", "answer"),
        *("segment_tokens", "segment_chars"),
    ),
    "probes": (
        *("problem_id", "trace_index", "num_tokens", "output_tokens", "token_ids", "text", "answer"),
        *("prompt_tokens", "shared_tokens"),
    ),
    "verdicts": ("problem_id", "left_trace", "right_trace", "score", "prompt_tokens", "head_tokens", "output_tokens"),
}
_OPTIONAL = ("text", "token_ids", "confidence")
# Rows that are held as Python values at once.
_BATCH_ROWS = 64


class ReplayColumns(Section):
    """The columns of a Parquet of recorded traces; all but problem_id, gold_answer, trace_index, num_tokens and answer may be
    missing there. probes: the answers that the trace gave when asked after every probe_every tokens."""

    problem_id: str = "problem_id"
    question: str = "question"
    gold_answer: str = "gold_answer"
    trace_index: str = "trace_index"
    num_tokens: str = "num_tokens"
    answer: str = "answer"
    finish_reason: str = "finish_reason"
    text: str = "text"
    token_ids: str = "token_ids"
    confidence: str = "confidence"
    probes: str = "probes"
    probe_every: str = "probe_every"
    model: str = "model"


@dataclass(frozen=True, slots=True)
class RecordedTrace:
    """A trace as it was recorded.

    Attributes:
        finish_reason: None if it was pruned: what it would have become is not known.
        token_ids, confidence: one each a token, or none.
        segment_tokens, segment_chars: of the pieces whose tokens and characters are known to match.
        probes: (tokens of the trace, the answer it was made to give then), by tokens.
    """

    trace_index: int
    num_tokens: int
    finish_reason: str | None
    answer: str | None
    text: str = ""
    token_ids: Sequence[int] = ()
    confidence: Sequence[float] = ()
    segment_tokens: tuple[int, ...] = ()
    segment_chars: tuple[int, ...] = ()
    probes: tuple[tuple[int, str | None], ...] = ()

    def char(self, num_tokens: int) -> int:
        """Return how many characters the first tokens have: exact at the ends of recorded segments, in proportion between."""
        tokens, chars = 0, 0
        for more_tokens, more_chars in zip(self.segment_tokens, self.segment_chars, strict=True):
            if num_tokens < tokens + more_tokens:
                return chars + more_chars * (num_tokens - tokens) // more_tokens
            tokens, chars = tokens + more_tokens, chars + more_chars
        return chars

    def probe_at(self, num_tokens: int) -> tuple[int, str | None] | None:
        """Return the last probe that was recorded up to there."""
        return next((probe for probe in reversed(self.probes) if probe[0] <= num_tokens), None)


@dataclass(frozen=True)
class RecordedProblem:
    """A problem and its traces, by index. prompt_tokens: 0 where they are not known."""

    problem: Problem
    traces: Mapping[int, RecordedTrace]
    prompt_tokens: int = 0


@dataclass(frozen=True)
class Recording:
    """Everything that was recorded.

    Attributes:
        problems: by problem id, in the order of the recording.
        probes, verdicts: the judge's, of an earlier run; probes of a plain Parquet are in its traces.
        carried: the question and further columns, one row per problem.
        segment_tokens, align_tokens, cache_block_tokens: how the earlier run cut its traces, and of its prefix cache; None: not known.
        typical_tokens: of a trace of the earlier run's model; None: not known.
        model: whose traces they are.
        fingerprint: of all that.
    """

    problems: Mapping[str, RecordedProblem]
    carried: pa.Table
    model: str
    fingerprint: str
    segment_tokens: int | None = None
    cache_block_tokens: int | None = None
    align_tokens: int | None = None
    typical_tokens: int | None = None
    probes: Mapping[ProbeKey, Probe] = field(default_factory=dict)
    verdicts: Mapping[PairKey, Verdict] = field(default_factory=dict)

    @property
    def traces(self) -> list[RecordedTrace]:
        return [trace for each in self.problems.values() for trace in each.traces.values()]

    @property
    def has_text(self) -> bool:
        return any(trace.text for trace in self.traces)


def read_recording(source: str, columns: ReplayColumns, no_answer: Sequence[str] = ()) -> Recording:
    """Read an earlier run's folder or a Parquet of recorded traces.

    Args:
        columns, no_answer: of a Parquet; no_answer are the answers that stand for none.

    Raises:
        InputError: with all faults.
    """
    path = local_path(source)
    if not path.exists():
        raise InputError(f"sampler.source: got {source!r}, expected a run's folder or a Parquet of traces.")
    return _read_run(path) if path.is_dir() else _read_parquet(path, columns, no_answer)


def _read_parquet(path: Path, columns: ReplayColumns, no_answer: Sequence[str]) -> Recording:
    names: dict[str, str] = columns.model_dump()
    table = read_parquet(path, f"traces {path}", list(names.values()))
    if missing := [
        names[name]
        for name in ("problem_id", "gold_answer", "trace_index", "num_tokens", "answer")
        if names[name] not in table.column_names
    ]:
        raise InputError(
            f"traces {path}: got columns {table.column_names}, missing {missing}. Set sampler.columns.*=..."
        )
    present = {name: column for name, column in names.items() if column in table.column_names}
    table = typed_table(table, {column: _KINDS[name] for name, column in present.items()}, f"traces {path}")
    rows = list(_rows(pa.table({name: table.column(column) for name, column in present.items()})))
    if not rows:
        raise InputError(f"traces {path}: holds no traces.")
    if faults := list(_faults(rows)):
        raise InputError([f"traces {path}: {fault}" for fault in limited(faults)])
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["problem_id"], []).append(row)
    problems = {
        name: RecordedProblem(
            Problem(name, index, str(group[0].get("question") or ""), str(group[0]["gold_answer"]).strip()),
            {row["trace_index"]: _plain_trace(row, no_answer) for row in group},
        )
        for index, (name, group) in enumerate(grouped.items())
    }
    carried = pa.table({"question": [each.problem.question for each in problems.values()]})
    models = sorted({str(row["model"]) for row in rows if row.get("model")})
    return Recording(problems, carried, ", ".join(models) or path.stem, files_fingerprint([path]))


def _faults(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for every fault of a row."""
    seen: dict[tuple[Any, Any], int] = {}
    golds: dict[Any, Any] = {}
    for number, row in enumerate(rows):
        for name in ("problem_id", "trace_index", "num_tokens"):
            if row[name] is None:
                yield f"row {number}: {name} is null."
        problem_id, index, tokens, gold = (
            row[name] for name in ("problem_id", "trace_index", "num_tokens", "gold_answer")
        )
        if gold is None or not str(gold).strip():
            yield f"row {number}: gold_answer is missing."
        elif golds.setdefault(problem_id, gold) != gold:
            yield f"row {number}: gold_answer is {gold!r}, but {golds[problem_id]!r} in an earlier row of {problem_id!r}."
        if index is not None and (problem_id, index) in seen:
            yield f"row {number}: problem {problem_id!r} has trace {index} in row {seen[problem_id, index]} already."
        seen.setdefault((problem_id, index), number)
        if tokens is None:
            continue
        yield from (f"row {number}: {fault}" for fault in _length_faults(row, tokens))


def _length_faults(row: Mapping[str, Any], tokens: int) -> Iterator[str]:
    for name in ("token_ids", "confidence"):
        values = row.get(name)
        if values is None:
            continue
        if isinstance(values, list):
            yield f"{name} holds something that is no number."
        elif len(values) != tokens:
            yield f"{name} has {len(values)} entries, num_tokens is {tokens}."
    probes, every = row.get("probes"), row.get("probe_every")
    if probes is None:
        return
    if every is None or every < 1:
        yield f"it has probes, but probe_every is {every}."
    elif len(probes) > -(-tokens // every):
        yield f"{len(probes)} probes, one every {every} tokens, are longer than the trace of {tokens}."


def _plain_trace(row: Mapping[str, Any], no_answer: Sequence[str]) -> RecordedTrace:
    """Return the trace of a row of a plain Parquet, one piece of text and tokens."""
    tokens, every = row["num_tokens"], row.get("probe_every") or 0
    answer = _given(row["answer"], no_answer)
    reason = row.get("finish_reason") or ("stop" if answer is not None else "length")
    pieces = {"segment_tokens": [tokens], "segment_chars": [len(row.get("text") or "")]}
    probes = tuple(
        (min(number * every, tokens), _given(probe, no_answer))
        for number, probe in enumerate(row.get("probes") or (), start=1)
    )
    return _trace(dict(row) | pieces | {"answer": answer, "finish_reason": reason}, probes)


def _trace(row: Mapping[str, Any], probes: tuple[tuple[int, str | None], ...]) -> RecordedTrace:
    return RecordedTrace(
        trace_index=row["trace_index"],
        num_tokens=row["num_tokens"],
        finish_reason=row["finish_reason"],
        answer=row["answer"],
        text=row.get("text") or "",
        token_ids=row.get("token_ids") or (),
        confidence=row.get("confidence") or (),
        segment_tokens=tuple(row["segment_tokens"]),
        segment_chars=tuple(row["segment_chars"]),
        probes=probes,
    )


def _given(answer: object, no_answer: Sequence[str]) -> str | None:
    text = "" if answer is None else str(answer).strip()
    return None if not text or text in no_answer else text


def _read_run(folder: Path) -> Recording:
    names = ("answers", "traces", "probes", "verdicts")
    files = {name: sorted((folder / name).glob("shard=*.parquet")) for name in names}
    if not files["answers"] or not files["traces"]:
        raise InputError(f"sampler.source: {folder} holds no traces. Name a finished run's folder or a Parquet file.")
    tables = {name: read_tables(paths, _COLUMNS[name], _OPTIONAL) for name, paths in files.items() if paths}
    probes, verdicts = _run_probes(tables.get("probes")), _run_verdicts(tables.get("verdicts"))
    # What could not be sampled cannot be replayed.
    sampled = pc.not_equal(tables["answers"].column("status"), "failed")
    answers = tables["answers"].filter(sampled).sort_by("problem_index")
    if not answers.num_rows:
        raise InputError(f"sampler.source: {folder} has no answered problem yet. Finish it first.")
    cuts = cuts_of(folder)
    # Answers hold measured columns, which differ from one equal run to the other.
    facts = [file for name in ("traces", "probes", "verdicts") for file in files[name]]
    known = {*ANSWERS.names, *ANSWERS_ADDED.names, "source_problem_id", "repetition"}
    return Recording(
        problems=_run_problems(answers, tables["traces"], probes.values()),
        carried=answers.select([name for name in answers.column_names if name not in known]),
        model=str(answers.column("model")[0].as_py()),
        fingerprint=files_fingerprint(facts),
        segment_tokens=cuts.segment_tokens,
        cache_block_tokens=cuts.cache_block_tokens,
        align_tokens=cuts.align_tokens,
        typical_tokens=cuts.typical_tokens,
        probes=probes,
        verdicts=verdicts,
    )


def _run_probes(table: pa.Table | None) -> dict[ProbeKey, Probe]:
    probes = (
        Probe(
            ProbeKey(row["problem_id"], row["trace_index"], row["num_tokens"]),
            row["output_tokens"],
            row["token_ids"],
            row["text"],
            row["answer"],
            row["prompt_tokens"],
            0,
            row["shared_tokens"],
        )
        for row in _rows(table)
    )
    return {probe.key: probe for probe in probes}


def _run_verdicts(table: pa.Table | None) -> dict[PairKey, Verdict]:
    verdicts = (
        Verdict(
            PairKey(row["problem_id"], row["left_trace"], row["right_trace"]),
            row["score"],
            row["prompt_tokens"],
            0,
            row["head_tokens"],
            row["output_tokens"],
        )
        for row in _rows(table)
    )
    return {verdict.key: verdict for verdict in verdicts}


def _run_problems(answers: pa.Table, traces: pa.Table, probes: Iterable[Probe]) -> dict[str, RecordedProblem]:
    """Return the problems that have an answer, with their traces, in the order of the answers."""
    traces_of: dict[str, dict[int, RecordedTrace]] = {name: {} for name in answers.column("problem_id").to_pylist()}
    asked: dict[tuple[str, int], list[tuple[int, str | None]]] = {}
    for probe in sorted(probes, key=lambda each: each.key.num_tokens):
        asked.setdefault((probe.key.problem_id, probe.key.trace_index), []).append((probe.key.num_tokens, probe.answer))
    for row in _rows(traces):
        # Else its problem's answer is not written, or nobody asked for the trace, so that its answer was not read.
        if row["problem_id"] in traces_of and row["status"] != "speculative":
            probed = tuple(asked.get((row["problem_id"], row["trace_index"]), ()))
            row["num_tokens"] = row["tokens_sampled"]
            traces_of[row["problem_id"]][row["trace_index"]] = _trace(row, probed)
    rows = answers.select(["problem_id", "question", "gold", "tokens_prompt"]).to_pylist()
    return {
        row["problem_id"]: RecordedProblem(
            Problem(row["problem_id"], index, row["question"], row["gold"]),
            traces_of[row["problem_id"]],
            row["tokens_prompt"],
        )
        for index, row in enumerate(rows)
    }


def _rows(table: pa.Table | None) -> Iterator[dict[str, Any]]:
    """Yield rows, with what they have of each token in four bytes; as Python numbers a long trace takes ten times as much."""
    batches = () if table is None else table.to_batches(max_chunksize=_BATCH_ROWS)
    for row in (row for batch in batches for row in batch.to_pylist()):
        for name, pack in (("token_ids", TokenIds), ("confidence", lambda values: array("f", values))):
            if row.get(name) is not None:
                with contextlib.suppress(TypeError, OverflowError):
                    row[name] = pack(row[name])
        yield row


_KINDS: dict[str, pa.DataType | tuple[int, int]] = {
    **dict.fromkeys(("problem_id", "question", "gold_answer", "answer", "finish_reason", "text", "model"), TEXT),
    "trace_index": (0, 999_999),
    "num_tokens": (1, MAX_COUNT),
    "probe_every": (1, MAX_COUNT),
    "token_ids": IDS,
    "confidence": NUMBERS,
    "probes": TEXTS,
}
