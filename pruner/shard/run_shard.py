"""One attempt at a shard, from the config to the last row: claim the run, open the checkpoint, start the engines, work, report.

Everything that can be wrong with the input is found before a model is loaded.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pruner.answers.reader import AnswerReader
from pruner.checkpoint.lease import Lease, this_holder
from pruner.checkpoint.store import AttemptEnd, Store
from pruner.config.identity import identity
from pruner.config.job import Config
from pruner.errors import AnswerError, CheckpointError, EngineError, InputError, Unavailable
from pruner.records.progress import Progress
from pruner.records.traces import Problem
from pruner.results.query import run_totals
from pruner.results.run_folder import RunFolder
from pruner.results.summary import seconds_words, summary
from pruner.results.writer import write_attempts, write_results
from pruner.samplers.base import Sampler
from pruner.samplers.served.facts import check_recorded
from pruner.settings.section import local_path
from pruner.shard import build
from pruner.shard.attempt import (
    Reporter,
    Shard,
    check_complete,
    check_progress,
    check_shard,
    finish_attempt,
    ignore,
    killed_attempt,
    last_progress,
    open_checkpoint,
    report_done,
    this_process,
)
from pruner.shard.claim import RunRecord, claim, recorded_servers
from pruner.shard.display import ProgressDisplay
from pruner.shard.inputs import Inputs, fingerprints, read_inputs, sampler_context
from pruner.shard.opening import opening
from pruner.shard.runner import Engines, Hooks, Runner, Workload
from pruner.system import slurm
from pruner.system.lines import log, print_warnings, printable


@dataclass(frozen=True)
class Stop:
    """How a job is asked to stop. drain_s: once it is, how long what runs may take to end."""

    is_requested: Callable[[], bool]
    drain_s: Callable[[], float] = lambda: 0.0


@dataclass(frozen=True)
class RunStart:
    """How a run was started: its folder's name, its config as plain values, the files of .hydra/ (name -> text), and what to warn of."""

    name: str
    values: Mapping[str, Any]
    hydra_files: Mapping[str, str]
    notes: Sequence[str] = ()


def run_shard(config: Config, start: RunStart, stop: Stop, on_progress: Callable[[Progress], None] = ignore) -> bool:
    """Work on one shard; return False if it was interrupted.

    Args:
        on_progress: told whatever is written to progress.json; must return at once.

    Raises:
        InputError: with all that is wrong with the input.
        AnswerError, CheckpointError, EngineError: a fault; what was committed stays.
        Unavailable: the servers are away for too long.
    """
    slurm.check_one_node()
    inputs = read_inputs(config)
    build.check_models(config, inputs)
    print_warnings([*start.notes, *inputs.problems.notes, *unasked_judge(config)])
    servers = config.sampler.check_servers(sampler_context(config, inputs), stop.is_requested)
    if stop.is_requested():
        return False
    inputs = replace(inputs, servers=servers)
    folder = RunFolder(local_path(config.run.root), start.name, config.shard.index)
    record = RunRecord(
        identity(config, fingerprints(config, inputs)),
        config.shard.count,
        start.values,
        start.hydra_files,
        len(inputs.problems.problems),
        None if servers is None else servers.record(),
    )
    lease = Lease(folder.lease, this_holder(slurm.job_id()))
    try:
        claim(folder, record, lease, config.checkpoint.lock_wait_s, stop.is_requested)
    except InputError:
        if stop.is_requested():
            return False
        raise
    with contextlib.ExitStack() as opened:
        opened.enter_context(lease)
        if servers is not None:
            check_recorded(recorded_servers(folder), servers)
        store = opened.enter_context(open_checkpoint(config.checkpoint, folder, record.whole_identity, lease))
        shard = replace(_open_shard(config, inputs, folder, store), on_progress=on_progress)
        if not _work_on(shard, inputs, stop):
            return False
        write_results(folder, store, inputs.problems, shard.trace_columns, config.accounting)
        report_done(shard)
    _print_summary(folder, shard)
    return True


def unasked_judge(config: Config) -> list[str]:
    """Return a warning where a judge was chosen that the method never asks."""
    if config.method.uses_judge or config.judge.name == "probe":
        return []
    return [f"judge={config.judge.name} is not used: method={config.method.name} compares no traces"]


def _open_shard(config: Config, inputs: Inputs, folder: RunFolder, store: Store) -> Shard:
    last = last_progress(folder)
    mine = inputs.problems.shard(config.shard.index, config.shard.count)
    check_shard(store, mine)
    check_complete(store, folder, last)
    check_progress(store, folder, last)
    if config.checkpoint.rederive:
        store.forget_derived()
    return Shard(config, folder, store, inputs.problems, _unanswered(mine, store), len(mine), last)


def _unanswered(problems: Iterable[Problem], store: Store) -> list[Problem]:
    answered = store.answered_ids()
    return [problem for problem in problems if problem.problem_id not in answered]


def _work_on(shard: Shard, inputs: Inputs, stop: Stop) -> bool:
    """Work on what is open, if anything is; return False if it was interrupted."""
    if not shard.todo:
        log(f"nothing to do: all {shard.num_problems} problems of this shard are answered")
        shard.store.end_killed(killed_attempt(shard.last))
        write_attempts(shard.folder, shard.store)
        shard.copy_checkpoint()
        return True
    restarts = 0
    while shard.todo:
        facts = shard.store.totals.facts
        try:
            return _prepared_attempt(shard, inputs, stop)
        except EngineError as error:
            has_progress = shard.store.totals.facts > facts
            if restarts == shard.config.sampler.num_restarts or (restarts and not has_progress):
                raise EngineError(f"{error}{_gave_up(restarts, has_progress)}") from error
            restarts += 1
            log(f"warning: {error}. It is started again (number {restarts}); what is committed stays.")
        shard = replace(
            shard, todo=_unanswered(shard.todo, shard.store), last=last_progress(shard.folder) or shard.last
        )
    return True  # the engine died behind the last answer


def _loading(config: Config) -> str:
    if config.sampler.servers is not None:
        return "asking the servers"
    return "loading the model" if config.sampler.has_engine else "loading what is needed"


def _gave_up(restarts: int, has_progress: bool) -> str:
    if not restarts:
        return ""
    return f". It was started again {_times(restarts)}{'' if has_progress else ', the last time without getting anything done'}"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


@dataclass(frozen=True)
class _Prepared:
    """What an attempt works with. opened: engines, the sampler first. started_at: that one was, by time.monotonic()."""

    workload: Workload
    reader: AnswerReader
    opened: list[Sampler]
    started_at: float


def _prepared_attempt(shard: Shard, inputs: Inputs, stop: Stop) -> bool:
    """Prepare what needs no engine while one loads, then run one attempt; return False if it was interrupted."""
    config, started_at = shard.config, time.monotonic()
    with (
        AnswerReader(config.problems.answers, config.problems.patterns, config.answer_time_limit_s) as reader,
        _opened() as opened,
    ):
        opened.append(config.sampler.open(sampler_context(config, inputs)))
        workload = build.workload(config, inputs, shard.todo, shard.progress(), shard.store.unfinished_facts())
        prepared = _Prepared(workload, reader, opened, started_at)
        return not stop.is_requested() and _attempt(shard, inputs, prepared, stop)


def _attempt(shard: Shard, inputs: Inputs, prepared: _Prepared, stop: Stop) -> bool:
    """Run one attempt; return False if it was interrupted."""
    config = shard.config
    sampler_gpus, judge_gpus = config.sampler.num_gpus(sampler_context(config))
    process = replace(this_process(), sampler_gpus=sampler_gpus, judge_gpus=judge_gpus)
    number = shard.store.begin_attempt(process, killed_attempt(shard.last))
    for line in opening(shard, inputs, number, process):
        log(line)
    reporter = Reporter(shard, number)
    shard.copy_checkpoint()
    reporter.report("loading")
    reporter.write_tables()
    display = ProgressDisplay(config.progress.interval_s, config.progress.bar)
    [sampler] = opened = prepared.opened
    with _recorded(shard, reporter, prepared.started_at, stop.is_requested) as attempt:
        log(_loading(config))
        judge_sampler = build.wait_for_engines(config, inputs, sampler, opened, stop.is_requested)
        attempt.loaded_at = time.monotonic()
        log(f"working, after {seconds_words(attempt.loaded_at - attempt.started_at)} of loading")
        attempt.runner = Runner(
            config=config,
            workload=prepared.workload,
            engines=Engines(sampler, config.sampler.max_running, judge_sampler),
            store=shard.store,
            reader=prepared.reader,
            hooks=Hooks(stop.is_requested, stop.drain_s, reporter.on_commit, display.show),
        )
        attempt.end_reason = "done" if attempt.runner.run() else "interrupted"
        display.close(attempt.runner.progress)
    return attempt.end_reason == "done"


@contextlib.contextmanager
def _opened() -> Iterator[list[Sampler]]:
    """Yield a list of engines, each of which is closed at the end."""
    opened: list[Sampler] = []
    try:
        yield opened
    finally:
        for engine in opened:
            engine.close()


@dataclass
class _Attempt:
    """How an attempt goes. Times are of time.monotonic()."""

    started_at: float
    loaded_at: float
    runner: Runner | None = None
    end_reason: str = "failed"
    message: str | None = None


@contextlib.contextmanager
def _recorded(
    shard: Shard, reporter: Reporter, started_at: float, should_stop: Callable[[], bool]
) -> Iterator[_Attempt]:
    """Yield the state of an attempt; at its end, whatever that is, write how it ended."""
    attempt = _Attempt(started_at, started_at)
    try:
        yield attempt
    except Unavailable as error:
        attempt.message, attempt.end_reason = str(error), "interrupted"
        raise
    except (AnswerError, EngineError, CheckpointError, InputError, OSError) as error:
        attempt.message = str(error)
        # A signal to all processes of the job ends the engine's own process too: that is the interruption.
        if not (should_stop() and isinstance(error, EngineError)):
            raise
        attempt.end_reason = "interrupted"
    finally:
        end = AttemptEnd(
            attempt.end_reason,
            datetime.now(UTC),
            attempt.runner.progress.tokens_lost if attempt.runner is not None else 0,
            attempt.loaded_at - attempt.started_at,
            time.monotonic() - attempt.loaded_at,
            shard.store.commit_s,
            attempt.message,
        )
        finish_attempt(shard, reporter, end)


def _print_summary(folder: RunFolder, shard: Shard) -> None:
    """Print the run's totals so far, all shards together; of several shards, first which one has ended."""
    count = shard.config.shard.count
    if count > 1:
        tokens = shard.store.totals.tokens
        own = f"shard {folder.shard_index} of {count} is done: {shard.num_problems} problems, {tokens:,} tokens; its run so far:"
        print(own)
    try:
        print(summary(run_totals(folder.root, folder.name), str(folder.path)))
    except InputError as error:  # the work is done; a summary that fails does not undo that
        print(printable(f"done; nothing to sum up: {error}"))
