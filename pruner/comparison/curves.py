"""What a comparison draws: each method's points, and plain voting at every number of traces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pruner.comparison.table import (
    ComparedRun,
    Control,
    compared_run,
    control,
    ordered,
    ordered_control,
)
from pruner.errors import InputError
from pruner.results.run_tables import read_rows

_ANSWERS = (
    *("problem_id", "method", "budget", "correct", "tokens_sampled", "tokens_net", "tokens_prefix", "tokens_finished"),
    *("traces_started", "judge_calls"),
)


_TRACES = ("problem_id", "trace_index", "tokens_sampled", "answer", "correct")


def runs_of_point(folder: Path, point: str) -> ComparedRun:
    rows = read_rows(folder, "answers", _ANSWERS, ["source_problem_id"])
    settings = " ".join(part for part in point.split() if not part.startswith("method=")) if " " in point else ""
    run = compared_run(str(folder), settings or ("" if point.startswith("method=") else Path(point).name), rows)
    if not run.problems:
        raise InputError(f"run {folder}: has no problem with a gold answer to compare by.")
    return run


def merged(runs: Sequence[ComparedRun]) -> ComparedRun:
    """Return one point's runs over several sets as one."""
    if len(runs) == 1:
        return runs[0]
    names = tuple(f"{number}/{name}" for number, each in enumerate(runs) for name in each.problems)
    arrays = {
        key: np.concatenate([getattr(each, key) for each in runs])
        for key, value in vars(runs[0]).items()
        if isinstance(value, np.ndarray)
    }
    return replace(runs[0], problems=names, **arrays)


def control_of(groups: dict[str, list[Path]], points: Sequence[ComparedRun]) -> Control | None:
    """Return plain voting on the traces of the largest run of method=cons; None if there is none."""
    baselines = [each for each in zip(groups.values(), points, strict=True) if each[1].method == "cons"]
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


def candidates(points: Sequence[ComparedRun], control_: Control | None) -> list[ComparedRun]:
    """Return all runs over the problems in one order, plain voting at every k among them."""
    names = points[0].problems
    runs = [ordered(run, names) for run in points]
    if control_ is None:
        return runs
    curve = ordered_control(control_, names)
    plain = [
        replace(runs[0], method="cons@k", correct=curve.correct[:, k], tokens_net=curve.tokens[:, k])
        for k in range(curve.correct.shape[1])
    ]
    return [*(run for run in runs if run.method != "cons"), *plain]
