"""Building labelled pairs of prefixes from recorded traces."""

from __future__ import annotations

import pyarrow as pa

from pruner.answers import cached_key
from pruner.errors import InputError
from pruner.learning.pair_files import (
    PairsConfig,
    pairs_identity,
    read_traces,
    traces_by_problem,
    write_pairs,
    written_identity,
)
from pruner.learning.pairs import LabelledPair, PairRule, folds_by_problem, label_pairs
from pruner.prompts import load_tokenizer, token_ends
from pruner.settings.section import target_path


def build_pairs(config: PairsConfig) -> None:
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
    truncation = config.prefix.make()
    rule = PairRule(config.segment_tokens, config.traces_per_problem, config.pairs_per_problem, config.seed)
    pairs: list[LabelledPair] = []
    folds = folds_by_problem(table.column("problem_id").to_pylist(), config.folds, config.seed)
    for traces in traces_by_problem(table, config.patterns, lambda text: token_ends(tokenizer, text)):
        pairs += label_pairs(
            traces, truncation, rule, lambda answer: cached_key(answer, config.answers), folds[traces[0].problem_id]
        )
    return pairs
