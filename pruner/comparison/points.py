"""The points of a comparison: methods consulted on recorded traces, some processes at a time, with a file for each point.

A point is a config and a recording. Its file says what it is a function of, this program's own code included, so that what an
earlier call finished is not done again, and never taken for something else.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

import pruner
from pruner.config.identity import identity
from pruner.config.job import Config
from pruner.errors import InputError
from pruner.records.schemas import ANSWERS, ANSWERS_ADDED
from pruner.settings.prices import AccountingConfig
from pruner.shard import build
from pruner.shard.accounting import net_tokens
from pruner.shard.inputs import Inputs, fingerprints, read_inputs
from pruner.simulation.replay_evaluator import Evaluated, ReplayEvaluator, answers_of, recorded_answers
from pruner.system.files import files_fingerprint, write_atomically
from pruner.system.processes import end_with_parent

Result = TypeVar("Result")

_POLL_S = 0.1
_STOPS = (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
_SOURCE = pa.schema([("source_problem_id", pa.string()), ("repetition", pa.int32())])
# Of a row of a run's answers, what a comparison looks at.
ANSWER_COLUMNS = (
    *("problem_id", "method", "budget", "judge", "answer", "correct", "votes", "votes_total", "votes_tied", "credit"),
    *("certified", "e_value", "any_correct", "clusters", "traces_started", "traces_finished", "traces_pruned"),
    *("tokens_sampled", "tokens_prefix", "tokens_finished", "tokens_unpruned_estimate"),
    *("judge_calls", "judge_probes", "judge_verdicts"),
    *("tokens_judge_prompt", "tokens_judge_cached", "tokens_judge_output"),
)
# The columns of a point's file. rounds, is_mode: see Evaluated.
SCHEMA = pa.schema(
    [
        *_SOURCE,
        *(ANSWERS.field(name) for name in ANSWER_COLUMNS),
        ANSWERS_ADDED.field("tokens_net"),
        pa.field("rounds", pa.int32()),
        pa.field("is_mode", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Point:
    """One setting on one recording.

    Attributes:
        name: its overrides, as they were given.
        config: of a run with sampler=replay.
        file: where its rows go.
    """

    name: str
    config: Config
    file: Path


def is_known(file: Path, given: str) -> bool:
    """Return whether a file holds what would be computed now."""
    try:
        metadata = pq.read_schema(file).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return False
    return metadata.get(b"point") == given.encode()


def write_known(file: Path, table: pa.Table, given: str) -> None:
    """Write what was computed, with all that it is a function of."""
    table = table.replace_schema_metadata({"point": given})
    write_atomically(file, lambda path: pq.write_table(table, path))


def prepare(point: Point) -> str:
    """Refuse a point that cannot work, and return everything that its rows are a function of, as text.

    Raises:
        InputError: with the point's name.
    """
    try:
        inputs = read_inputs(point.config)
        build.check_models(point.config, inputs)
        given = identity(point.config, fingerprints(point.config, inputs))
        ReplayEvaluator(point.config, inputs, answers_of(point.config))
    except InputError as error:
        raise InputError([f"{point.name}: {fault}" for fault in error.faults]) from None
    weights = point.config.accounting.model_dump_json()
    return json.dumps([given, weights, code_fingerprint()], sort_keys=True)


@cache
def code_fingerprint() -> str:
    """Return a hash of this program's code."""
    return files_fingerprint(sorted(Path(pruner.__file__).parent.rglob("*.py")))


def consult_points(
    points: Sequence[Point], processes: int, should_stop: Callable[[], bool], on_done: Callable[[Point], None]
) -> bool:
    """Evaluate what is not done yet; return False if it was stopped: what was finished is kept.

    Args:
        points: on one recording.
        on_done: called with each point once its file is there.

    Raises:
        InputError: a method asks for what was not recorded.
        AnswerError: answers cannot be read.
        ChildProcessError: a process died.
    """
    given = {point.file: prepare(point) for point in points}
    todo = []
    for point in points:
        if is_known(point.file, given[point.file]):
            on_done(point)
        else:
            todo.append(point)
    if not todo or should_stop():
        return not should_stop()
    _read_answers(todo)
    calls = [(point, partial(consulted, point, chunk, processes)) for point in todo for chunk in range(processes)]
    for point, table in _joined(in_processes(calls, processes, should_stop), processes):
        write_known(point.file, table, given[point.file])
        on_done(point)
    return not should_stop()


def _begin() -> None:
    """Leave signals that reach every process to the parent, and do not outlive it."""
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()


def _read_answers(points: Sequence[Point]) -> None:
    """Read the answers of all traces before processes begin, so that each of them knows them."""
    for point in points:
        replay = read_inputs(point.config).replay
        assert replay is not None
        with answers_of(point.config) as answers:
            answers.read_all(recorded_answers(replay))


def in_processes(
    calls: Sequence[tuple[Point, Callable[[], Result]]], processes: int, should_stop: Callable[[], bool]
) -> Iterator[tuple[Point, Result]]:
    """Yield each call's point with what the call returns, as they end, until it is to stop; at the end no process is left.

    Args:
        calls: what was read before is there in every process.

    Raises:
        InputError: of a point, with its name.
        ChildProcessError: a process died.
    """
    with ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), _begin) as pool:
        open_ = {pool.submit(call): point for point, call in calls}
        try:
            while open_ and not should_stop():
                done, _ = wait(open_, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                for future in done:
                    point = open_.pop(future)
                    yield point, _result(future, point)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()


def _joined(tables: Iterable[tuple[Point, pa.Table]], chunks: int) -> Iterator[tuple[Point, pa.Table]]:
    """Yield each point with its rows once all chunks of it are there."""
    parts: dict[Path, list[pa.Table]] = {}
    for point, table in tables:
        own = parts.setdefault(point.file, [])
        own.append(table)
        if len(own) == chunks:
            yield point, pa.concat_tables(parts.pop(point.file)).sort_by("problem_index").drop_columns("problem_index")


def _result(future: Future[Result], point: Point) -> Result:
    try:
        return future.result()
    except InputError as error:
        raise InputError([f"{point.name}: {fault}" for fault in error.faults]) from None
    except BrokenProcessPool:
        raise ChildProcessError(
            "a process of the comparison died, perhaps for lack of memory; try processes=1"
        ) from None


def consulted(point: Point, chunk: int, chunks: int) -> pa.Table:
    """Return the rows of every chunks-th problem of a point, from the chunk-th on, with their problem_index."""
    inputs = read_inputs(point.config)
    with answers_of(point.config) as answers:
        evaluator = ReplayEvaluator(point.config, inputs, answers)
        found = [evaluator.evaluate(problem) for problem in inputs.problems.problems[chunk::chunks]]
    return _table(found, inputs, point.config.accounting)


def _table(found: Sequence[Evaluated], inputs: Inputs, weights: AccountingConfig) -> pa.Table:
    rows = [each.row for each in found]
    indexes = pa.array([row.problem_index for row in rows], pa.int32())
    values = {name: [getattr(row, name) for row in rows] for name in ANSWER_COLUMNS}
    values["tokens_net"] = [net_tokens(row, weights) for row in rows]
    values["rounds"] = [each.rounds for each in found]
    values["is_mode"] = [each.is_mode for each in found]
    sources = inputs.problems.carried.select(list(_SOURCE.names)).take(indexes)
    return pa.table(
        [indexes, *sources.columns, *(pa.array(values[name], SCHEMA.field(name).type) for name in values)],
        ["problem_index", *_SOURCE.names, *values],
    )
