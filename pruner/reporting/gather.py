"""The contents of a report, read from results as records. Knows no figure and no page."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pruner.results.named_queries import NamedQuery
from pruner.results.query import Results
from pruner.results.run_totals import RunTotals

_BINS = 10


@dataclass(frozen=True)
class Point:
    """A run in the plane of accuracy and net tokens per problem. low, high: 95 % interval over problems."""

    run: str
    method: str
    group: str
    accuracy: float
    low: float
    high: float
    net_per_problem: float
    is_whole: bool = True
    hours: float | None = None


@dataclass(frozen=True)
class ProblemRow:
    """One problem of one run; columns as in schemas.py."""

    run: str
    problem_id: str
    problem_index: int
    question: str | None
    gold: str | None
    status: str
    failure: str | None
    answer: str | None
    correct: int | None
    votes: float
    votes_total: float
    vote_answers: list[str]
    vote_counts: list[float]
    clusters: int
    cluster_sizes: list[int]
    traces_started: int
    traces_finished: int
    traces_pruned: int
    traces_cut: int | None
    traces_unanswered: int | None
    votes_tied: int | None
    tokens_sampled: int
    tokens_finished: int
    tokens_pruned: int
    tokens_speculative: int | None
    tokens_net: float
    judge_calls: int

    @property
    def margin(self) -> float | None:
        """The winner's votes less those of the second, as a share of all votes; None without a vote."""
        if not self.votes_total:
            return None
        second = self.vote_counts[1] if len(self.vote_counts) > 1 else 0.0
        return (self.votes - second) / self.votes_total

    @property
    def grade(self) -> str:
        return "no gold answer" if self.correct is None else "right" if self.correct else "wrong"

    @property
    def outcome(self) -> str:
        if self.status != "answered":
            return "no answer" if self.status == "no_answer" else self.status
        return "answered" if self.correct is None else self.grade


@dataclass(frozen=True)
class Calibration:
    """Share of pairs that agree by the judge's score, over pairs whose traces both finished with an answer.

    Attributes:
        bins: mean score, share that agrees, number of pairs.
        verdicts: all verdicts of the run.
    """

    run: str
    judge: str
    bins: tuple[tuple[float, float, int], ...]
    verdicts: int

    @property
    def checked(self) -> int:
        return sum(count for _, _, count in self.bins)


@dataclass(frozen=True)
class AtK:
    """Chances that one of k traces is right (pass@k) and that their plain vote is (maj@k). tokens: of k traces of a problem."""

    k: int
    pass_at_k: float
    maj_at_k: float
    tokens: float


@dataclass(frozen=True)
class VoteCurve:
    """pass@k and maj@k of a run at several k.

    Attributes:
        is_whole: every trace of the budget finished, so that points are means over all choices of k traces (pruner/statistics/at_k.py); else
            they are of the first k that were started, where a problem has fewer, of all of them.
    """

    run: str
    is_whole: bool
    points: tuple[AtK, ...]


def vote_curve(results: Results, run: str, query: NamedQuery) -> VoteCurve | None:
    """Return what more traces of a run bring; None where no problem has a gold answer. query: as of curve_at_k."""
    if found := curve_at_k(results, run, query):
        return VoteCurve(run, True, tuple(found))
    found = _curve_of_first(results, run)
    return VoteCurve(run, False, tuple(found)) if found else None


def _curve_of_first(results: Results, run: str) -> list[AtK]:
    sql = """
        WITH graded AS (SELECT problem_index FROM answers WHERE run = $run AND correct IS NOT NULL),
        started AS (
            SELECT problem_index, trace_index, tokens_sampled, status, coalesce(answer_key, answer) AS answer, correct
            FROM traces JOIN graded USING (problem_index) WHERE run = $run AND status <> 'speculative'),
        most AS (SELECT max(trace_index) + 1 AS num FROM started),
        ks AS (
            SELECT DISTINCT unnest([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, num]) AS k, num FROM most),
        votes AS (
            SELECT k, problem_index, answer, count(*) AS votes, min(trace_index) AS first,
                arg_min(correct, trace_index) AS correct, max(correct) AS any_correct
            FROM started JOIN ks ON trace_index < k WHERE status = 'finished' AND answer IS NOT NULL GROUP BY ALL),
        voted AS (
            SELECT k, problem_index, arg_max(correct, votes * 1e9 - first) AS is_right, max(any_correct) AS has_right
            FROM votes GROUP BY ALL),
        tokens AS (SELECT k, sum(tokens_sampled) AS tokens FROM started JOIN ks ON trace_index < k GROUP BY k)
        SELECT k::INT AS k, sum(is_right) / (SELECT count(*) FROM graded) AS maj_at_k,
            sum(has_right) / (SELECT count(*) FROM graded) AS pass_at_k, any_value(tokens) / (SELECT count(*) FROM graded) AS tokens
        FROM ks JOIN tokens USING (k) LEFT JOIN voted USING (k) WHERE k <= num GROUP BY k ORDER BY k"""
    rows = results.rows(sql, {"run": run})
    return [
        AtK(row["k"], float(row["pass_at_k"] or 0), float(row["maj_at_k"] or 0), float(row["tokens"])) for row in rows
    ]


def curve_at_k(results: Results, run: str, query: NamedQuery) -> list[AtK]:
    """Return pass@k and maj@k over a run's graded problems; nothing unless each of them finished its whole budget.

    Args:
        query: `at_k` of conf/query.
    """
    rows = results.rows(query.sql, query.values({"runs": run}))
    return [
        AtK(row["k"], row["pass_at_k"], row["maj_at_k"], row["tokens_per_problem"]) for row in rows if row["run"] == run
    ]


def points(runs: Sequence[RunTotals]) -> list[Point]:
    """Return the runs whose accuracy is known."""
    return [point for each in runs if (point := _point(each)) is not None]


def _point(each: RunTotals) -> Point | None:
    accuracy, low, high = each.accuracy, each.accuracy_low, each.accuracy_high
    if accuracy is None or low is None or high is None:
        return None
    group, net = f"{each.problem_set}, {each.model}", each.tokens_net / each.problems
    return Point(each.run, each.method, group, accuracy, low, high, net, each.note is None, _hours(each))


def _hours(totals: RunTotals) -> float | None:
    """Return the hours of its GPUs, or of its engine on a CPU; None if they are not known."""
    on_gpus = (totals.gpu_seconds_sampler or 0.0) + (totals.gpu_seconds_judge or 0.0)
    seconds = on_gpus or (totals.work_s or 0.0) + (totals.load_s or 0.0)
    return seconds / 3600 if seconds else None


def ranked(runs: Sequence[RunTotals]) -> list[RunTotals]:
    """Return runs as on the leaderboard: most accurate first, then the cheapest; behind them those that are no peers."""

    def key(each: RunTotals) -> tuple[bool, float, float, str]:
        return (
            each.note is not None,
            -(each.accuracy if each.accuracy is not None else -1.0),
            each.tokens_net / max(1, each.problems),
            each.run,
        )

    return sorted(runs, key=key)


def focus_of(runs: Sequence[RunTotals]) -> RunTotals:
    """Return the run to look at closely: of those with most problems, the best one that prunes, else the best."""
    most = max(each.problems for each in runs)
    whole = [each for each in ranked(runs) if each.problems == most]
    return next((each for each in whole if each.traces_pruned), whole[0])


def described(results: Results, totals: RunTotals) -> list[tuple[str, str]]:
    """Return what a reader of a run's figures has to know of it: label and text."""
    sql = """
        SELECT config->'model'->'sampling'->>'temperature' AS temperature, config->'model'->'sampling'->>'top_p' AS top_p,
            config->'model'->'sampling'->>'max_tokens' AS max_tokens, config->'sampler'->>'source' AS source,
            config->'sampler'->>'exact' AS exact,
            (SELECT arg_max(versions, started_at) FROM attempts WHERE run = $run) AS versions
        FROM runs WHERE run = $run"""
    [row] = results.rows(sql, {"run": totals.run}) or [{}]
    facts = [("sampling", _sampling(row, totals))]
    if totals.started_at is not None:
        ended = "" if totals.ended_at is None else f" to {totals.ended_at:%Y-%m-%d %H:%M} UTC"
        facts.append(("when", f"{totals.started_at:%Y-%m-%d %H:%M}{ended}"))
    if versions := _versions(row.get("versions")):
        facts.append(("software", versions))
    return [(label, text) for label, text in facts if text]


def _sampling(row: dict[str, Any], totals: RunTotals) -> str:
    if totals.sampler == "simulated":
        return "SIMULATED traces: no model wrote them"
    if totals.sampler == "replay":
        return f"recorded traces ({row.get('source') or 'unknown'}), {totals.budget} at most of each problem"
    if row.get("temperature") is None:
        return ""
    exact = {"true": ", exact", "false": ", not exact"}.get(row.get("exact") or "", "")
    return (
        f"temperature {row['temperature']}, top-p {row['top_p']}, {totals.budget} traces of at most {int(row['max_tokens']):,} "
        f"tokens{exact}"
    )


def _versions(written: str | None) -> str:
    try:
        found = json.loads(written or "{}")
        return ", ".join(f"{name} {version}" for name, version in found.items())
    except (ValueError, AttributeError):
        return ""


def problem_rows(results: Results, runs: Sequence[str], limit: int) -> list[ProblemRow]:
    """Return problems of runs in the runs' order, `limit` at most."""
    names = ", ".join(name for name in ProblemRow.__dataclass_fields__)
    sql = f"""
        SELECT {names} FROM answers WHERE list_contains($runs, run)
        ORDER BY list_position($runs, run), problem_index LIMIT $limit"""
    return [ProblemRow(**_listed(row)) for row in results.rows(sql, {"runs": list(runs), "limit": limit})]


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: row[name] or [] for name in ("vote_answers", "vote_counts", "cluster_sizes")}


def calibrations(results: Results, judged: Sequence[RunTotals], query: NamedQuery) -> list[Calibration]:
    """Return the calibration of every judge that has a pair to check.

    Args:
        query: `judge_quality` of conf/query, which says when a pair agrees.
    """
    if not judged:
        return []
    bins: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    runs = judged[0].run if len(judged) == 1 else "%"
    for row in results.rows(query.sql, query.values({"bins": _BINS, "runs": runs})):
        bins[row["run"]].append((row["mean_score"], row["agree"], row["pairs"]))
    return [
        Calibration(each.run, each.judge or "probe", tuple(bins[each.run]), each.judge_verdicts)
        for each in judged
        if bins[each.run]
    ]
