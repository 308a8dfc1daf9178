"""Methods side by side: what each run was worth and what it cost, with intervals, and plain voting at equal tokens beside it.

Pure arithmetic over the rows of finished runs. A problem that is in a run several times (resampled traces) counts once,
with its mean; intervals are over problems, and the same draws serve all runs, so that differences are paired.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruner.answers import cached_key
from pruner.records.traces import FinalAnswer
from pruner.results.formats import markdown_table
from pruner.rules.voting import group_answers
from pruner.statistics.intervals import Interval, interval, resamplings

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ComparedRun:
    """One run, one number per problem, repetitions averaged.

    Attributes:
        problems: names, in order; all arrays are [problems].
        correct: share of its repetitions that are right.
        judge_net: the judge's tokens, weighted as in the run's config; net = tokens + judge_net + speculative_net.
        rounds: how often traces were started; NaN where that is not known.
    """

    run: str
    method: str
    settings: str
    budget: int
    repetitions: int
    problems: tuple[str, ...]
    correct: Floats
    tokens: Floats
    tokens_net: Floats
    tokens_prefix: Floats
    tokens_finished: Floats
    traces: Floats
    judge_calls: Floats
    rounds: Floats
    speculative_net: Floats

    @property
    def judge_net(self) -> Floats:
        return self.tokens_net - self.tokens - self.speculative_net


@dataclass(frozen=True)
class Control:
    """cons@k for k = 1..N from the traces of one run of method=cons. correct, tokens: [problems, N]."""

    problems: tuple[str, ...]
    correct: Floats
    tokens: Floats


@dataclass(frozen=True)
class ComparisonRow:
    """One run of the table.

    Attributes:
        saving: 1 - net tokens / tokens of the baseline, cons@N; None without a baseline.
        control: accuracy of cons@k at equal net tokens, between two k by interpolation; None beyond cons@N or without it.
        lead: accuracy above that.
        against_all: accuracy above the baseline's, on the same problems and traces; None without a baseline.
        rounds: how often traces were started; None for runs that are there, which do not say.
    """

    run: str
    method: str
    settings: str
    problems: int
    repetitions: int
    accuracy: Interval
    tokens: float
    tokens_net: float
    tokens_prefix: float
    tokens_finished: float
    judge_net: float
    judge_calls: float
    traces: float
    rounds: float | None
    saving: float | None
    control: float | None
    lead: Interval | None
    against_all: Interval | None = None

    @property
    def mean_accuracy(self) -> float:
        """The accuracy without its interval."""
        assert self.accuracy.value is not None
        return self.accuracy.value


def compared_run(
    run: str, settings: str, rows: Sequence[Mapping[str, Any]], speculative_weight: float = 1.0
) -> ComparedRun:
    """Sum up the answers' rows of one run; problems without a gold answer are left out.

    Args:
        rows: tokens_speculative and rounds where they are known.
        speculative_weight: of the run's config.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["correct"] is not None:
            groups.setdefault(source_of(row), []).append(row)

    speculative = [np.mean([row.get("tokens_speculative") or 0 for row in group]) for group in groups.values()]

    def mean(column: str) -> Floats:
        return np.array([np.mean([row[column] for row in group]) for group in groups.values()], dtype=np.float64)

    return ComparedRun(
        run=run,
        method=str(rows[0]["method"]),
        settings=settings,
        budget=int(rows[0]["budget"]),
        repetitions=max((len(group) for group in groups.values()), default=0),
        problems=tuple(groups),
        correct=mean("correct"),
        tokens=mean("tokens_sampled"),
        tokens_net=mean("tokens_net"),
        tokens_prefix=mean("tokens_prefix"),
        tokens_finished=mean("tokens_finished"),
        traces=mean("traces_started"),
        judge_calls=mean("judge_calls"),
        rounds=mean("rounds") if "rounds" in rows[0] else np.full(len(groups), np.nan),
        speculative_net=speculative_weight * np.array(speculative, dtype=np.float64),
    )


def source_of(row: Mapping[str, Any]) -> str:
    """Return the problem under whose name the repetitions of a row of answers count."""
    return row.get("source_problem_id") or row["problem_id"]


def control(traces: Iterable[Mapping[str, Any]], sources: Mapping[str, str], budget: int) -> Control:
    """Vote over the first k traces of every problem, for all k.

    Args:
        traces: rows of a run of method=cons: problem_id, trace_index, tokens_sampled, answer, answer_key (if it has them), correct.
        sources: problem id -> name under which its repetitions are averaged.
    """
    by_problem: dict[str, list[Mapping[str, Any]]] = {}
    for row in traces:
        if row["problem_id"] in sources:
            by_problem.setdefault(row["problem_id"], []).append(row)
    curves: dict[str, list[tuple[Floats, Floats]]] = {}
    for problem_id, rows in by_problem.items():
        curves.setdefault(sources[problem_id], []).append(vote_curve(rows, budget))
    names = tuple(dict.fromkeys(sources.values()))
    correct, tokens = (np.array([np.mean([c[i] for c in curves[name]], axis=0) for name in names]) for i in (0, 1))
    return Control(names, correct, tokens)


def vote_curve(rows: Sequence[Mapping[str, Any]], budget: int) -> tuple[Floats, Floats]:
    """Return whether the vote of the first k traces is right, and their tokens, for k = 1..budget."""
    rows = sorted(rows, key=lambda row: row["trace_index"])
    groups = [[number for number, _ in group] for group in group_answers(enumerate(map(_final_answer, rows))).values()]
    group_of = {member: number for number, members in enumerate(groups) for member in members}
    counts = [0] * len(groups)
    leader, correct, tokens = -1, np.zeros(budget), np.zeros(budget)
    total = 0
    for k in range(budget):
        if k < len(rows):
            total += rows[k]["tokens_sampled"]
            group = group_of.get(k)
            if group is not None:
                counts[group] += 1
                # Ties go to the answer that the lowest trace index gave: groups are in that order.
                leader = max(range(len(counts)), key=lambda j: (counts[j], -j))
        tokens[k] = total
        correct[k] = float(leader >= 0 and bool(rows[groups[leader][0]]["correct"]))
    return correct, tokens


def _final_answer(row: Mapping[str, Any]) -> FinalAnswer | None:
    """Return a trace's answer; in runs that were written before answers had keys, it is keyed now."""
    if row["answer"] is None:
        return None
    return FinalAnswer(row["answer"], row.get("answer_key") or cached_key(row["answer"], "math"))


def table(runs: Sequence[ComparedRun], control_: Control | None, bootstrap: int, seed: int) -> list[ComparisonRow]:
    """Return one row per run.

    Raises:
        ValueError: runs over different problems.
    """
    names = runs[0].problems
    if other := [run.run for run in runs if sorted(run.problems) != sorted(names)]:
        raise ValueError(f"{other[0]} has other problems than {runs[0].run}")
    draws = resamplings(len(names), bootstrap, seed)
    return [
        _row(ordered(run, names), control_ and ordered_control(control_, names), draws / len(names)) for run in runs
    ]


def _row(run: ComparedRun, control_: Control | None, draws: Floats) -> ComparisonRow:
    saving, at_equal, lead, against_all = None, None, None, None
    net = float(run.tokens_net.mean())
    if control_ is not None:
        saving = 1.0 - net / float(control_.tokens[:, -1].mean())
        whole = control_.correct[:, -1]
        against_all = interval(float((run.correct - whole).mean()), draws @ (run.correct - whole))
        at_equal = equal_tokens(control_.correct.mean(axis=0), control_.tokens.mean(axis=0), net)
    if control_ is not None and at_equal is not None:
        curves = zip(draws @ control_.correct, draws @ control_.tokens, draws @ run.tokens_net, strict=True)
        equal = np.array([np.interp(tokens, xs, ys) for ys, xs, tokens in curves])
        lead = interval(float(run.correct.mean()) - at_equal, draws @ run.correct - equal)
    return ComparisonRow(
        run=run.run,
        method=run.method,
        settings=run.settings,
        problems=len(run.problems),
        repetitions=run.repetitions,
        accuracy=interval(float(run.correct.mean()), draws @ run.correct),
        tokens=float(run.tokens.mean()),
        tokens_net=net,
        tokens_prefix=float(run.tokens_prefix.mean()),
        tokens_finished=float(run.tokens_finished.mean()),
        judge_net=float(run.judge_net.mean()),
        judge_calls=float(run.judge_calls.mean()),
        traces=float(run.traces.mean()),
        rounds=None if np.isnan(run.rounds).any() else float(run.rounds.mean()),
        saving=saving,
        control=at_equal,
        lead=lead,
        against_all=against_all,
    )


def equal_tokens(correct: Floats, tokens: Floats, net: float) -> float | None:
    """Return the accuracy of plain voting at so many tokens per problem; None outside what was recorded."""
    # A run of cons@1 or cons@N is at an end of the curve, but for rounding.
    if not tokens[0] * (1 - 1e-9) <= net <= tokens[-1] * (1 + 1e-9):
        return None
    return float(np.interp(net, tokens, correct))


def ordered(run: ComparedRun, names: Sequence[str]) -> ComparedRun:
    """Return the run with its problems in this order."""
    if run.problems == tuple(names):
        return run
    order = [run.problems.index(name) for name in names]
    arrays = {key: value[order] for key, value in vars(run).items() if isinstance(value, np.ndarray)}
    return ComparedRun(**(vars(run) | arrays | {"problems": tuple(names)}))


def ordered_control(found: Control, names: Sequence[str]) -> Control:
    order = [found.problems.index(name) for name in names]
    return Control(tuple(names), found.correct[order], found.tokens[order])


_HEADER = (
    *(
        "method",
        "settings",
        "accuracy",
        "against all votes",
        "cons@k at equal tokens",
        "lead",
        "net k tokens",
        "saving",
        "traces",
        "rounds",
        "prefix",
    ),
    *("finished", "judge"),
)


def flat_row(row: ComparisonRow) -> dict[str, object]:
    """Return the row with an interval as three columns."""
    flat: dict[str, object] = {}
    for key, value in asdict(row).items():
        if isinstance(value, dict):
            flat |= {key: value["value"], f"{key}_low": value["low"], f"{key}_high": value["high"]}
        else:
            flat[key] = value
            if key in ("lead", "against_all"):
                flat |= {f"{key}_low": None, f"{key}_high": None}
    return flat


def markdown(rows: Sequence[ComparisonRow], heading: str) -> str:
    """Return the table as Markdown; tokens are thousands per problem."""
    lines = [heading, "", *markdown_table(_HEADER, [_cells(row) for row in rows])]
    lines += [
        "",
        "Accuracy: mean over problems (repetitions of one averaged), in brackets the 95 % bootstrap interval over problems. Saving: net",
        "tokens against the baseline, cons with the whole budget, measured on the same traces. Against all votes: accuracy above that",
        "baseline's, in points, paired by problem. Lead: the same above plain voting (cons@k) at equal net tokens. Rounds: how often traces",
        "were started. prefix, finished, judge: thousands of tokens per problem, the judge's weighted.",
    ]
    return "\n".join(lines) + "\n"


def _cells(row: ComparisonRow) -> list[str]:
    return [
        row.method,
        row.settings,
        percent(row.accuracy),
        "" if row.against_all is None else row.against_all.text("+.1f", "+.1f", 100),
        "" if row.control is None else f"{row.control:.1%}",
        "" if row.lead is None else row.lead.text("+.1f", "+.1f", 100),
        thousands(row.tokens_net),
        "" if row.saving is None else f"{row.saving:.1%}",
        f"{row.traces:.1f}",
        "" if row.rounds is None else f"{row.rounds:.1f}",
        *(thousands(each) for each in (row.tokens_prefix, row.tokens_finished, row.judge_net)),
    ]


def percent(accuracy: Interval) -> str:
    """Return the accuracy in percent, the sign behind the figure alone."""
    figure, _, bounds = accuracy.text(".1f", ".1f", 100).partition(" ")
    return f"{figure}% {bounds}".rstrip()


def thousands(tokens: float) -> str:
    """Return tokens as thousands of them, small numbers with more places."""
    return f"{tokens / 1000:,.1f}" if tokens >= 10_000 or not tokens else f"{tokens / 1000:.3g}"
