"""Results for other programs: JSON lines, a folder that Hugging Face `datasets` loads, and recorded traces that
`sampler=replay` reads. Read a few problems at a time, so that memory does not grow with the runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pruner.errors import InputError
from pruner.records.schemas import VIEWS
from pruner.results import formats
from pruner.results.query import Results, checkpoint_confidence
from pruner.system.files import write_atomically, write_bytes

EXPORTED = ("answers", "traces", "verdicts", "probes")
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
    """Write answers.jsonl and traces.jsonl; return their rows."""
    return {name: _write_lines(target / f"{name}.jsonl", _parts(results, runs, name)) for name in ("answers", "traces")}


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


def export_datasets(results: Results, runs: Sequence[str], target: Path) -> dict[str, int]:
    """Write a folder for `datasets.load_dataset(folder, name)`, name being a table; return the tables' rows."""
    counts: dict[str, int] = {}
    for name in EXPORTED:
        for number, run in enumerate(runs):
            rows = _write_parquet(target / name / f"{number:04d}.parquet", _parts(results, [run], name))
            counts[name] = counts.get(name, 0) + rows
    card = _card(results, runs, {name: count for name, count in counts.items() if count})
    write_bytes(target / "README.md", card.encode())
    return counts


def _card(results: Results, runs: Sequence[str], counts: Mapping[str, int]) -> str:
    """Return the dataset card: which files are which table, the runs, and the columns."""
    lines = ["---", "configs:"]
    for name in counts:
        lines += [f"- config_name: {name}", f'  data_files: "{name}/*.parquet"'] + (
            ["  default: true"] if name == "answers" else []
        )
    lines += ["---", "", "# Pruned parallel reasoning: results of Pruner", ""]
    lines += ["```python", 'datasets.load_dataset("this folder", "answers")', "```", ""]
    lines += [f"- `{name}`: {count:,} rows" for name, count in counts.items()]
    sql = """
        SELECT run, method, model, problem_set, budget, seed, problems, round(accuracy, 4) AS accuracy,
            round(tokens_net)::BIGINT AS tokens_net
        FROM tokens WHERE list_contains($runs, run) ORDER BY run"""
    lines += ["", "## Runs", "", formats.to_markdown(results.table(sql, {"runs": list(runs)}))]
    for name in counts:
        described = [
            {"column": field.name, "meaning": (field.metadata or {}).get(b"doc", b"").decode()} for field in VIEWS[name]
        ]
        lines += [f"## Columns of {name}", "", formats.to_markdown(pa.Table.from_pylist(described))]
    return "\n".join(lines)


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

    count = _write_parquet(target, parts())
    if not count:
        target.unlink(missing_ok=True)
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
    """Return the probes of traces that were asked after every so many tokens, which is what a recording can hold. Other traces
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
            continue
        step = max(1, _TRACES_AT_ONCE // (span["budget"] or 1))
        for first in range(span["first"], span["last"] + 1, step):
            sql = f"""
                FROM {source or name} WHERE run = $run AND problem_index >= $first AND problem_index < $last
                ORDER BY problem_index{_ORDER[name]}"""
            yield results.table(sql, {"run": run, "first": first, "last": first + step})


def _write_parquet(path: Path, parts: Iterator[pa.Table]) -> int:
    """Write tables of one schema as one file; no file where there are no rows. Return the rows."""
    count = 0

    def write(partial: Path) -> None:
        nonlocal count
        with ExitStack() as stack:
            writer = None
            for part in parts:
                if writer is None:
                    writer = stack.enter_context(pq.ParquetWriter(partial, part.schema))
                count += part.num_rows
                writer.write_table(part)
        if writer is None:
            partial.write_bytes(b"")

    write_atomically(path, write)
    if not count:
        path.unlink(missing_ok=True)
    return count


KINDS: dict[str, Callable[..., dict[str, int]]] = {"jsonl": export_jsonl, "datasets": export_datasets}
