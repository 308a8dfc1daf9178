"""The configuration of building pairs, training and evaluating judges; see conf/build_pairs.yaml and its neighbours."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pruner.judges.llm import LlmJudgeConfig
from pruner.judges.probe import ProbeJudgeConfig
from pruner.judges.trained import TrainedJudgeConfig
from pruner.problems.problem_set import KindName
from pruner.recordings.recording import ReplayColumns
from pruner.rules.prefix import AnyPrefix
from pruner.samplers.vllm_engines import VllmSamplerConfig
from pruner.settings.model import ModelConfig, ModelFiles
from pruner.settings.section import MAX_COUNT, FilePath, Folds, Natural, Positive, Resamplings, Section, Seed, Share


class _FixedTokens(Section):
    prefix_tokens: Positive


class PairsConfig(Section):
    """source: a run's folder, or a Parquet of recorded traces. model: for prefix=fixed, whose default refers to it. segment_tokens: of
    the segments that the main job would have sampled. traces_per_problem: those of the lowest indexes, null: all. pairs_per_problem:
    drawn by hash, null: all. columns: of a Parquet, as sampler=replay reads them."""

    source: FilePath
    target: FilePath
    columns: ReplayColumns
    answers: KindName
    tokenizer: str
    segment_tokens: Positive
    traces_per_problem: Annotated[int, Field(ge=2, le=MAX_COUNT)] | None
    pairs_per_problem: Positive | None
    folds: Folds
    seed: Seed
    prefix: AnyPrefix
    model: _FixedTokens


class LossConfig(Section):
    """Focal loss: alpha weighs same pairs, 1 - alpha different ones; gamma 0 is the plain cross entropy.
    oversampling: how often a pair of the rarer label is shown for every showing of one of the commoner."""

    alpha: float = Field(gt=0.0, lt=1.0)
    gamma: float = Field(ge=0.0, le=100.0)
    oversampling: Annotated[int, Field(ge=1, le=10_000)]


class LoraConfig(Section):
    """targets: names of the linear layers that get an adapter."""

    rank: Positive
    alpha: Positive
    dropout: Share
    targets: Annotated[tuple[str, ...], Field(min_length=1)]


class BaseModelConfig(ModelFiles):
    dtype: Literal["bfloat16", "float32"]


class GenerativeTrainerConfig(Section):
    """A causal language model that answers with one of two words. lora: null trains all weights. both_orders: each
    pair is shown in both orders, and scored so. save_steps: the most optimizer steps that a kill can cost."""

    kind: Literal["generative"]
    base: BaseModelConfig
    lora: LoraConfig | None
    loss: LossConfig
    system: str | None
    prompt: str
    labels: Annotated[tuple[str, ...], Field(min_length=2, max_length=2)]
    template_kwargs: dict[str, str | bool | int]
    both_orders: bool
    epochs: float = Field(gt=0.0, le=1e6)
    batch_size: Positive
    gradient_accumulation: Positive
    learning_rate: float = Field(gt=0.0, le=1e3)
    warmup_share: float = Field(ge=0.0, lt=1.0)
    weight_decay: float = Field(ge=0.0, le=1e6)
    max_tokens: Positive
    save_steps: Positive
    log_steps: Positive

    @model_validator(mode="after")
    def _prompt_has_its_fields(self) -> GenerativeTrainerConfig:
        for field in ("{left}", "{right}"):
            if field not in self.prompt:
                raise ValueError(f"prompt: has no {field}")
        return self


class LexicalTrainerConfig(Section):
    """Logistic regression on features of two readings. l2: weight decay, per problem."""

    kind: Literal["lexical"]
    l2: float = Field(gt=0.0, le=1e9)


class TrainConfig(Section):
    """hold_out_fold: leave the pairs of this fold out, for cross-validation. pairs_per_problem: at most, by hash."""

    pairs: Annotated[tuple[FilePath, ...], Field(min_length=1)]
    target: FilePath
    hold_out_fold: Natural | None
    pairs_per_problem: Positive | None
    seed: Seed
    trainer: Annotated[GenerativeTrainerConfig | LexicalTrainerConfig, Field(discriminator="kind")]


class EvalConfig(Section):
    """judges: see conf/eval_judge.yaml. calibrate: folder of a trained judge that is given the threshold of the first."""

    pairs: Annotated[tuple[FilePath, ...], Field(min_length=1)]
    target: FilePath
    judges: Annotated[tuple[str, ...], Field(min_length=1)]
    calibrate: FilePath | None = None
    fold: Natural | None
    pairs_per_problem: Positive | None
    bootstrap: Resamplings
    answers: KindName
    seed: Seed
    model: ModelConfig
    llm: LlmJudgeConfig
    probe: ProbeJudgeConfig
    trained: TrainedJudgeConfig
    sampler: VllmSamplerConfig
