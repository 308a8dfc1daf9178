"""The main job: problems in from Parquet, pruned sampling, answers out to Parquet; killed at any time, it goes on.

Wiring only: it reads the config, opens what it names, runs, and closes.
"""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from jobs import entry, signals
from jobs.signals import StopSignals
from pruner.config.identity import keys_outside_identity
from pruner.config.job import Config, parse
from pruner.errors import InputError, first_line
from pruner.records.progress import Progress
from pruner.results.query import run_totals
from pruner.results.run_totals import RunTotals
from pruner.settings.dotted import flatten
from pruner.settings.section import local_path
from pruner.shard import build
from pruner.shard.inputs import read_inputs, sampler_context
from pruner.shard.opening import preview
from pruner.shard.run_shard import RunStart, Stop, run_shard
from pruner.system import slurm
from pruner.system.lines import log, print_warnings, printable
from pruner.trackers.background import BackgroundTracker
from pruner.trackers.base import TrackedRun

# A run's name leaves out what cannot change its results, but shows which problems and model it takes.
NOT_IN_NAMES = (
    *(
        key
        for key in keys_outside_identity()
        if key not in ("problems.name", "problems.path", "problems.limit", "model.path", "sampler.source")
    ),
    "sweep",
)
# Near a time limit, so much of what is left is for committing, copying and ending.
COMMIT_S = 30.0
# A report that takes longer is not made for a tracker.
REPORT_S = 600.0


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
@entry.task
def main(cfg: DictConfig) -> int:
    values = entry.plain(cfg)
    config = parse(values)
    values |= {"sampler": config.sampler.model_dump(mode="json"), "method": config.method.model_dump(mode="json")}
    notes = entry.inherited(entry.task_overrides(), values)
    name = config.run.name or entry.run_name(entry.task_overrides(), NOT_IN_NAMES)
    if config.dry_run:
        return dry_run(config, name, notes)
    stop = StopSignals()
    start = RunStart(name, values, hydra_files(values), notes)
    with BackgroundTracker(config.tracker, tracked_run(config, name)) as tracker:

        def show(progress: Progress) -> None:
            tracker.log(progress.tokens, numbers_of(progress), is_last=progress.state != "running")

        is_done = run_shard(
            config, start, Stop(lambda: bool(stop), lambda: drain_s(config.checkpoint.drain_s, stop.received)), show
        )
        if is_done:
            show_results(tracker, config, name)
    if is_done:
        log(f"done; to look at it: python -m jobs.report {local_path(config.run.root) / name}")
        return 0
    log(f"everything is committed: {signals.message(stop.received)}")
    stop.hand_on()
    return entry.INTERRUPTED


def tracked_run(config: Config, name: str) -> TrackedRun:
    """Return what a tracker is told of the run. Two runs of one name in different folders are two."""
    index, count = config.shard.index, config.shard.count
    own = name if count == 1 else f"{name}, shard {index} of {count}"
    folder = str((local_path(config.run.root) / name).absolute())
    key = hashlib.blake2b(f"{folder}\0{index}".encode(), digest_size=12).hexdigest()
    return TrackedRun(own, name, key, flatten(config.model_dump(mode="json")))


def numbers_of(row: Progress | RunTotals) -> dict[str, float]:
    """Return the numbers of a record by name."""
    values = asdict(row)
    return {
        key: float(value)
        for key, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def show_results(tracker: BackgroundTracker, config: Config, name: str) -> None:
    """Show the run's totals so far and, once all shards are done, its report."""
    if not tracker.is_on:
        return
    root = local_path(config.run.root)
    try:
        totals = run_totals(root, name)
        tracker.summarize(numbers_of(totals))
        if totals.shards_done == totals.shard_count:
            made = subprocess.run(
                [sys.executable, "-m", "jobs.report", str(root / name)],
                capture_output=True,
                text=True,
                timeout=REPORT_S,
            )
            if made.returncode == 0:
                tracker.add_file(root / name / "report" / "report.html")
            else:
                print_warnings([f"no report is tracked: {first_line(RuntimeError(made.stderr))}"])
    except (InputError, OSError, subprocess.TimeoutExpired) as error:
        print_warnings([f"not all results are tracked: {first_line(error)}"])


def dry_run(config: Config, name: str, notes: list[str]) -> int:
    """Say what would be done, and print what would be started."""
    inputs = read_inputs(config)
    print_warnings([*notes, *inputs.problems.notes])
    try:
        prompt, fault = build.first_prompt(config, inputs), ""
    except InputError as error:  # a login node may lack the model
        prompt, fault = None, str(error)
    for line in preview(config, inputs, local_path(config.run.root) / name, prompt):
        print(printable(line), file=sys.stderr)
    if fault:
        print_warnings([f"no prompt is shown: {fault}"])
    print(json.dumps(config.sampler.plan(sampler_context(config)), indent=1))
    return 0


def drain_s(given: float | None, signal_number: int | None) -> float:
    """Return how long running segments may take to end after a signal."""
    if given is not None:
        return given
    # These come some time before a limit, by run.sh's --signal or by submitit; the others when there is no time to lose.
    left = slurm.seconds_left() if signal_number in (signal.SIGUSR1, signal.SIGUSR2) else None
    return max(0.0, left - COMMIT_S) if left is not None else 0.0


def hydra_files(values: dict[str, Any]) -> dict[str, str]:
    return {"config.yaml": OmegaConf.to_yaml(values), "overrides.yaml": OmegaConf.to_yaml(entry.task_overrides())}


if __name__ == "__main__":
    entry.run(main)
