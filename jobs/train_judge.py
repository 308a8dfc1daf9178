"""Labelled pairs in, a judge out: a folder with its weights and judge.json. Killed at any time, it goes on from its last save.

    python -m jobs.train_judge pairs=[.cache/pairs.parquet] target=.cache/judges/mine trainer=lexical

Run again it does nothing. Interrupted by a signal it saves and ends with exit code 75.
"""

from __future__ import annotations

import sys

import hydra
from omegaconf import DictConfig

from jobs import entry, signals
from jobs.signals import StopSignals
from pruner.learning.config import TrainConfig
from pruner.learning.train import train_judge
from pruner.settings.section import parse_as


@hydra.main(version_base="1.3", config_path="../conf", config_name="train_judge")
@entry.task
def main(cfg: DictConfig) -> int:
    config = parse_as(TrainConfig, entry.plain(cfg))
    stop = StopSignals()
    if train_judge(config, lambda: bool(stop)):
        return 0
    print(signals.message(stop.received), file=sys.stderr)
    return entry.INTERRUPTED


if __name__ == "__main__":
    entry.run(main)
