"""Benchmarks that anyone can run: python -m jobs.bench bench=engine|orchestrator|checkpoint|resume|judge|report|speculation

Each writes what it measured to <target>/<bench>.parquet and .md, prints the latter and ends with one line of JSON. What they gave
on the machine this was made on is in tests/bench/RESULTS.md.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import hydra
from omegaconf import DictConfig

from jobs import entry
from jobs.benches.machine import machine_facts
from jobs.benches.outcome import Outcome, write_outcome
from jobs.benches.settings import BenchConfig
from pruner.settings.section import local_path, parse_as


@hydra.main(version_base="1.3", config_path="../conf", config_name="bench")
@entry.task
def main(cfg: DictConfig) -> int:
    config = parse_as(BenchConfig, entry.plain(cfg))
    if (scratch := config.scratch_folder) is not None:
        Path(scratch).mkdir(parents=True, exist_ok=True)
    machine = machine_facts()
    outcome: Outcome = importlib.import_module(f"jobs.benches.{config.bench}").run(config)
    print(write_outcome(config.bench, outcome, machine, local_path(config.target)))
    print(json.dumps({"bench": config.bench, **outcome.figures, "machine": machine}))
    return 0


if __name__ == "__main__":
    entry.run(main)
