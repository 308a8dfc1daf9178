"""What only checkpoints know: segments, confidences, and when a problem was worked on. One that a running job has open, that is damaged
or of an older version is None."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from pruner.checkpoint.database import open_database

Rows = list[dict[str, Any]]
_COMMITS = """
    WITH facts AS (
        SELECT committed_at, attempt, num_tokens AS tokens, 0 AS judged FROM segments WHERE problem_id = $problem
        UNION ALL SELECT committed_at, attempt, 0, 1 FROM probes WHERE problem_id = $problem
        UNION ALL SELECT committed_at, attempt, 0, 1 FROM verdicts WHERE problem_id = $problem)
    SELECT epoch(committed_at - (SELECT min(started_at) FROM attempts)) AS at_s, attempt, sum(tokens)::BIGINT AS tokens,
        sum(judged)::BIGINT AS judged
    FROM facts GROUP BY ALL ORDER BY at_s"""
_SEGMENTS = "SELECT trace_index, attempt FROM segments WHERE problem_id = $problem ORDER BY trace_index, segment_index"
_LIVES = """
    SELECT attempt, epoch(started_at - (SELECT min(started_at) FROM attempts)) AS start_s,
        epoch(ended_at - (SELECT min(started_at) FROM attempts)) AS end_s, end_reason AS reason
    FROM attempts LEFT JOIN attempt_ends USING (attempt) WHERE $problem IS NOT NULL ORDER BY attempt"""


@dataclass(frozen=True)
class Commit:
    """Something committed: seconds since the first attempt began, tokens of segments, verdicts and probes of the judge."""

    at_s: float
    attempt: int
    tokens: int
    judged: int


@dataclass(frozen=True)
class Life:
    """One attempt: seconds since the first one began; end_s None: it has not ended."""

    attempt: int
    start_s: float
    end_s: float | None
    reason: str | None


@dataclass(frozen=True)
class ProblemTimes:
    """When a problem was worked on. attempts: by trace, the attempt that sampled each of its segments."""

    commits: tuple[Commit, ...]
    lives: tuple[Life, ...]
    attempts: Mapping[int, tuple[int, ...]]


def checkpoint_rows(path: Path) -> Rows | None:
    """Return segments and tokens of every trace in a checkpoint."""
    sql = """
        SELECT problem_id, trace_index, count(*) AS segments, count(DISTINCT segment_index) AS "distinct",
            sum(num_tokens)::BIGINT AS tokens
        FROM segments GROUP BY ALL"""
    found = _read(path, [sql], {})
    return None if found is None else found[0]


def problem_times(path: Path, problem_id: str) -> ProblemTimes | None:
    """Return what a checkpoint knows of when a problem was worked on."""
    found = _read(path, [_COMMITS, _SEGMENTS, _LIVES], {"problem": problem_id})
    if found is None:
        return None
    commits, segments, lives = found
    attempts: defaultdict[int, tuple[int, ...]] = defaultdict(tuple)
    for segment in segments:
        attempts[segment["trace_index"]] += (segment["attempt"],)
    return ProblemTimes(
        tuple(Commit(**commit) for commit in commits), tuple(Life(**life) for life in lives), dict(attempts)
    )


def checkpoint_confidence(paths: Sequence[Path]) -> dict[tuple[str, int], list[float]]:
    """Return the tokens' confidences of traces that have them, of all checkpoints that can be opened."""
    sql = """
        SELECT problem_id, trace_index, flatten(list(confidence ORDER BY segment_index)) AS confidence
        FROM segments GROUP BY ALL HAVING count(confidence) = count(*)"""
    rows = [row for path in paths for found in _read(path, [sql], {}) or [] for row in found]
    return {(row["problem_id"], row["trace_index"]): row["confidence"] for row in rows}


def _read(path: Path, queries: Sequence[str], parameters: Mapping[str, Any]) -> list[Rows] | None:
    try:
        with open_database(path, "READ_ONLY") as connection:
            return [connection.sql(sql, params=dict(parameters)).to_arrow_table().to_pylist() for sql in queries]
    except duckdb.ParserException:
        raise
    except (duckdb.Error, ValueError, OverflowError):  # another database, or rows that are not ours
        return None
