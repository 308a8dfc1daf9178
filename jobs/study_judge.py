"""One point of a study of judges: pairs, a judge for each fold, their evaluation, and the study's table of all points so far.

The paper's 2 x 4 ablation (two truncations; plain, focal loss, oversampling, both) is one multirun:

    python -m jobs.study_judge -m study=outputs/judges/ablation source=traces.parquet prefix=fixed,reasoning_words \\
        trainer.loss.gamma=0,2 trainer.loss.oversampling=1,2

Each step is skipped where it is done, so a study that was interrupted goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import hydra
from omegaconf import DictConfig

from jobs import entry, signals
from jobs.signals import StopSignals
from pruner.errors import INTERRUPTED
from pruner.learning import evaluate
from pruner.learning.build import build_pairs
from pruner.learning.config import EvalConfig, TrainConfig
from pruner.learning.pair_files import PairsConfig, read_pair_sets
from pruner.learning.tables import ScoreRow, read_points, write_point, write_table
from pruner.learning.train import train_judge
from pruner.samplers.registry import with_device_defaults
from pruner.settings.section import Section, local_path, parse_as

# What is the same for all points of a study, and so not in their names.
NOT_A_POINT = (
    *("study", "source", "columns", "answers", "patterns", "tokenizer", "segment_tokens"),
    *("traces_per_problem", "pairs_per_problem", "train_pairs_per_problem", "folds", "seed", "bootstrap"),
    *("model", "sampler", "trained"),
)


@hydra.main(version_base="1.3", config_path="../conf", config_name="study_judge")
@entry.task
def main(cfg: DictConfig) -> int:
    values = entry.plain(cfg)
    folder = local_path(values["study"])
    point = entry.run_name(entry.task_overrides(), NOT_A_POINT)
    prefix = "-".join(str(values["prefix"][key]) for key in ("name", "count", "max_tokens") if key in values["prefix"])
    pairs = folder / "pairs" / f"{prefix}.parquet"
    values |= {"pairs": [str(pairs)], "fold": None}
    build_pairs(parse_as(PairsConfig, pick(values, PairsConfig) | {"target": str(pairs), "model": fixed(values)}))
    stop = StopSignals()
    for fold in range(values["folds"]):
        own = {
            "target": str(folder / "judges" / point / f"fold_{fold}"),
            "hold_out_fold": fold,
            "pairs_per_problem": values["train_pairs_per_problem"],
        }
        if not train_judge(parse_as(TrainConfig, pick(values, TrainConfig) | own), lambda: bool(stop)):
            return interrupted(stop)
    signals.end_at_once()  # what is left takes minutes and is written at its end
    if stop:
        return interrupted(stop)
    judge = str(folder / "judges" / point / "fold_{fold}")
    own = {"target": str(folder / "points" / point), "judges": [judge], "pairs_per_problem": None}
    config = parse_as(EvalConfig, with_device_defaults(pick(values, EvalConfig) | own))
    data = read_pair_sets(config.pairs)
    evaluate.check(config, judge, data, data.pairs)
    judged = evaluate.score(config, judge, data.pairs)
    row = evaluate.row(config, "all", judged, judged, data.pairs, range(len(data.pairs)))
    write_point(ScoreRow(f"prefix {prefix}", point, row.quality, row.lead, row.tokens_a_pair), folder)
    print(write_table(read_points(folder), folder, "Made by `python -m jobs.study_judge -m ...`, one row per point."))
    return 0


def interrupted(stop: StopSignals) -> int:
    print(signals.message(stop.received), file=sys.stderr)
    return INTERRUPTED


def pick(values: Mapping[str, Any], kind: type[Section]) -> dict[str, Any]:
    """Return of the values those that a section has."""
    return {key: value for key, value in values.items() if key in kind.model_fields}


def fixed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"prefix_tokens": values["model"]["prefix_tokens"]}


if __name__ == "__main__":
    entry.run(main)
