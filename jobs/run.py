"""The main job: problems in from Parquet, pruned sampling, answers out to Parquet; killed at any time, it goes on.

Wiring only: it reads the config, opens what it names, runs, and closes.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from jobs import entry, signals
from jobs.signals import StopSignals
from pruner.answers.reader import AnswerReader
from pruner.checkpoint.lease import Lease, this_holder
from pruner.checkpoint.store import AttemptEnd
from pruner.config.identity import identity, keys_outside_identity
from pruner.config.job import Config, parse
from pruner.errors import AnswerError, CheckpointError, EngineError, InputError
from pruner.lines import printable
from pruner.prompts import Prompts
from pruner.results.query import run_books
from pruner.results.run_folder import RunFolder
from pruner.results.summary import summary
from pruner.results.writer import write_attempts, write_results
from pruner.samplers.base import Sampler
from pruner.section import local_path
from pruner.shard import wiring
from pruner.shard.attempt import (
    Reporter,
    Shard,
    check_complete,
    finish_attempt,
    killed_attempt,
    last_progress,
    open_checkpoint,
    slurm_job_id,
    tell_done,
    this_process,
)
from pruner.shard.inputs import Inputs, fingerprints, read_inputs
from pruner.shard.ownership import RunRecord, claim
from pruner.shard.progress import ProgressDisplay
from pruner.shard.runner import Runner, RunnerConfig

# A run's name leaves out what cannot change its results, but shows which problems and model it was told to take.
NOT_IN_NAMES = (
    *(
        key
        for key in keys_outside_identity()
        if key not in ("problems.name", "problems.path", "problems.limit", "model.path", "sampler.source")
    ),
    "sweep",
)


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
@entry.task
def main(cfg: DictConfig) -> int:
    values = entry.plain(cfg)
    config = parse(values)
    if config.dry_run:
        print(json.dumps(wiring.plan(config), indent=1))
        return 0
    stop = StopSignals()
    code = run_shard(config, values, stop)
    if code == entry.INTERRUPTED:
        stop.hand_on()
    return code


def run_shard(config: Config, values: dict[str, Any], stop: StopSignals) -> int:
    """Work on one shard; return the exit code. All that can be wrong with the input is found before a model is loaded."""
    inputs = read_inputs(config)
    problems = inputs.problems
    wiring.check_models(config, inputs)
    name = config.run.name or entry.run_name(entry.task_overrides(), NOT_IN_NAMES)
    folder = RunFolder(local_path(config.run.root), name, config.shard.index)
    who = identity(config, fingerprints(config, inputs))
    record = RunRecord(who, config.shard.count, values, hydra_files(values))
    holder = this_holder(slurm_job_id())
    lease = Lease(folder.lease, holder)
    try:
        claim(folder, record, holder, lease, config.checkpoint.lock_wait_s, lambda: bool(stop))
    except InputError:
        if stop:
            return interrupted(stop)
        raise
    with (
        lease,
        open_checkpoint(config.checkpoint, folder, record.whole_identity, lease) as store,
        AnswerReader(config.problems.answers, config.problems.patterns, config.answer_time_limit_s) as reader,
    ):
        last = last_progress(folder)
        check_complete(store, folder, last)
        if config.checkpoint.rederive:
            store.forget_derived()
        answered = store.answered_ids()
        mine = problems.shard(config.shard.index, config.shard.count)
        todo = [problem for problem in mine if problem.problem_id not in answered]
        shard = Shard(config, folder, store, problems, todo, len(mine), last)
        if todo:
            prompts = wiring.make_prompts(config, inputs)
            open_case = wiring.case_opener(config, inputs, prompts)
            if stop or not work(shard, inputs, prompts, open_case, reader, stop):
                return interrupted(stop)
        else:
            print(f"nothing to do: all {len(mine)} problems of this shard are answered", file=sys.stderr)
            store.end_killed(killed_attempt(last))
            write_attempts(folder, store)
            shard.copy_checkpoint()
        write_results(folder, store, problems, config.results, config.accounting)
        tell_done(shard)
    tell(folder)
    return 0


def tell(folder: RunFolder) -> None:
    """Print what the run came to so far, all shards together."""
    try:
        print(summary(run_books(folder.root, folder.name), str(folder.path)))
    except InputError as error:  # the work is done; what cannot be summed up does not undo that
        print(printable(f"done; nothing to sum up: {error}"))


def interrupted(stop: StopSignals) -> int:
    print(signals.message(stop.received), file=sys.stderr)
    return entry.INTERRUPTED


def work(
    shard: Shard,
    inputs: Inputs,
    prompts: Prompts,
    open_case: wiring.OpenCase,
    reader: AnswerReader,
    stop: StopSignals,
) -> bool:
    """Run one attempt; return True if the shard is done, False if it was interrupted."""
    config, store = shard.config, shard.store
    sampler_gpus, judge_gpus = wiring.num_gpus(config)
    process = replace(this_process(), sampler_gpus=sampler_gpus, judge_gpus=judge_gpus)
    reporter = Reporter(shard, store.begin_attempt(process, killed_attempt(shard.last)))
    shard.copy_checkpoint()
    reporter.tell("loading")
    reporter.write_tables()
    display = ProgressDisplay(config.progress.interval_s, config.progress.bar)
    opened: list[Sampler] = []
    runner: Runner | None = None
    started = loaded = time.monotonic()
    end_reason, message = "failed", None
    try:
        sampler, judge_sampler = wiring.open_samplers(config, inputs, opened)
        loaded = time.monotonic()
        runner = Runner(
            config=RunnerConfig(
                max_running=config.sampler.max_running_traces,
                commit_every_s=config.checkpoint.every_s,
                commit_every_segments=config.checkpoint.every_segments,
                num_gpus=sampler_gpus + judge_gpus,
            ),
            run=wiring.run_facts(config, inputs),
            problems=shard.todo,
            num_problems=shard.num_problems,
            num_done=shard.num_done,
            prompts=prompts,
            open_case=open_case,
            sampler=sampler,
            judge_sampler=judge_sampler,
            store=store,
            reader=reader,
            known=store.open_facts(),
            on_commit=reporter.on_commit,
            on_step=display.show,
            should_stop=lambda: bool(stop),
        )
        is_done = runner.run()
        end_reason = "done" if is_done else "interrupted"
        display.close(runner.status)
        return is_done
    except (AnswerError, EngineError, CheckpointError, InputError) as error:
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
        finish_attempt(shard, reporter, end)
        for engine in opened:
            engine.close()


def hydra_files(values: dict[str, Any]) -> dict[str, str]:
    return {"config.yaml": OmegaConf.to_yaml(values), "overrides.yaml": OmegaConf.to_yaml(entry.task_overrides())}


if __name__ == "__main__":
    entry.run(main)
