"""Scoring judges on labelled pairs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pruner.answers import cached_key
from pruner.errors import InputError
from pruner.judges import lexical_weights
from pruner.judges.base import Judge
from pruner.judges.card import Calibration, GenerativeCard, check_base, check_prefix, read_card, write_tau
from pruner.judges.lexical import LexicalJudge
from pruner.judges.llm import LlmJudgeConfig
from pruner.judges.prefix_features import FEATURES
from pruner.judges.probe import EngineProber, ProbeJudge
from pruner.judges.trained import generative_config, warn_of_overlap
from pruner.learning import baselines
from pruner.learning.baselines import BASELINES
from pruner.learning.config import EvalConfig
from pruner.learning.metrics import calibration, cautious_threshold, quality, roc, within_difference
from pruner.learning.pair_files import PairSet
from pruner.learning.pairs import LabelledPair
from pruner.learning.plots import plot_calibration, plot_roc
from pruner.learning.scoring import Scored, score_pairs
from pruner.learning.tables import ScoreRow, write_table
from pruner.prompts import BytePrompts, ChatPrompts, Prompts, check_model_folder, load_tokenizer
from pruner.samplers import vllm_engines
from pruner.samplers.vllm import EngineSpec
from pruner.settings.section import local_path
from pruner.statistics.intervals import Interval
from pruner.system.files import write_atomically

NAMES = (*BASELINES, "embedding", "llm", "probe")


@dataclass(frozen=True)
class Judged:
    """A judge's scores of all pairs. is_probability: they are meant as P(same)."""

    name: str
    scores: tuple[float | None, ...]
    is_probability: bool
    tokens_a_pair: float | None = None


def check(config: EvalConfig, judge: str, data: PairSet, pairs: Sequence[LabelledPair]) -> None:
    """Refuse what cannot be scored before anything is loaded; warn of judges that were trained on the problems."""
    if judge in NAMES:
        if judge in ("llm", "probe"):
            check_model_folder(config.model.path, "model.path")
        return
    if "/" not in judge and not Path(judge).exists():
        raise InputError(f"judges: got {judge!r}, expected one of {', '.join(NAMES)}, or a judge's folder.")
    for fold, folder in folders(judge, pairs).items():
        card = read_card(folder)
        check_prefix(card, data.prefix, folder)
        warn_of_overlap(
            card, str(folder), sorted({(p.problem_id, p.question) for p in pairs if fold in (None, p.fold)})
        )
        if isinstance(card.judge, GenerativeCard) and card.judge.is_adapter:
            path = config.trained.base or card.judge.base
            check_model_folder(path, "trained.base")
            check_base(card.judge, folder, path, None)


def folders(judge: str, pairs: Sequence[LabelledPair]) -> dict[int | None, Path]:
    """Return the judge's folder, or with {fold} in it one for each fold of the pairs."""
    if "{fold}" not in judge:
        return {None: local_path(judge)}
    return {fold: local_path(judge.replace("{fold}", str(fold))) for fold in sorted({pair.fold for pair in pairs})}


def score(config: EvalConfig, judge: str, pairs: Sequence[LabelledPair]) -> Judged:
    """Return one judge's scores."""
    print(f"scoring {len(pairs):,} pairs with {judge}", file=sys.stderr, flush=True)
    if judge in BASELINES:
        return Judged(judge, tuple(BASELINES[judge](pairs)), judge == "prior")
    if judge == "embedding":
        return Judged(judge, tuple(baselines.embedding_scores(pairs, config.embedding)), False)
    if judge in ("llm", "probe"):
        return _judged(judge, score_zero_shot(config, judge, pairs), len(pairs))
    scores: list[float | None] = [None] * len(pairs)
    read = cached = 0
    for fold, folder in folders(judge, pairs).items():
        places = [place for place, pair in enumerate(pairs) if fold in (None, pair.fold)]
        part = score_trained(config, folder, [pairs[place] for place in places])
        read, cached = read + part.tokens_read, cached + part.tokens_cached
        for place, each in zip(places, part.scores, strict=True):
            scores[place] = each
    name = Path(judge).parent.name if "{fold}" in Path(judge).name else Path(judge).name
    return _judged(name, Scored(tuple(scores), read, cached), len(pairs))


def _judged(name: str, scored: Scored, num_pairs: int) -> Judged:
    return Judged(name, scored.scores, True, (scored.tokens_read - scored.tokens_cached) / num_pairs)


def score_trained(config: EvalConfig, folder: Path, pairs: Sequence[LabelledPair]) -> Scored:
    card = read_card(folder).judge
    if isinstance(card, GenerativeCard):
        settings = config.trained.model_copy(update={"colocate": False})
        return score_generative(config, generative_config(card, folder, settings), pairs)
    judge = LexicalJudge(lexical_weights.load(folder, len(FEATURES)))
    return score_pairs(judge, None, BytePrompts(), pairs, 1)


def score_zero_shot(config: EvalConfig, judge: str, pairs: Sequence[LabelledPair]) -> Scored:
    if judge == "llm":
        return score_generative(config, config.llm, pairs)
    tokenizer = load_tokenizer(config.model.path, config.model.revision, config.model.trust_remote_code)
    prompts = ChatPrompts(tokenizer, config.model.prompt)
    probe, context = config.model.probe, config.model.max_model_len
    prober = ProbeJudge(EngineProber(probe, prompts.encode_text(probe), config.probe.max_tokens, context))
    return with_engine(config, vllm_engines.sampler_spec(config.model, config.sampler, None), prober, prompts, pairs)


def score_generative(config: EvalConfig, judge: LlmJudgeConfig, pairs: Sequence[LabelledPair]) -> Scored:
    spec = vllm_engines.judge_spec(judge.engine(), config.model, config.sampler)
    judge_ = judge.load(config.model, judge.max_model_len)
    return with_engine(config, spec, judge_, BytePrompts(), pairs)


def with_engine(
    config: EvalConfig, spec: EngineSpec, judge: Judge, prompts: Prompts, pairs: Sequence[LabelledPair]
) -> Scored:
    def report(done: int, total: int) -> None:
        if done % max(1, total // 10) == 0:
            print(f"  {done:,} of {total:,} requests", file=sys.stderr, flush=True)

    sampler = config.sampler.start("the judge's engine", spec)
    try:
        sampler.wait_ready()

        def key_of(answer: str) -> str:
            return cached_key(answer, config.answers)

        return score_pairs(judge, sampler, prompts, pairs, config.sampler.max_running_traces, key_of, report)
    finally:
        sampler.close()


def evaluate(config: EvalConfig, judged: Sequence[Judged], pairs: Sequence[LabelledPair], made_by: str) -> str:
    """Write scores, tables and plots; return the table as Markdown.

    Args:
        made_by: a line below the table that says which command made it.
    """
    folder = local_path(config.target)
    write_scores(judged, pairs, folder / "scores.parquet")
    rows = []
    for group, places in groups(pairs).items():
        rows += [row(config, group, each, judged[0], pairs, places) for each in judged]
    labels = [pair.label for pair in pairs]
    plot_roc({each.name: roc(labels, each.scores) for each in judged}, folder / "roc.png")
    plot_calibration(
        {each.name: calibration(labels, each.scores) for each in judged if each.is_probability},
        folder / "calibration.png",
    )
    return write_table(rows, folder, made_by)


def calibrate(folder: Path, judged: Judged, pairs: Sequence[LabelledPair], made_by: str) -> float:
    """Give a trained judge the threshold that is best for these scores; return it.

    Raises:
        InputError: the scores are no probabilities, or no problem has both kinds of pairs.
    """
    read_card(folder)
    problems = [f"{pair.problem_set}/{pair.problem_id}" for pair in pairs]
    tau = cautious_threshold(judged.scores, [pair.label for pair in pairs], problems)
    if not judged.is_probability or tau is None:
        reason = "no problem has pairs of both kinds" if judged.is_probability else "its scores are no probabilities"
        raise InputError(f"calibrate: {judged.name} has no threshold: {reason}.")
    tau = round(tau, 4)
    write_tau(folder, Calibration(tau=tau, measured=f"{len(pairs)} pairs of {len(set(problems))} problems. {made_by}"))
    return tau


def row(
    config: EvalConfig,
    group: str,
    judged: Judged,
    first: Judged,
    pairs: Sequence[LabelledPair],
    places: Sequence[int],
) -> ScoreRow:
    mine = [pairs[place] for place in places]
    labels, problems = [pair.label for pair in mine], [f"{pair.problem_set}/{pair.problem_id}" for pair in mine]
    scores, reference = ([each.scores[place] for place in places] for each in (judged, first))
    return ScoreRow(
        group=group,
        judge=judged.name,
        quality=quality(scores, labels, problems, judged.is_probability, config.bootstrap, config.seed),
        lead=Interval(None)
        if judged is first
        else within_difference(reference, scores, labels, problems, config.bootstrap, config.seed),
        tokens_a_pair=judged.tokens_a_pair,
    )


def groups(pairs: Sequence[LabelledPair]) -> dict[str, list[int]]:
    """Return the places of all pairs, of each problem set's and of each model's, where there are several."""
    found = {"all": list(range(len(pairs)))}
    for what in ("problem_set", "model"):
        values = sorted({getattr(pair, what) for pair in pairs})
        for value in values if len(values) > 1 else []:
            found[f"{what} {value}"] = [k for k, pair in enumerate(pairs) if getattr(pair, what) == value]
    return found


def write_scores(judged: Sequence[Judged], pairs: Sequence[LabelledPair], target: Path) -> None:
    names = ("problem_set", "model", "problem_id", "left_trace", "right_trace", "label", "fold")
    columns: dict[str, Any] = {name: [getattr(pair, name) for pair in pairs] for name in names}
    for each in judged:
        columns[f"score_{each.name}"] = pa.array(each.scores, pa.float64())
    write_atomically(target, lambda path: pq.write_table(pa.table(columns), path))
