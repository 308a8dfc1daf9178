"""What a comparison draws: each method's points, and plain voting at every number of traces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pruner.comparison.certificates import CertificateRow, certificate_row
from pruner.comparison.points import Point
from pruner.comparison.table import (
    ComparedRun,
    Control,
    compared_run,
    control,
    ordered,
    ordered_control,
    source_of,
)
from pruner.config.job import Config
from pruner.errors import InputError
from pruner.results.run_tables import read_rows, speculative_weight
from pruner.shard.inputs import read_inputs
from pruner.simulation.replay_evaluator import answers_of, control_rows

_ANSWERS = (
    *("problem_id", "method", "budget", "correct", "tokens_sampled", "tokens_net", "tokens_prefix", "tokens_finished"),
    *("traces_started", "judge_calls"),
)


_TRACES = ("problem_id", "trace_index", "tokens_sampled", "answer", "correct")


def run_of_folder(folder: Path) -> ComparedRun:
    """Return a run that is there. Raises InputError: it has no answers, or none that can be graded."""
    rows = read_rows(folder, "answers", _ANSWERS, ["source_problem_id", "tokens_speculative"])
    return _graded(compared_run(str(folder), folder.name, rows, speculative_weight(folder)))


def run_of_point(point: Point) -> ComparedRun:
    """Return a point that was consulted."""
    rows = pq.read_table(point.file, columns=[*_ANSWERS, "source_problem_id", "rounds"]).to_pylist()
    return _graded(compared_run(str(point.file), settings_of(point), rows))


def settings_of(point: Point) -> str:
    """Return a point's overrides but for the method."""
    return " ".join(part for part in point.name.split() if not part.startswith("method="))


def certificates(points: Sequence[Point]) -> CertificateRow | None:
    """Return what the certificates of one setting on one or more recordings are worth; None if it has none."""
    columns = ["method", "certified", "is_mode", "correct", "traces_started", "tokens_net"]
    rows = [row for point in points for row in pq.read_table(point.file, columns=columns).to_pylist()]
    return certificate_row(settings_of(points[0]), rows)


def _graded(run: ComparedRun) -> ComparedRun:
    if not run.problems:
        raise InputError(f"{run.run}: has no problem with a gold answer to compare by.")
    return run


def merged(runs: Sequence[ComparedRun]) -> ComparedRun:
    """Return one point's runs over several sets as one."""
    if len(runs) == 1:
        return runs[0]
    arrays = {
        key: np.concatenate([getattr(each, key) for each in runs])
        for key, value in vars(runs[0]).items()
        if isinstance(value, np.ndarray)
    }
    return replace(runs[0], problems=_joined_names([run.problems for run in runs]), **arrays)


def control_of_runs(runs: Sequence[ComparedRun]) -> Control | None:
    """Return plain voting on the traces of the largest run of method=cons; None if there is none."""
    baselines = [run for run in runs if run.method == "cons"]
    if not baselines:
        return None
    largest = max(baselines, key=lambda run: run.budget)
    folder = Path(largest.run)
    answers = read_rows(folder, "answers", ["problem_id", "correct"], ["source_problem_id"])
    graded = {row["problem_id"]: source_of(row) for row in answers if row["correct"] is not None}
    return control(read_rows(folder, "traces", _TRACES, ["answer_key"]), graded, largest.budget)


def plain_voting(config: Config, budget: int) -> Control:
    """Return plain voting on recorded traces, in the orders in which a config's method sees them."""
    inputs = read_inputs(config)
    problems = inputs.problems
    sources = zip(problems.problems, problems.carried.column("source_problem_id").to_pylist(), strict=True)
    graded = {problem.problem_id: source for problem, source in sources if problem.answer is not None}
    with answers_of(config) as answers:
        return control(control_rows(inputs, answers, budget), graded, budget)


def joined(parts: Sequence[Control]) -> Control:
    """Return plain voting over several sets as over one."""
    return Control(
        _joined_names([part.problems for part in parts]),
        np.concatenate([part.correct for part in parts]),
        np.concatenate([part.tokens for part in parts]),
    )


def _joined_names(sets: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the problems of several sets, told apart by the number of their set."""
    if len(sets) == 1:
        return sets[0]
    return tuple(f"{number}/{name}" for number, names in enumerate(sets) for name in names)


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
