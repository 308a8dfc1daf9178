"""Frontiers of methods over their settings, and what is left of them when settings are chosen on other problems. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pruner.comparison.table import ComparedRun, ComparisonRow, Control, Floats
from pruner.records.traces import hash64
from pruner.results.formats import markdown_table

# A method with so many settings is chosen from; so many marks are shown at most.
_LEAST_SETTINGS, _MOST_MARKS = 3, 5


@dataclass(frozen=True)
class Frontier:
    """The best accuracy that a method reaches with at most so many net tokens per problem; None where none is so cheap."""

    method: str
    accuracy: tuple[float | None, ...]


def marks_of(rows: Sequence[ComparisonRow]) -> list[float]:
    """Return net tokens per problem at which a table of the best settings says something: the baseline's cost and its halves down to the
    cheapest setting, in two digits. None where no method has settings to choose from.
    """
    of_method = Counter(row.method for row in rows if row.method != "cons")
    most = max((row.tokens_net for row in rows if row.method == "cons"), default=0.0)
    if max(of_method.values(), default=0) < _LEAST_SETTINGS or most <= 0:
        return []
    least = min(row.tokens_net for row in rows)
    halves = [most / 2**number for number in range(_MOST_MARKS) if most / 2**number >= least]
    return sorted({float(f"{half:.2g}") for half in halves})


def frontiers(rows: Sequence[ComparisonRow], control: Control | None, marks: Sequence[float]) -> list[Frontier]:
    """Return the frontier of every method over all its settings, and that of plain voting over all k.

    Args:
        marks: net tokens per problem.
    """
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        points.setdefault(row.method, []).append((row.tokens_net, row.mean_accuracy))
    if control is not None:
        tokens, correct = control.tokens.mean(axis=0), control.correct.mean(axis=0)
        points["cons@k"] = list(zip(tokens.tolist(), correct.tolist(), strict=True))
    return [
        Frontier(name, tuple(max((y for x, y in own if x <= mark), default=None) for mark in marks))
        for name, own in points.items()
    ]


def held_out(runs: Sequence[ComparedRun], marks: Sequence[float], folds: int, seed: int) -> list[Frontier]:
    """Return every method's frontier as it is on problems that its settings were not chosen on.

    For the problems of each fold, a method's setting is the one that is best on the other folds' problems among those that
    cost at most so many tokens there. A method with many settings gains by luck in `frontiers`, not here.
    """
    by_method: dict[str, list[ComparedRun]] = {}
    for run in runs:
        by_method.setdefault(run.method, []).append(run)
    fold_of = _folds(runs[0].problems, folds, seed)
    found = []
    for method, own in by_method.items():
        values = []
        for mark in marks:
            chosen = [_best(own, fold_of != fold, mark) for fold in range(folds)]
            parts = [run.correct[fold_of == fold] for fold, run in enumerate(chosen) if run is not None]
            values.append(float(np.concatenate(parts).mean()) if len(parts) == folds else None)
        found.append(Frontier(method, tuple(values)))
    return found


def _best(runs: Sequence[ComparedRun], problems: Floats, mark: float) -> ComparedRun | None:
    """Return the run that is best on these problems and costs at most `mark` there; of equals the cheapest."""
    affordable = [run for run in runs if run.tokens_net[problems].mean() <= mark]
    return max(
        affordable, key=lambda run: (run.correct[problems].mean(), -run.tokens_net[problems].mean()), default=None
    )


def _folds(names: Sequence[str], folds: int, seed: int) -> Floats:
    return np.array([hash64(seed, "fold", name) % folds for name in names])


def markdown(found: Sequence[Frontier], marks: Sequence[float]) -> str:
    """Return the frontiers as a Markdown table, one column per method."""
    rows = []
    for number, mark in enumerate(marks):
        values = [each.accuracy[number] for each in found]
        rows.append([_mark(mark), *("" if value is None else f"{value:.2%}" for value in values)])
    lines = markdown_table(["net tokens per problem, at most", *(each.method for each in found)], rows)
    return "\n".join(lines) + "\n"


def _mark(tokens: float) -> str:
    """Return a number of tokens, thousands of them from 1,000 on: 300, 1.5k, 20k."""
    return f"{tokens:,.10g}" if tokens < 1000 else f"{tokens / 1000:,.10g}k"
