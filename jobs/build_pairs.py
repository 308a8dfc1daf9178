"""Recorded traces in, labelled pairs of prefixes out, for training and judging judges.

    python -m jobs.build_pairs source="'outputs/method=cons'" target=.cache/pairs.parquet prefix.max_tokens=12

Run again it does nothing; changed, it writes the file anew.
"""

from __future__ import annotations

import hydra
import pyarrow as pa
from omegaconf import DictConfig

from jobs import entry, parts
from pruner.answers import cached_key
from pruner.config.section import parse_as, target_path
from pruner.errors import InputError
from pruner.pairs import LabelledPair, folds_by_problem, label_pairs
from pruner.prompts import load_tokenizer, token_ends
from pruner.recorded import (
    PairsConfig,
    pairs_identity,
    read_traces,
    traces_by_problem,
    write_pairs,
    written_identity,
)


@hydra.main(version_base="1.3", config_path="../conf", config_name="build_pairs")
@entry.task
def main(cfg: DictConfig) -> int:
    build_file(parse_as(PairsConfig, entry.plain(cfg)))
    return 0


def build_file(config: PairsConfig) -> None:
    """Write the file of pairs, if it is not there already; say what is in it."""
    target = target_path(config.target)
    table = read_traces(config)
    identity = pairs_identity(config, table)
    if written_identity(target) == identity:
        print(f"nothing to do: {config.target} holds these pairs")
        return
    pairs = build(config, table)
    if not pairs:
        raise InputError(f"source {config.source}: no two traces of a problem have answers and complete prefixes.")
    write_pairs(pairs, target, identity)
    same = sum(pair.label for pair in pairs)
    problems = len({pair.problem_id for pair in pairs})
    mixed = len({p.problem_id for p in pairs if p.label} & {p.problem_id for p in pairs if not p.label})
    print(
        f"{len(pairs):,} pairs of {problems} problems in {config.target}: {same / len(pairs):.1%} agree, "
        f"{mixed} problems have both kinds"
    )


def build(config: PairsConfig, table: pa.Table) -> list[LabelledPair]:
    tokenizer = load_tokenizer(config.tokenizer, None, False)
    truncation = parts.make_truncation(config.prefix)
    pairs: list[LabelledPair] = []
    folds = folds_by_problem(table.column("problem_id").to_pylist(), config.folds, config.seed)
    for traces in traces_by_problem(table, config.patterns, lambda text: token_ends(tokenizer, text)):
        pairs += label_pairs(
            traces,
            truncation,
            config.segment_tokens,
            lambda answer: cached_key(answer, config.answers),
            config.traces_per_problem,
            config.pairs_per_problem,
            folds[traces[0].problem_id],
            config.seed,
        )
    return pairs


if __name__ == "__main__":
    entry.run(main)
