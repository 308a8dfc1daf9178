"""The words at the end of a run. A pure function of the answers' rows."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa


def summary(answers: pa.Table, where: str) -> str:
    """Return what a run came to: accuracy, tokens and what pruning saved.

    Args:
        answers: rows of store.Store.answers, of one shard.
        where: the run's folder.
    """
    rows = answers.to_pylist()
    lines = [f"{len(rows)} problems, results in {where}"]
    lines += _outcomes(rows)
    lines += _accuracy(rows)
    lines += _tokens(rows)
    return "\n".join(lines)


def _outcomes(rows: list[dict[str, Any]]) -> list[str]:
    states = {state: sum(row["status"] == state for row in rows) for state in ("answered", "no_answer", "failed")}
    traces = {name: _sum(rows, f"traces_{name}") for name in ("started", "finished", "pruned")}
    return [
        f"  problems     {states['answered']} answered, {states['no_answer']} without an answer, {states['failed']} failed",
        f"  traces       {traces['started']:,} started, {traces['finished']:,} finished, {traces['pruned']:,} pruned",
    ]


def _accuracy(rows: list[dict[str, Any]]) -> list[str]:
    graded = [row["correct"] for row in rows if row["correct"] is not None]
    if not graded:
        return ["  accuracy     unknown: the problems have no gold answers"]
    singles = [row["single_accuracy"] for row in rows if row["single_accuracy"] is not None]
    lines = [f"  accuracy     {sum(graded) / len(graded):.1%} by vote ({sum(graded)} of {len(graded)})"]
    if singles:
        lines.append(f"               {math.fsum(singles) / len(singles):.1%} the mean finished trace")
    return lines


def _tokens(rows: list[dict[str, Any]]) -> list[str]:
    sampled, net = _sum(rows, "tokens_sampled"), math.fsum(row["tokens_net"] for row in rows)
    new = _sum(rows, "tokens_judge_prompt") - _sum(rows, "tokens_judge_cached")
    output = _sum(rows, "tokens_judge_output")
    lines = [
        f"  tokens       {sampled:,} sampled: {_sum(rows, 'tokens_finished'):,} in finished traces, "
        f"{_sum(rows, 'tokens_pruned'):,} in pruned ones",
        f"  judge        {_sum(rows, 'judge_calls'):,} calls: {output:,} tokens sampled, {new:,} read, "
        f"{_sum(rows, 'tokens_judge_cached'):,} read before",
        f"  net          {net:,.0f} tokens, the judge's included",
    ]
    known = [row for row in rows if row["tokens_unpruned_estimate"] is not None]
    if any(row["traces_pruned"] or row["traces_started"] < row["budget"] for row in known):
        whole = math.fsum(row["tokens_unpruned_estimate"] for row in known)
        part = math.fsum(row["tokens_net"] for row in known)
        saved = 1 - part / whole if whole else 0.0
        lines.append(f"  saved        {saved:.1%} net, against {whole:,.0f} tokens without pruning (an estimate)")
    missing, judged = _sum(rows, "judge_verdicts_missing"), _sum(rows, "judge_verdicts")
    if judged and missing > judged / 2:
        lines.append(
            f"  warning      {missing:,} of {judged:,} verdicts could not be read: pruning does next to nothing"
        )
    return lines


def _sum(rows: list[dict[str, Any]], name: str) -> int:
    return sum(row[name] for row in rows)
