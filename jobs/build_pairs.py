"""Recorded traces in, labelled pairs of prefixes out, for training and judging judges.

    python -m jobs.build_pairs source="'outputs/method=cons'" target=.cache/pairs.parquet prefix.max_tokens=12

Run again it does nothing; changed, it writes the file anew.
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from jobs import entry
from pruner.learning.config import PairsConfig
from pruner.learning.pair_files import build_pairs
from pruner.settings.section import parse_as


@hydra.main(version_base="1.3", config_path="../conf", config_name="build_pairs")
@entry.task
def main(cfg: DictConfig) -> int:
    build_pairs(parse_as(PairsConfig, entry.plain(cfg)))
    return 0


if __name__ == "__main__":
    entry.run(main)
