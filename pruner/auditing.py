"""Check a run's books: that answers, traces, judged facts, attempts and the checkpoint tell of the same tokens.

Problems whose traces are not written yet (a run that goes on) are counted as unchecked. A checkpoint that another process has
open is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruner.querying import Results, checkpoint_rows

# Of one problem each: what must be equal, by name.
_PROBLEMS = """
    WITH t AS (
        SELECT problem_id, count(*) AS n, count(DISTINCT trace_index) AS n_distinct,
            count(*) FILTER (status = 'finished') AS finished, sum(tokens_sampled) AS sampled,
            coalesce(sum(tokens_sampled) FILTER (status = 'finished'), 0) AS in_finished,
            coalesce(sum(tokens_sampled) FILTER (status = 'pruned'), 0) AS in_pruned, sum(tokens_prefix) AS prefix
        FROM traces GROUP BY problem_id),
    v AS (
        SELECT problem_id, count(DISTINCT (least(left_trace, right_trace), greatest(left_trace, right_trace))) AS pairs,
            sum(prompt_tokens) AS prompt, sum(output_tokens) AS output FROM verdicts GROUP BY problem_id),
    p AS (SELECT problem_id, count(*) AS n, sum(prompt_tokens) AS prompt FROM probes GROUP BY problem_id)
    SELECT a.*, t.* EXCLUDE (problem_id), coalesce(v.pairs, 0) AS pairs, coalesce(p.n, 0) AS probes,
        coalesce(v.prompt, 0) + coalesce(p.prompt, 0) AS judge_prompt, coalesce(v.output, 0) AS verdict_output
    FROM answers a LEFT JOIN t USING (problem_id) LEFT JOIN v USING (problem_id) LEFT JOIN p USING (problem_id)
    ORDER BY problem_index"""
_WEIGHTS = (
    "SELECT judge_prompt_weight AS read, judge_cached_weight AS cached, judge_output_weight AS output FROM tokens"
)


@dataclass(frozen=True)
class Audit:
    """What was compared, and every difference found. segments: None: no checkpoint could be read."""

    run: str
    problems: int
    unchecked: int
    traces: int
    tokens: int
    segments: int | None
    faults: tuple[str, ...]

    def __str__(self) -> str:
        checked = f"{self.problems} problems, {self.traces:,} traces, {self.tokens:,} tokens"
        checkpoint = "no checkpoint read" if self.segments is None else f"{self.segments:,} segments in the checkpoint"
        left = f", {self.unchecked} problems whose traces are not written yet" if self.unchecked else ""
        verdict = "balanced" if not self.faults else f"{len(self.faults)} DIFFERENCES"
        return "\n".join(
            [f"{self.run}: {verdict}: {checked}; {checkpoint}{left}", *(f"  {fault}" for fault in self.faults)]
        )


def audit(folder: Path) -> Audit:
    """Compare everything that a run's folder tells of tokens.

    Raises:
        InputError: it cannot be read.
    """
    with Results(folder.parent, folder.name) as results:
        rows = results.rows(_PROBLEMS)
        weights = (results.rows(_WEIGHTS) or [{}])[0]
        traces = results.rows("SELECT problem_id, trace_index, tokens_sampled, num_segments FROM traces")
        attempts = results.rows("SELECT shard, sum(tokens_sampled)::BIGINT AS tokens FROM attempts GROUP BY shard")
    faults = [fault for row in rows for fault in _problem_faults(row, weights)]
    segments = None
    told = {(row["problem_id"], row["trace_index"]): (row["tokens_sampled"], row["num_segments"]) for row in traces}
    for path in sorted((folder / "checkpoint").glob("*.duckdb")):
        found = checkpoint_rows(path)
        if found is not None:
            segments = (segments or 0) + sum(row["segments"] for row in found)
            tokens = {row["shard"]: row["tokens"] for row in attempts}.get(f"{path.stem}.parquet")
            faults += _checkpoint_faults(path.stem, found, told, tokens)
    return Audit(
        run=folder.name,
        problems=len(rows),
        unchecked=sum(_is_unchecked(row) for row in rows),
        traces=len(traces),
        tokens=sum(row["tokens_sampled"] for row in rows),
        segments=segments,
        faults=tuple(faults),
    )


def _is_unchecked(row: dict[str, Any]) -> bool:
    return row["n"] is None and row["traces_started"] > 0


def _problem_faults(row: dict[str, Any], weights: dict[str, Any]) -> list[str]:
    sampled = row["tokens_sampled"]
    same = [
        ("tokens sampled = finished + pruned", sampled, row["tokens_finished"] + row["tokens_pruned"]),
        ("tokens sampled = prefix + continued", sampled, row["tokens_prefix"] + row["tokens_continued"]),
        ("traces started = finished + pruned", row["traces_started"], row["traces_finished"] + row["traces_pruned"]),
    ]
    if row["n"] is not None:
        same += [
            ("traces and their rows", row["traces_started"], row["n"]),
            ("traces and distinct rows", row["n"], row["n_distinct"]),
            ("finished traces and their rows", row["traces_finished"], row["finished"]),
            ("tokens sampled and those of trace rows", sampled, row["sampled"]),
            ("tokens finished and those of trace rows", row["tokens_finished"], row["in_finished"]),
            ("tokens pruned and those of trace rows", row["tokens_pruned"], row["in_pruned"]),
            ("tokens in prefixes and those of trace rows", row["tokens_prefix"], row["prefix"]),
            ("verdicts and their rows", row["judge_verdicts"], row["pairs"]),
            ("probes and their rows", row["judge_probes"], row["probes"]),
            ("judge's prompt tokens and those of its rows", row["tokens_judge_prompt"], row["judge_prompt"]),
        ]
    if weights.get("read") is not None:
        read = row["tokens_judge_prompt"] - row["tokens_judge_cached"]
        judge = weights["read"] * read + weights["cached"] * row["tokens_judge_cached"]
        net = sampled + judge + weights["output"] * row["tokens_judge_output"]
        same.append(("net tokens = sampled + weighted judge's", round(row["tokens_net"], 3), round(net, 3)))
    return [f"{row['problem_id']}: {what}: {left} and {right}" for what, left, right in same if left != right]


def _checkpoint_faults(
    shard: str, found: Sequence[dict[str, Any]], told: dict[tuple[str, int], tuple[int, int]], attempts: int | None
) -> list[str]:
    """Compare a shard's segments with the rows of its traces and with what its attempts say they sampled."""
    faults = []
    for row in found:
        key = (row["problem_id"], row["trace_index"])
        if key in told and told[key] != (row["tokens"], row["segments"]):
            faults.append(
                f"{key[0]} trace {key[1]}: {told[key][0]} tokens in {told[key][1]} segments told, "
                f"{row['tokens']} in {row['segments']} in the checkpoint of {shard}"
            )
        if row["segments"] != row["distinct"]:
            faults.append(f"{key[0]} trace {key[1]}: doubled segments in the checkpoint of {shard}")
    total = sum(row["tokens"] for row in found)
    if attempts is not None and attempts != total:
        faults.append(f"{shard}: its attempts sampled {attempts} tokens, its checkpoint holds {total}")
    return faults
