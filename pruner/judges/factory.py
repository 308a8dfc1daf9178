"""From the config to the judge that it names."""

from __future__ import annotations

from pathlib import Path

from pruner.answers import cached_key
from pruner.config.job import Config
from pruner.config.judges import LlmJudgeConfig, TrainedJudgeConfig
from pruner.config.model import ModelConfig
from pruner.config.section import local_path
from pruner.errors import InputError
from pruner.judges import lexical_weights
from pruner.judges.base import Judge, Prober
from pruner.judges.card import (
    GenerativeCard,
    JudgeCard,
    check_base,
    check_prefix,
    generative_config,
    overlap,
    read_card,
)
from pruner.judges.lexical import LexicalJudge
from pruner.judges.llm import LlmJudge
from pruner.judges.oracle import KnownTrace, OracleJudge
from pruner.judges.probe import EngineProber, ProbeJudge
from pruner.judges.reading import FEATURES
from pruner.judges.replay import NoisyOracle, RecordedJudge, RecordedProber
from pruner.lines import print_warnings
from pruner.prompts import (
    ChatPrompts,
    Prompts,
    load_tokenizer,
)
from pruner.replay import Replay
from pruner.results.run_tables import read_run_traces, sampler_settings


def make_prober(config: Config, replay: Replay | None, prompts: Prompts, max_tokens: int) -> Prober:
    if replay is not None:
        assert config.sampler.name == "replay"
        return RecordedProber(replay, config.sampler.probe_tokens, config.sampler.probe_opening_tokens)
    model = config.model
    return EngineProber(model.probe, prompts.encode_text(model.probe), max_tokens, model.max_model_len)


def make_judge(config: Config, replay: Replay | None, prompts: Prompts) -> Judge:
    """Raises InputError: the judge cannot work as configured."""

    def key_of(answer: str) -> str:
        return cached_key(answer, config.problems.answers)

    judge, model = config.judge, config.model
    if judge.name == "probe":
        return ProbeJudge(make_prober(config, replay, prompts, judge.max_tokens))
    if replay is not None and judge.name == "recorded":
        return RecordedJudge(replay)
    if replay is not None and judge.name == "noisy_oracle":
        return NoisyOracle(replay, key_of, judge.auroc, judge.prior, judge.pair_tokens, config.seed)
    if replay is not None and judge.name == "oracle" and judge.source is None:
        return NoisyOracle(replay, key_of, 1.0, 0.5, None, config.seed)
    if judge.name == "oracle":
        assert judge.source is not None
        rows = read_run_traces(local_path(judge.source))
        traces = {(row.problem_id, row.trace_index): KnownTrace(row.text, row.answer) for row in rows}
        return OracleJudge(traces, key_of)
    generative = generative_judge(config)
    if generative is None:
        assert judge.name == "trained"
        if replay is not None and not replay.recording.has_text:
            raise InputError("judge: got trained, but the recorded traces of sampler.source have no text to read.")
        return LexicalJudge(lexical_weights.load(local_path(judge.path), len(FEATURES)))
    return make_generative_judge(generative, model, judge_context(config))


def make_generative_judge(judge: LlmJudgeConfig, model: ModelConfig, max_model_len: int) -> LlmJudge:
    path = judge.path or model.path
    tokenizer = load_tokenizer(path, None if judge.path else model.revision, model.trust_remote_code)
    template = model.prompt.model_copy(update={"template_kwargs": judge.template_kwargs})
    return LlmJudge(judge, ChatPrompts(tokenizer, template), max_model_len)


def generative_judge(config: Config) -> LlmJudgeConfig | None:
    """Return the judge that needs an engine and scores pairs: a zero-shot one, or a trained one by its card."""
    if not config.method.uses_judge:
        return None
    judge = config.judge
    if isinstance(judge, LlmJudgeConfig):
        return judge
    if isinstance(judge, TrainedJudgeConfig):
        card = trained_card(judge).judge
        if isinstance(card, GenerativeCard):
            return generative_config(card, local_path(judge.path), judge)
    return None


def trained_card(judge: TrainedJudgeConfig) -> JudgeCard:
    return read_card(local_path(judge.path))


def judge_context(config: Config) -> int:
    judge = generative_judge(config)
    return judge.max_model_len if judge is not None and not judge.colocate else config.model.max_model_len


def check_cuts(prefix_tokens: int, segment_tokens: int, source: Path) -> None:
    """Refuse a run whose traces are others: each segment has a seed of its own, so traces are the same only if they are cut at the
    same places, and methods cut at the prefix.

    Raises:
        InputError: with what to set.
    """
    found, _ = sampler_settings(source)
    if found != segment_tokens or prefix_tokens % segment_tokens:
        raise InputError(
            f"judge.source: {source} has segments of {found} tokens, this run has {segment_tokens} and prefixes of {prefix_tokens}, so "
            f"its traces are not these. Set sampler.segment_tokens={prefix_tokens}, or a divisor of it, in both runs."
        )


def check_trained(judge: TrainedJudgeConfig, config: Config) -> JudgeCard:
    folder = local_path(judge.path)
    card = read_card(folder)
    check_prefix(card, config.prefix, folder)
    if isinstance(card.judge, GenerativeCard):
        if not card.judge.is_adapter and judge.colocate:
            raise InputError(
                f"judge.colocate: {judge.path} is a whole model, which needs an engine of its own. "
                "Set judge.colocate=false."
            )
        if card.judge.is_adapter:
            own = judge.base or card.judge.base
            path, revision = (config.model.path, config.model.revision) if judge.colocate else (own, None)
            check_base(card.judge, folder, path, revision)
    else:
        lexical_weights.load(folder, len(FEATURES))
    return card


def warn_of_overlap(card: JudgeCard, path: str, problems: list[tuple[str, str]]) -> None:
    if shared := overlap(card, problems):
        shown = ", ".join(shared[:5]) + (", ..." if len(shared) > 5 else "")
        print_warnings(
            [
                f"the judge {path} was trained on {len(shared)} of these {len(problems)} problems ({shown}); "
                "what it does on them says nothing about others"
            ]
        )
