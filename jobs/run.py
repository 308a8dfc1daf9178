"""The main job: problems in from Parquet, pruned sampling, answers out to Parquet; killed at any time, it goes on.

Wiring only: it reads the config, opens what it names, runs, and closes.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from jobs import entry, signals
from jobs.signals import StopSignals
from pruner import slurm
from pruner.config.identity import keys_outside_identity
from pruner.config.job import Config, parse
from pruner.errors import InputError
from pruner.lines import log, print_warnings, printable
from pruner.settings.section import local_path
from pruner.shard import wiring
from pruner.shard.inputs import read_inputs
from pruner.shard.opening import preview
from pruner.shard.work import RunStart, Stop, run_shard

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
    if run_shard(config, start, Stop(lambda: bool(stop), lambda: drain_s(config.checkpoint.drain_s, stop.received))):
        return 0
    log(f"everything is committed: {signals.message(stop.received)}")
    stop.hand_on()
    return entry.INTERRUPTED


def dry_run(config: Config, name: str, notes: list[str]) -> int:
    """Say what would be done, and print what would be started."""
    inputs = read_inputs(config)
    print_warnings([*notes, *inputs.problems.notes])
    try:
        prompt, fault = wiring.first_prompt(config, inputs), ""
    except InputError as error:  # a login node may lack the model
        prompt, fault = None, str(error)
    for line in preview(config, inputs, local_path(config.run.root) / name, prompt):
        print(printable(line), file=sys.stderr)
    if fault:
        print_warnings([f"no prompt is shown: {fault}"])
    print(json.dumps(wiring.plan(config), indent=1))
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
