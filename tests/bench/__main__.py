"""Benchmarks: python -m tests.bench engine|orchestrator|resume|judge|speculation [key=value ...]

Each writes what it measured to outputs/bench/<name>.parquet and .md, prints the latter and ends with one line of JSON. settings.py has the keys;
what they gave on the machine this was made on is in RESULTS.md.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from pruner.errors import InputError
from pruner.settings.section import local_path, parse_as
from pruner.system.lines import print_errors
from tests.bench.machine import machine_facts
from tests.bench.outcome import Outcome, write_outcome
from tests.bench.settings import BenchConfig


def main(arguments: Sequence[str]) -> int:
    name, *given = arguments or ["nothing"]
    try:
        values = OmegaConf.to_container(OmegaConf.from_dotlist(list(given)))
        config = parse_as(BenchConfig, {"bench": name, **values})
    except InputError as error:
        print_errors(error.faults)
        return 2
    if (scratch := config.scratch_folder) is not None:
        Path(scratch).mkdir(parents=True, exist_ok=True)
    machine = machine_facts()
    outcome: Outcome = importlib.import_module(f"tests.bench.{config.bench}").run(config)
    print(write_outcome(config.bench, outcome, machine, local_path(config.target)))
    print(json.dumps({"bench": config.bench, **outcome.figures, "machine": machine}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
