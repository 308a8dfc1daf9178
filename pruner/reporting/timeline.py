"""The timeline of one problem: its traces as bars of segments, what the judge was asked, and when, where that can be read.

Lengths come from Parquet. Times and attempts are facts of the checkpoint only, which is looked at if nobody has it open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pruner.checkpoint.reading import Commit, Life, problem_times
from pruner.reporting.gather import ProblemRow
from pruner.results.query import Results


@dataclass(frozen=True)
class Bar:
    """One trace. attempts: which attempt sampled each segment; empty where that is not known."""

    trace_index: int
    status: str
    prune_reason: str | None
    answer: str | None
    correct: int | None
    cluster_index: int | None
    tokens: int
    tokens_prefix: int
    segments: tuple[int, ...]
    attempts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Timeline:
    """judged: pairs (left, right, score). commits and lives are empty where no checkpoint could be read."""

    run: str
    problem_id: str
    bars: tuple[Bar, ...]
    judged: tuple[tuple[int, int, float | None], ...]
    commits: tuple[Commit, ...] = ()
    lives: tuple[Life, ...] = ()
    why_no_times: str = ""


def choose(rows: Sequence[ProblemRow]) -> ProblemRow | None:
    """Return the problem that shows most: traces that finished and others pruned, from several clusters, in the middle of
    these by tokens."""

    def interest(row: ProblemRow) -> int:
        return (row.traces_pruned > 0) * 4 + (row.clusters > 1) * 2 + (row.traces_finished > 1)

    if not rows:
        return None
    most = max(interest(row) for row in rows)
    chosen = sorted(
        (row for row in rows if interest(row) == most), key=lambda row: (row.tokens_sampled, row.problem_index)
    )
    return chosen[len(chosen) // 2]


def read_timeline(results: Results, root: Path, row: ProblemRow) -> Timeline:
    """Return the timeline of one problem of one run."""
    key = {"run": row.run, "problem": row.problem_id}
    sql = """
        SELECT trace_index, status, prune_reason, answer, correct, cluster_index, tokens_sampled AS tokens, tokens_prefix,
            coalesce(segment_tokens, []) AS segments
        FROM traces WHERE run = $run AND problem_id = $problem ORDER BY trace_index"""
    bars = [Bar(**bar | {"segments": tuple(bar["segments"])}) for bar in results.rows(sql, key)]
    sql = """
        SELECT left_trace, right_trace, score FROM verdicts WHERE run = $run AND problem_id = $problem
        ORDER BY left_trace, right_trace"""
    judged = tuple((each["left_trace"], each["right_trace"], each["score"]) for each in results.rows(sql, key))
    whole = Timeline(row.run, row.problem_id, tuple(bars), judged)
    for path in sorted((root / row.run / "checkpoint").glob("*.duckdb")):
        times = problem_times(path, row.problem_id)
        if times is None:
            return replace(whole, why_no_times=f"{path.name} is open in a running job or cannot be read")
        if times.commits:
            return replace(
                whole,
                bars=tuple(replace(bar, attempts=times.attempts.get(bar.trace_index, ())) for bar in whole.bars),
                commits=times.commits,
                lives=times.lives,
            )
    return replace(whole, why_no_times="no checkpoint in the run's folder holds this problem")
