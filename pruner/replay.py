"""Recorded traces as a run can be replayed over them. Reads them from an earlier run or from any Parquet; knows no engine.

A recording may be resampled: each problem then stands in the set R times, each time with its traces in another seeded
order, under the name `<problem>#<repetition>`.
"""

from __future__ import annotations

import contextlib
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pruner.columns import IDS, NUMBERS, TEXT, TEXTS, limited, read_parquet, typed_table
from pruner.config.samplers import ReplaySamplerConfig
from pruner.config.section import MAX_COUNT, local_path
from pruner.errors import InputError
from pruner.problems import ProblemSet, files_fingerprint, fingerprint
from pruner.run_tables import read_tables
from pruner.schemas import ANSWERS, ANSWERS_ADDED
from pruner.traces import PairKey, Probe, ProbeKey, Problem, TokenIds, Verdict, hash64

_FORMS: dict[str, str | tuple[int, int]] = {
    **dict.fromkeys(("problem_id", "question", "gold_answer", "answer", "finish_reason", "text", "model"), TEXT),
    "trace_index": (0, 999_999),
    "num_tokens": (1, MAX_COUNT),
    "probe_every": (1, MAX_COUNT),
    "token_ids": IDS,
    "confidence": NUMBERS,
    "probes": TEXTS,
}
# What is read of an earlier run's tables; text, tokens and confidences as far as they are there.
_COLUMNS = {
    "answers": ("problem_id", "problem_index", "status", "question", "gold", "tokens_prompt", "model"),
    "traces": (
        *("problem_id", "trace_index", "tokens_sampled", "finish_reason", "answer"),
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
        probes, verdicts: the judge's, of an earlier run; probes of a plain Parquet stand with its traces.
        carried: the question and further columns, a row a problem.
        segment_tokens, cache_block_tokens: how the earlier run cut its traces, and of its prefix cache; None: not known.
        model: whose traces they are.
        fingerprint: of all that.
    """

    problems: Mapping[str, RecordedProblem]
    carried: pa.Table
    model: str
    fingerprint: str
    segment_tokens: int | None = None
    cache_block_tokens: int | None = None
    probes: Mapping[ProbeKey, Probe] = field(default_factory=dict)
    verdicts: Mapping[PairKey, Verdict] = field(default_factory=dict)

    @property
    def has_text(self) -> bool:
        return any(trace.text for each in self.problems.values() for trace in each.traces.values())


class Replay:
    """A recording, as the problems and traces of a run see it.

    Args:
        resample: R, how often each problem stands in the set; None: once, its traces in the recorded order.
        seed: of the orders.
    """

    def __init__(self, recording: Recording, resample: int | None, seed: int) -> None:
        self.recording = recording
        self.is_resampled = resample is not None
        self._resample = resample
        self._seed = seed
        self._orders: dict[str, tuple[int, ...]] = {}

    def problem_set(self, limit: int | None) -> ProblemSet:
        """Return the problems: all of them in the first order, then in the second, and so on."""
        names = list(self.recording.problems)[:limit]
        carried = self.recording.carried.slice(0, len(names))
        problems: list[Problem] = []
        tables: list[pa.Table] = []
        for repetition in range(self._resample or 1):
            for name in names:
                problem = self.recording.problems[name].problem
                own = name if self._resample is None else f"{name}#{repetition}"
                problems.append(Problem(own, len(problems), problem.question, problem.answer))
            tables.append(
                carried.append_column("source_problem_id", pa.array(names, pa.string())).append_column(
                    "repetition", pa.array([repetition] * len(names), pa.int32())
                )
            )
        return ProblemSet(tuple(problems), pa.concat_tables(tables), fingerprint(problems))

    def source(self, problem_id: str) -> RecordedProblem:
        name = problem_id if self._resample is None else problem_id.rpartition("#")[0]
        return self.recording.problems[name]

    def trace(self, problem_id: str, trace_index: int) -> RecordedTrace:
        """Return what stands at this place of the problem's order.

        Raises:
            InputError: so many traces were not recorded.
        """
        traces = self.source(problem_id).traces
        index = trace_index if self._resample is None else self._order(problem_id, traces)[trace_index]
        if index not in traces:
            raise InputError(
                f"sampler.source: problem {problem_id} has no trace {index}. It was recorded with a smaller budget, or a "
                "method started fewer: replay traces of a run of method=cons with at least this budget."
            )
        return traces[index]

    def probe(self, key: ProbeKey) -> Probe | None:
        """Return the probe that an earlier run made exactly there, under the key by which it is asked for now."""
        if not self.recording.probes:
            return None
        trace_index = self.trace(key.problem_id, key.trace_index).trace_index
        problem_id = self.source(key.problem_id).problem.problem_id
        found = self.recording.probes.get(ProbeKey(problem_id, trace_index, key.num_tokens))
        return None if found is None else replace(found, key=key)

    def check_budget(self, budget: int) -> None:
        """Raises InputError: a problem has fewer traces than may be started."""
        if self._resample is None:
            return
        for name, recorded in self.recording.problems.items():
            if len(recorded.traces) < budget:
                raise InputError(
                    f"budget: got {budget}, but problem {name} has {len(recorded.traces)} recorded traces. Set a smaller one."
                )

    def check_confidences(self) -> None:
        """Raises InputError: a trace has none."""
        traces = [trace for recorded in self.recording.problems.values() for trace in recorded.traces.values()]
        if bare := sum(not trace.confidence for trace in traces):
            raise InputError(
                f"sampler.source: {bare} of {len(traces)} traces have no confidences, expected one number a token. "
                "Replay a run of a method that has them sampled (deepconf_offline), or set sampler.columns.confidence."
            )

    def _order(self, problem_id: str, traces: Mapping[int, RecordedTrace]) -> tuple[int, ...]:
        if problem_id not in self._orders:
            rank = {index: hash64(self._seed, "resample", problem_id, index) for index in traces}
            self._orders[problem_id] = tuple(sorted(traces, key=lambda index: (rank[index], index)))
        return self._orders[problem_id]


def read_recording(config: ReplaySamplerConfig) -> Recording:
    """Read an earlier run's folder or a Parquet of recorded traces.

    Raises:
        InputError: with all faults.
    """
    path = local_path(config.source)
    if not path.exists():
        raise InputError(f"sampler.source: got {config.source!r}, expected a run's folder or a Parquet of traces.")
    return _read_run(path) if path.is_dir() else _read_parquet(path, config)


def _read_parquet(path: Path, config: ReplaySamplerConfig) -> Recording:
    names: dict[str, str] = config.columns.model_dump()
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
    table, outside = typed_table(table, {column: _FORMS[name] for name, column in present.items()}, f"traces {path}")
    rows = [
        _packed({name: row[column] for name, column in present.items()})
        for row in _rows(table.select(list(dict.fromkeys(present.values()))))
    ]
    if not rows:
        raise InputError(f"traces {path}: holds no traces.")
    own_name = {column: name for name, column in present.items()}
    known = {(each.row, own_name[each.column]) for each in outside}
    if faults := [*(str(each) for each in outside), *_faults(rows, known)]:
        raise InputError([f"traces {path}: {fault}" for fault in limited(faults)])
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["problem_id"], []).append(row)
    problems = {
        name: RecordedProblem(
            Problem(name, index, str(group[0].get("question") or ""), str(group[0]["gold_answer"]).strip()),
            {row["trace_index"]: _trace(row, config.no_answer) for row in group},
        )
        for index, (name, group) in enumerate(grouped.items())
    }
    carried = pa.table({"question": [each.problem.question for each in problems.values()]})
    models = sorted({str(row["model"]) for row in rows if row.get("model")})
    return Recording(problems, carried, ", ".join(models) or path.stem, files_fingerprint([path]))


def _faults(rows: Sequence[Mapping[str, Any]], known: Set[tuple[int, str]]) -> Iterator[str]:
    """Yield a line for every fault of rows.

    Args:
        known: (row, column) of numbers that were out of range, and are null by now.
    """
    seen: dict[tuple[Any, Any], int] = {}
    golds: dict[Any, Any] = {}
    for number, row in enumerate(rows):
        for name in ("problem_id", "trace_index", "num_tokens"):
            if row[name] is None and (number, name) not in known:
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


def _trace(row: Mapping[str, Any], no_answer: Sequence[str]) -> RecordedTrace:
    tokens, text, every = int(row["num_tokens"]), row.get("text") or "", int(row.get("probe_every") or 0)
    answer = _given(row["answer"], no_answer)
    return RecordedTrace(
        trace_index=int(row["trace_index"]),
        num_tokens=tokens,
        finish_reason=row.get("finish_reason") or ("stop" if answer is not None else "length"),
        answer=answer,
        text=text,
        token_ids=row.get("token_ids") or (),
        confidence=row.get("confidence") or (),
        segment_tokens=(tokens,),
        segment_chars=(len(text),),
        probes=tuple(
            (min((number + 1) * every, tokens), _given(probe, no_answer))
            for number, probe in enumerate(row.get("probes") or ())
        ),
    )


def _given(answer: object, no_answer: Sequence[str]) -> str | None:
    text = "" if answer is None else str(answer).strip()
    return None if not text or text in no_answer else text


def _read_run(folder: Path) -> Recording:
    files = {
        name: sorted((folder / name).glob("shard=*.parquet")) for name in ("answers", "traces", "probes", "verdicts")
    }
    if not files["answers"] or not files["traces"]:
        raise InputError(f"sampler.source: {folder} holds no traces. Name a finished run's folder or a Parquet file.")
    tables = {name: read_tables(found, _COLUMNS[name], _OPTIONAL) for name, found in files.items() if found}
    probes = {
        key: Probe(
            key,
            row["output_tokens"],
            TokenIds(row["token_ids"]),
            row["text"],
            row["answer"],
            row["prompt_tokens"],
            0,
            row["shared_tokens"],
        )
        for row in _rows(tables.get("probes"))
        for key in [ProbeKey(row["problem_id"], row["trace_index"], row["num_tokens"])]
    }
    verdicts = {
        key: Verdict(key, row["score"], row["prompt_tokens"], 0, row["head_tokens"], row["output_tokens"])
        for row in _rows(tables.get("verdicts"))
        for key in [PairKey(row["problem_id"], row["left_trace"], row["right_trace"])]
    }
    # What could not be sampled cannot be replayed.
    answers = (
        tables["answers"].filter(pc.not_equal(tables["answers"].column("status"), "failed")).sort_by("problem_index")
    )
    traces: dict[str, dict[int, RecordedTrace]] = {name: {} for name in answers.column("problem_id").to_pylist()}
    asked: dict[tuple[str, int], list[tuple[int, str | None]]] = {}
    for key, probe in sorted(probes.items(), key=lambda item: item[0].num_tokens):
        asked.setdefault((key.problem_id, key.trace_index), []).append((key.num_tokens, probe.answer))
    for row in _rows(tables["traces"]):
        if row["problem_id"] not in traces:
            continue  # its problem's answer is not written
        own = asked.get((row["problem_id"], row["trace_index"]), ())
        traces[row["problem_id"]][row["trace_index"]] = _run_trace(_packed(row), tuple(own))
    names = ("problem_id", "question", "gold", "tokens_prompt", "model")
    rows = answers.select(names).to_pylist()
    if not rows:
        raise InputError(f"sampler.source: {folder} has no answered problem yet. Finish it first.")
    problems = {
        row["problem_id"]: RecordedProblem(
            Problem(row["problem_id"], index, row["question"], row["gold"]),
            traces[row["problem_id"]],
            row["tokens_prompt"],
        )
        for index, row in enumerate(rows)
    }
    # Answers hold measured columns, which differ from one equal run to the other.
    facts = [file for name in ("traces", "probes", "verdicts") for file in files[name]]
    known = {*ANSWERS.names, *ANSWERS_ADDED.names, "source_problem_id", "repetition"}
    carried = answers.select([name for name in answers.column_names if name not in known])
    cut, block = sampler_settings(folder)
    return Recording(problems, carried, str(rows[0]["model"]), files_fingerprint(facts), cut, block, probes, verdicts)


def sampler_settings(folder: Path) -> tuple[int | None, int | None]:
    """Return a run's segment_tokens and cache_block_tokens. Raises InputError: the folder is no run's."""
    try:
        sampler = json.loads((folder / "run.json").read_text())["config"]["sampler"]
        found = (sampler["segment_tokens"], sampler["cache_block_tokens"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"source {folder}: its run.json cannot be read ({error}). Name a run's folder.") from None
    for value in found:
        if not (value is None or (type(value) is int and 1 <= value <= MAX_COUNT)):
            raise InputError(
                f"{folder / 'run.json'}: config.sampler has {found}, expected numbers of tokens. Restore it."
            )
    return found


def _run_trace(row: Mapping[str, Any], probes: tuple[tuple[int, str | None], ...]) -> RecordedTrace:
    return RecordedTrace(
        trace_index=row["trace_index"],
        num_tokens=row["tokens_sampled"],
        finish_reason=row["finish_reason"],
        answer=row["answer"],
        text=row.get("text") or "",
        token_ids=row.get("token_ids") or (),
        confidence=row.get("confidence") or (),
        segment_tokens=tuple(row["segment_tokens"]),
        segment_chars=tuple(row["segment_chars"]),
        probes=probes,
    )


def _rows(table: pa.Table | None) -> Iterable[dict[str, Any]]:
    if table is None:
        return
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
        yield from batch.to_pylist()


def _packed(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row with what it has of each token in four bytes; as Python numbers a long trace takes ten times as much."""
    for name, pack in (("token_ids", TokenIds), ("confidence", lambda values: array("f", values))):
        if row.get(name) is not None:
            with contextlib.suppress(TypeError, OverflowError):
                row[name] = pack(row[name])
    return row
