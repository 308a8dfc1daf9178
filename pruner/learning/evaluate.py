"""Scoring judges on labelled pairs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pruner.answers import cached_key
from pruner.errors import InputError
from pruner.judges.base import JudgeConfig, JudgeContext
from pruner.judges.card import Calibration, read_card, write_tau
from pruner.judges.probe import EngineProber, ProbeJudgeConfig
from pruner.learning.baselines import BASELINES
from pruner.learning.config import EvalConfig
from pruner.learning.metrics import cautious_threshold, quality, within_difference
from pruner.learning.pair_files import PairSet
from pruner.learning.pairs import LabelledPair
from pruner.learning.scoring import Scored, score_pairs
from pruner.learning.tables import ScoreRow, write_table
from pruner.prompts import BytePrompts, Prompts, check_model_folder, model_prompts
from pruner.records.traces import Problem
from pruner.samplers import vllm_engines
from pruner.samplers.base import Sampler
from pruner.settings.section import local_path
from pruner.statistics.intervals import Interval
from pruner.system.files import write_atomically

NAMES = (*BASELINES, "llm", "probe")


@dataclass(frozen=True)
class Judged:
    """A judge's scores of all pairs. is_probability: they are meant as P(same)."""

    name: str
    scores: tuple[float | None, ...]
    is_probability: bool
    tokens_a_pair: float | None = None


def check(config: EvalConfig, data: PairSet, pairs: Sequence[LabelledPair]) -> None:
    """Refuse what cannot be scored before anything is loaded; warn of judges that were trained on the problems.

    Raises:
        InputError: a judge is not there, or does not fit the pairs.
    """
    for name in config.judges:
        if name in BASELINES:
            continue
        if name in NAMES:
            check_model_folder(config.model.path, "model.path")
        elif "/" not in name and not Path(name).exists():
            raise InputError(f"judges: got {name!r}, expected one of {', '.join(NAMES)}, or a judge's folder.")
        for fold, judge in judges(config, name, pairs).items():
            judge.check(_context(config, data, [pair for pair in pairs if fold in (None, pair.fold)]))


def judges(config: EvalConfig, name: str, pairs: Sequence[LabelledPair]) -> Mapping[int | None, JudgeConfig]:
    """Return the settings of a judge under None, or with {fold} in its name those of one judge for each fold of the pairs."""
    if name == "probe":
        return {None: config.probe}
    if name == "llm":
        return {None: config.llm.model_copy(update={"colocate": False})}
    folds = sorted({pair.fold for pair in pairs}) if "{fold}" in name else [None]
    return {
        fold: config.trained.model_copy(update={"path": name.replace("{fold}", str(fold)), "colocate": False})
        for fold in folds
    }


def _context(config: EvalConfig, data: PairSet, pairs: Sequence[LabelledPair]) -> JudgeContext:
    questions = sorted({(pair.problem_id, pair.question) for pair in pairs})
    return JudgeContext(
        seed=config.seed,
        answers=config.answers,
        model=config.model,
        prefix=data.prefix,
        sampler=config.sampler,
        problems=tuple(Problem(name, place, question, None) for place, (name, question) in enumerate(questions)),
        replay=None,
    )


def score(config: EvalConfig, name: str, data: PairSet, pairs: Sequence[LabelledPair]) -> Judged:
    """Return one judge's scores."""
    print(f"scoring {len(pairs):,} pairs with {name}", file=sys.stderr, flush=True)
    if name in BASELINES:
        return Judged(name, tuple(BASELINES[name](pairs)), is_probability=name == "prior")
    scores: list[float | None] = [None] * len(pairs)
    tokens_read = 0
    for fold, judge in judges(config, name, pairs).items():
        places = [place for place, pair in enumerate(pairs) if fold in (None, pair.fold)]
        part = _ask(config, judge, data, [pairs[place] for place in places])
        tokens_read += part.tokens_read
        for place, each in zip(places, part.scores, strict=True):
            scores[place] = each
    path = Path(name)
    shown = path.parent.name if "{fold}" in path.name else path.name
    return Judged(shown, tuple(scores), is_probability=True, tokens_a_pair=tokens_read / len(pairs))


def _ask(config: EvalConfig, judge: JudgeConfig, data: PairSet, pairs: Sequence[LabelledPair]) -> Scored:
    model, sampler = config.model, config.sampler
    prompts: Prompts = model_prompts(model)[0] if isinstance(judge, ProbeJudgeConfig) else BytePrompts()

    def prober(max_tokens: int) -> EngineProber:
        return EngineProber(model.probe, prompts.encode_text(model.probe), max_tokens, model.max_model_len)

    def engine() -> Sampler:
        settings = judge.engine()
        if settings is None:
            spec = vllm_engines.sampler_spec(model, sampler, None)
        else:
            spec = vllm_engines.judge_spec(settings, model, sampler)
        return sampler.start("the judge's engine", spec)

    made = judge.make(_context(config, data, pairs), prober)
    return score_pairs(
        made, engine, prompts, pairs, sampler.max_running_traces, lambda answer: cached_key(answer, config.answers)
    )


def evaluate(config: EvalConfig, judged: Sequence[Judged], pairs: Sequence[LabelledPair], made_by: str) -> str:
    """Write scores and table; return the table as Markdown.

    Args:
        judged: the first is compared with all others.
        made_by: a line that says which command made it.
    """
    folder = local_path(config.target)
    _write_scores(judged, pairs, folder / "scores.parquet")
    labels, problems = [pair.label for pair in pairs], [pair.problem for pair in pairs]
    draw = (config.bootstrap, config.seed)
    rows = []
    for each in judged:
        lead = Interval(None)
        if each is not judged[0]:
            lead = within_difference(judged[0].scores, each.scores, labels, problems, *draw)
        figures = quality(each.scores, labels, problems, each.is_probability, *draw)
        rows.append(ScoreRow(each.name, figures, lead, each.tokens_a_pair))
    return write_table(rows, folder, made_by)


def calibrate(folder: Path, judged: Judged, pairs: Sequence[LabelledPair], made_by: str) -> float:
    """Give a trained judge the threshold that is best for these scores; return it.

    Raises:
        InputError: the scores are no probabilities, or no problem has both kinds of pairs.
    """
    read_card(folder)
    problems = [pair.problem for pair in pairs]
    tau = cautious_threshold(judged.scores, [pair.label for pair in pairs], problems)
    if not judged.is_probability or tau is None:
        reason = "no problem has pairs of both kinds" if judged.is_probability else "its scores are no probabilities"
        raise InputError(f"calibrate: {judged.name} has no threshold: {reason}.")
    tau = round(tau, 4)
    write_tau(folder, Calibration(tau=tau, measured=f"{len(pairs)} pairs of {len(set(problems))} problems. {made_by}"))
    return tau


def _write_scores(judged: Sequence[Judged], pairs: Sequence[LabelledPair], target: Path) -> None:
    names = ("problem_set", "model", "problem_id", "left_trace", "right_trace", "label", "fold")
    columns: dict[str, Any] = {name: [getattr(pair, name) for pair in pairs] for name in names}
    for each in judged:
        columns[f"score_{each.name}"] = pa.array(each.scores, pa.float64())
    write_atomically(target, lambda path: pq.write_table(pa.table(columns), path))
