"""Compare judges on labelled pairs: AUROC within problems and pooled, TNR@0.2, calibration.

python -m jobs.eval_judge pairs=[.cache/pairs.parquet] target=outputs/judges/mine judges=[.cache/judges/mine,tfidf,length]
"""

from __future__ import annotations

import shlex

import hydra
from omegaconf import DictConfig

from jobs import entry
from pruner.errors import InputError
from pruner.judges.card import read_card
from pruner.learning.config import EvalConfig
from pruner.learning.evaluate import calibrate, check, evaluate, score
from pruner.learning.pair_files import read_pair_sets
from pruner.learning.pairs import drawn_pairs
from pruner.samplers.registry import with_device_defaults
from pruner.settings.section import local_path, parse_as


@hydra.main(version_base="1.3", config_path="../conf", config_name="eval_judge")
@entry.task
def main(cfg: DictConfig) -> int:
    config = parse_as(EvalConfig, with_device_defaults(entry.plain(cfg)))
    data = read_pair_sets(config.pairs)
    pairs = [pair for pair in data.pairs if config.fold is None or pair.fold == config.fold]
    pairs = drawn_pairs(pairs, config.pairs_per_problem, config.seed)
    if not pairs:
        raise InputError(f"pairs {list(config.pairs)}: none in fold {config.fold}.")
    if len({pair.label for pair in pairs}) == 1:
        what = "agree" if pairs[0].label else "differ"
        raise InputError(f"pairs {list(config.pairs)}: got only pairs that {what}, expected both kinds. Add traces.")
    if config.calibrate is not None:
        read_card(local_path(config.calibrate))
    check(config, data, pairs)
    made_by = f"Made by `python -m jobs.eval_judge {shlex.join(entry.task_overrides())}`."
    judged = [score(config, name, data, pairs) for name in config.judges]
    print(evaluate(config, judged, pairs, made_by))
    if config.calibrate is not None:
        folder = local_path(config.calibrate)
        print(f"{folder}: threshold {calibrate(folder, judged[0], pairs, made_by)} (method.tau=auto)")
    return 0


if __name__ == "__main__":
    entry.run(main)
