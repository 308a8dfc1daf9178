"""One run, one problem or one trace as text for a terminal. Reads Parquet through the views; loads nothing of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pruner.errors import InputError
from pruner.results.formats import to_text
from pruner.results.query import Results
from pruner.system.lines import visible

_PROBLEMS = """
    SELECT problem_index AS "index", problem_id AS problem,
        CASE WHEN status = 'failed' THEN 'failed' WHEN status = 'no_answer' THEN 'no answer' WHEN correct IS NULL THEN 'answered'
            WHEN correct = 1 THEN 'right' ELSE 'wrong' END AS outcome,
        answer, gold, traces_started AS traces, traces_finished AS finished, traces_cut AS cut, votes_tied AS tied,
        tokens_net::BIGINT AS net_tokens
    FROM answers ORDER BY problem_index"""
_TRACES = """
    SELECT trace_index AS trace, status, coalesce(finish_reason, prune_reason) AS reason, tokens_sampled AS tokens,
        answer, correct, is_voter AS votes, cluster_index AS cluster, num_segments AS segments
    FROM traces WHERE problem_index = $problem ORDER BY trace_index"""
_PROBES = """
    SELECT trace_index AS trace, num_tokens AS after_tokens, answer, text FROM probes
    WHERE problem_index = $problem ORDER BY trace_index, num_tokens"""
_VERDICTS = """
    SELECT left_trace, right_trace, round(score, 4) AS "P(same answer)" FROM verdicts
    WHERE problem_index = $problem ORDER BY right_trace, left_trace"""
_MAX_ROWS = 1_000


def problems_text(results: Results, width: int | None) -> str:
    """Return the finished problems, a line each."""
    return to_text(results.table(_PROBLEMS), width, _MAX_ROWS)


def find_problem(results: Results, wanted: str) -> Mapping[str, Any]:
    """Return the row of a finished problem by its id, or else by its index.

    Raises:
        InputError: there is none.
    """
    index = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 10 else None
    sql = "SELECT * FROM answers WHERE problem_id = $id OR problem_index = $index ORDER BY problem_id != $id LIMIT 1"
    rows = results.rows(sql, {"id": wanted, "index": index})
    if not rows:
        raise InputError(
            f"problem {wanted}: this run has no finished problem of that id or index. Without one, jobs.show lists them."
        )
    return rows[0]


def problem_text(results: Results, row: Mapping[str, Any], prompt: str | None, width: int | None) -> str:
    """Return everything about a problem but its traces' texts.

    Args:
        row: as by find_problem.
        prompt: as the model sees it, if that is known.
    """
    parts = [f"problem {row['problem_id']}, index {row['problem_index']}: {_outcome(row)}"]
    parts.append(_block("question", row.get("question") or ""))
    if prompt is not None:
        parts.append(_block("prompt", prompt))
    parts.append(_votes(row))
    tokens = f"{row['tokens_sampled']:,} tokens sampled, {row['tokens_net']:,.0f} net"
    parts.append(
        f"traces: {row['traces_started']} started, {row['traces_finished']} finished, {row['traces_pruned']} pruned; {tokens}\n"
        + to_text(results.table(_TRACES, {"problem": row["problem_index"]}), width, _MAX_ROWS)
    )
    for name, sql in (("probes", _PROBES), ("verdicts", _VERDICTS)):
        if (table := results.table(sql, {"problem": row["problem_index"]})).num_rows:
            parts.append(f"{name}: {table.num_rows}\n" + to_text(table, width, _MAX_ROWS))
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def trace_text(results: Results, row: Mapping[str, Any], trace: int, width: int | None) -> str:
    """Return a trace of a problem with its text.

    Raises:
        InputError: there is no such trace.
    """
    given = {"problem": row["problem_index"], "trace": trace}
    found = results.rows("SELECT * FROM traces WHERE problem_index = $problem AND trace_index = $trace", given)
    if not found:
        raise InputError(
            f"problem {row['problem_id']}: has no trace {trace}; its traces are 0 to {row['traces_started'] - 1}."
        )
    head = f"problem {row['problem_id']}, trace {trace}"
    facts = to_text(results.table(f"SELECT * FROM ({_TRACES}) WHERE trace = $trace", given), width, 1)
    text = found[0].get("text")
    shown = "its text was not written (results.text)" if text is None else _block("text", text)
    return f"{head}\n{facts}\n{shown}\n"


def _outcome(row: Mapping[str, Any]) -> str:
    if row["status"] == "failed":
        return f"failed: {visible(row['failure'] or '')}"
    gold = "no gold" if row["gold"] is None else f"gold {visible(row['gold'])}"
    if row["answer"] is None:
        return f"no answer; {gold}"
    judged = {1: "right", 0: "wrong"}.get(row["correct"], "not graded")
    return f"answer {visible(row['answer'])}, {judged} ({gold})"


def _votes(row: Mapping[str, Any]) -> str:
    answers, counts = row["vote_answers"] or [], row["vote_counts"] or []
    tied = f", {row['votes_tied']} answers lead together" if (row["votes_tied"] or 0) > 1 else ""
    lines = [f"votes: {row['votes_total'] or 0:g}{tied}"]
    lines += [f"  {count:g}  {visible(answer)}" for answer, count in zip(answers, counts, strict=False)]
    if row["cluster_sizes"]:
        lines.append(f"clusters: {', '.join(str(size) for size in row['cluster_sizes'])}")
    return "\n".join(lines)


def _block(name: str, text: str) -> str:
    return "\n".join([f"{name}:", *(f"| {visible(line)}" for line in text.split("\n"))])
