"""Results for other programs: JSON lines, and recorded traces that `sampler=replay` reads. Read a few problems at a time, so that memory does not grow with the runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pruner.checkpoint.reading import checkpoint_confidence
from pruner.errors import InputError
from pruner.results import formats
from pruner.results.query import Results
from pruner.results.writer import write_batches
from pruner.system.files import write_atomically

RECORDED = pa.schema(
    [
        ("problem_id", pa.string()),
        ("question", pa.string()),
        ("gold_answer", pa.string()),
        ("trace_index", pa.int32()),
        ("num_tokens", pa.int64()),
        ("answer", pa.string()),
        ("finish_reason", pa.string()),
        ("text", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("confidence", pa.list_(pa.float32())),
        ("probe_every", pa.int32()),
        ("probes", pa.list_(pa.string())),
        ("model", pa.string()),
    ]
)
_TRACES_AT_ONCE = 4096
_WITH_PROBLEM = """(
    FROM traces JOIN (SELECT run, problem_index, question, gold, answer AS voted_answer FROM answers) USING (run, problem_index))"""
_ORDER = {
    "answers": "",
    "traces": ", trace_index",
    "verdicts": ", left_trace, right_trace",
    "probes": ", trace_index, num_tokens",
}


def export_jsonl(results: Results, runs: Sequence[str], target: Path) -> dict[str, int]:
    """Write answers.jsonl, traces.jsonl, verdicts.jsonl and probes.jsonl; return their rows."""
    return {name: _write_lines(target / f"{name}.jsonl", _parts(results, runs, name)) for name in _ORDER}


def export_trace_lines(results: Results, runs: Sequence[str], target: Path) -> dict[str, int]:
    """Write one file with a line for every trace, its problem's question, gold and voted answer beside it; return the rows."""
    return {"traces": _write_lines(target, _parts(results, runs, "traces", _WITH_PROBLEM))}


def _write_lines(path: Path, parts: Iterator[pa.Table]) -> int:
    count = 0

    def write(partial: Path) -> None:
        nonlocal count
        with open(partial, "w", encoding="utf-8") as file:
            for part in parts:
                count += part.num_rows
                file.writelines(formats.as_json(row) + "\n" for row in formats.plain_rows(part))

    write_atomically(path, write)
    return count


def export_replay(results: Results, root: Path, run: str, target: Path) -> dict[str, int]:
    """Write one run's finished traces as recorded ones; return how many, and how many pruned ones are left out.

    Raises:
        InputError: it has none, or a problem has no gold answer, which replaying needs.
    """
    key = {"run": run}
    missing = results.rows("SELECT count(*) AS n FROM answers WHERE run = $run AND gold IS NULL", key)[0]["n"]
    if missing:
        raise InputError(f"run {run}: {missing} problems have no gold answer, which replaying needs. Export as jsonl.")
    sql = "SELECT problem_id, gold, question, model FROM answers WHERE run = $run"
    problems = {row["problem_id"]: row for row in results.rows(sql, key)}
    confidence = checkpoint_confidence(sorted((root / run / "checkpoint").glob("*.duckdb")))
    probes = _regular_probes(results, run)
    pruned = 0

    def parts() -> Iterator[pa.Table]:
        nonlocal pruned
        for part in _parts(results, [run], "traces"):
            rows = part.to_pylist()
            pruned += sum(row["status"] == "pruned" for row in rows)
            recorded = [_recorded(row, problems, confidence, probes) for row in rows if row["status"] == "finished"]
            yield pa.Table.from_pylist(recorded, schema=RECORDED)

    count = write_batches(target, parts())
    if not count:
        target.unlink()
        raise InputError(f"run {run}: holds no finished traces yet.")
    return {"traces": count, "pruned traces left out": pruned}


Key = tuple[str, int]


def _recorded(
    row: Mapping[str, Any],
    problems: Mapping[str, Mapping[str, Any]],
    confidence: Mapping[Key, list[float]],
    probes: Mapping[Key, tuple[int, list[str | None]]],
) -> dict[str, Any]:
    key, problem = (row["problem_id"], row["trace_index"]), problems[row["problem_id"]]
    every, answers = probes.get(key, (None, None))
    return {
        "problem_id": row["problem_id"],
        "question": problem["question"],
        "gold_answer": problem["gold"],
        "trace_index": row["trace_index"],
        "num_tokens": row["tokens_sampled"],
        "answer": row["answer"],
        "finish_reason": row["finish_reason"],
        "text": row["text"],
        "token_ids": row["token_ids"] or None,
        "confidence": confidence.get(key),
        "probe_every": every,
        "probes": answers,
        "model": problem["model"],
    }


def _regular_probes(results: Results, run: str) -> dict[Key, tuple[int, list[str | None]]]:
    """Return the probes of traces that were asked at equal distances, which is what a recording can hold. Other traces
    were asked where their method decided to."""
    sql = """
        SELECT problem_id, trace_index, list(num_tokens ORDER BY num_tokens) AS at, list(answer ORDER BY num_tokens) AS answers
        FROM probes WHERE run = $run GROUP BY problem_id, trace_index"""
    found = {}
    for row in results.rows(sql, {"run": run}):
        every = row["at"][0]
        if row["at"] == [every * (number + 1) for number in range(len(row["at"]))]:
            found[row["problem_id"], row["trace_index"]] = (every, row["answers"])
    return found


def _parts(results: Results, runs: Sequence[str], name: str, source: str | None = None) -> Iterator[pa.Table]:
    """Yield a view's rows of these runs, a few problems at a time, in order. source: read in place of the view."""
    for run in runs:
        sql = "SELECT min(problem_index) AS first, max(problem_index) AS last, max(budget) AS budget FROM answers WHERE run = $run"
        span = results.rows(sql, {"run": run})[0]
        if span["first"] is None:
            yield results.table(f"FROM {source or name} LIMIT 0")
            continue
        step = max(1, _TRACES_AT_ONCE // (span["budget"] or 1))
        for first in range(span["first"], span["last"] + 1, step):
            sql = f"""
                FROM {source or name} WHERE run = $run AND problem_index >= $first AND problem_index < $last
                ORDER BY problem_index{_ORDER[name]}"""
            yield results.table(sql, {"run": run, "first": first, "last": first + step})
