"""The main job: problems in from Parquet, pruned sampling, answers out to Parquet; killed at any time, it goes on.

Wiring only: it reads the config, opens what it names, runs, and closes.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from jobs import entry, signals
from jobs.signals import StopSignals
from pruner.config.identity import keys_outside_identity
from pruner.config.job import parse
from pruner.shard import wiring
from pruner.shard.work import RunStart, run_shard

# A run's name leaves out what cannot change its results, but shows which problems and model it takes.
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
    name = config.run.name or entry.run_name(entry.task_overrides(), NOT_IN_NAMES)
    if run_shard(config, RunStart(name, values, hydra_files(values)), lambda: bool(stop)):
        return 0
    print(signals.message(stop.received), file=sys.stderr)
    stop.hand_on()
    return entry.INTERRUPTED


def hydra_files(values: dict[str, Any]) -> dict[str, str]:
    return {"config.yaml": OmegaConf.to_yaml(values), "overrides.yaml": OmegaConf.to_yaml(entry.task_overrides())}


if __name__ == "__main__":
    entry.run(main)
