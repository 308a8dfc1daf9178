"""The configuration of training and evaluating judges; see conf/train_judge.yaml and conf/eval_judge.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pruner.judges.llm import LlmJudgeConfig
from pruner.judges.probe import ProbeJudgeConfig
from pruner.judges.trained import TrainedJudgeConfig
from pruner.problems.problem_set import KindName
from pruner.samplers.vllm_engines import VllmSamplerConfig
from pruner.settings.model import ModelConfig
from pruner.settings.section import FilePath, Natural, Positive, Resamplings, Section, Seed, Share


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


class BaseModelConfig(Section):
    path: FilePath
    revision: str | None = None
    dtype: Literal["bfloat16", "float32"]
    trust_remote_code: bool = False


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
    warmup_share: Share
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
    """Logistic regression on features of two readings. problem_intercepts: give each training problem a constant of its
    own, which is then forgotten: the weights keep only what distinguishes pairs of one problem. l2: weight decay, per
    problem."""

    kind: Literal["lexical"]
    loss: LossConfig
    problem_intercepts: bool
    l2: float = Field(ge=0.0, le=1e9)


class TrainConfig(Section):
    """hold_out_fold: leave the pairs of this fold out, for cross-validation. pairs_per_problem: at most, by hash."""

    pairs: Annotated[tuple[FilePath, ...], Field(min_length=1)]
    target: FilePath
    hold_out_fold: Natural | None
    pairs_per_problem: Positive | None
    seed: Seed
    trainer: Annotated[GenerativeTrainerConfig | LexicalTrainerConfig, Field(discriminator="kind")]


class EvalConfig(Section):
    """judges: what to compare; see conf/eval_judge.yaml. calibrate: folder of a trained judge that is given the threshold of the first."""

    pairs: Annotated[tuple[FilePath, ...], Field(min_length=1)]
    target: FilePath
    judges: Annotated[tuple[str, ...], Field(min_length=1)]
    calibrate: FilePath | None = None
    fold: Natural | None
    pairs_per_problem: Positive | None
    embedding: FilePath | None
    bootstrap: Resamplings
    answers: KindName
    seed: Seed
    model: ModelConfig
    llm: LlmJudgeConfig
    probe: ProbeJudgeConfig
    trained: TrainedJudgeConfig
    sampler: VllmSamplerConfig
