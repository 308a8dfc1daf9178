"""What a comparison draws: each method's points, and plain voting at every number of traces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pruner.comparison.table import (
    Control,
    RunBooks,
    control,
    ordered,
    ordered_control,
    run_books,
)
from pruner.errors import InputError
from pruner.results.run_tables import read_rows

_ANSWERS = (
    *("problem_id", "method", "budget", "correct", "tokens_sampled", "tokens_net", "tokens_prefix", "tokens_finished"),
    *("traces_started", "judge_calls"),
)


_TRACES = ("problem_id", "trace_index", "tokens_sampled", "answer", "correct")


def books_of(folder: Path, point: str) -> RunBooks:
    rows = read_rows(folder, "answers", _ANSWERS, ["source_problem_id"])
    settings = " ".join(part for part in point.split() if not part.startswith("method=")) if " " in point else ""
    books = run_books(str(folder), settings or ("" if point.startswith("method=") else Path(point).name), rows)
    if not books.problems:
        raise InputError(f"run {folder}: has no problem with a gold answer to compare by.")
    return books


def merged(books: Sequence[RunBooks]) -> RunBooks:
    """Return one point's runs over several sets as one."""
    if len(books) == 1:
        return books[0]
    names = tuple(f"{number}/{name}" for number, each in enumerate(books) for name in each.problems)
    arrays = {
        key: np.concatenate([getattr(each, key) for each in books])
        for key, value in vars(books[0]).items()
        if isinstance(value, np.ndarray)
    }
    return replace(books[0], problems=names, **arrays)


def control_of(groups: dict[str, list[Path]], books: Sequence[RunBooks]) -> Control | None:
    """Return plain voting on the traces of the largest run of method=cons; None if there is none."""
    baselines = [each for each in zip(groups.values(), books, strict=True) if each[1].method == "cons"]
    if not baselines:
        return None
    runs, largest = max(baselines, key=lambda each: each[1].budget)
    parts = []
    for run in runs:
        rows = read_rows(run, "answers", ["problem_id", "correct"], ["source_problem_id"])
        sources = {
            row["problem_id"]: row.get("source_problem_id") or row["problem_id"]
            for row in rows
            if row["correct"] is not None
        }
        parts.append(control(read_rows(run, "traces", _TRACES, ["answer_key"]), sources, largest.budget))
    return Control(
        largest.problems,
        np.concatenate([part.correct for part in parts]),
        np.concatenate([part.tokens for part in parts]),
    )


def candidates(books: Sequence[RunBooks], control_: Control | None) -> list[RunBooks]:
    """Return all runs over the problems in one order, plain voting at every k among them."""
    names = books[0].problems
    runs = [ordered(run, names) for run in books]
    if control_ is None:
        return runs
    curve = ordered_control(control_, names)
    plain = [
        replace(runs[0], method="cons@k", correct=curve.correct[:, k], tokens_net=curve.tokens[:, k])
        for k in range(curve.correct.shape[1])
    ]
    return [*(run for run in runs if run.method != "cons"), *plain]
