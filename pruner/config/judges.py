"""What a judge can be told; conf/judge holds the values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pruner.config.section import FilePath, Gpus, Natural, Positive, Section


class ProbeJudgeConfig(Section):
    """max_tokens: of a probed answer."""

    name: Literal["probe"]
    max_tokens: Positive


class LlmJudgeConfig(Section):
    """A generative judge. path: null is the sampler's own model. adapter: a LoRA folder for it. colocate: on the
    sampler's engine (path must be null) or in a process of its own. labels: the words for same and different. both_orders: show each
    pair in both orders and average."""

    name: Literal["llm"]
    path: FilePath | None = None
    adapter: FilePath | None = None
    colocate: bool = True
    gpus: Gpus | None = None
    dtype: Literal["bfloat16", "float16", "float32"]
    max_model_len: Positive
    gpu_memory_utilization: float = Field(default=0.9, gt=0.0, le=1.0)
    max_lora_rank: Positive = 16
    system: str | None = None
    prompt: str
    labels: Annotated[tuple[str, ...], Field(min_length=2, max_length=2)]
    both_orders: bool = False
    template_kwargs: dict[str, str | bool | int] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _colocated_is_the_samplers_model(self) -> LlmJudgeConfig:
        if self.colocate and self.path is not None:
            raise ValueError("colocate: got true with a path of its own; set judge.colocate=false or judge.path=null")
        if self.colocate and self.gpus is not None:
            raise ValueError(
                "gpus: a colocated judge runs on the sampler's; set judge.colocate=false or judge.gpus=null"
            )
        for field in ("{question}", "{left}", "{right}"):
            if field not in self.prompt:
                raise ValueError(f"prompt: has no {field}")
        return self


class TrainedJudgeConfig(Section):
    """A judge that jobs.train_judge made. path: its folder. colocate, gpus, dtype, max_model_len and gpu_memory_utilization
    concern a generative one, see LlmJudgeConfig. base: where the model of an adapter with an engine of its own is; null: where
    it was at training. both_orders: null: as it was trained."""

    name: Literal["trained"]
    path: FilePath
    base: FilePath | None = None
    colocate: bool = True
    gpus: Gpus | None = None
    dtype: Literal["bfloat16", "float16", "float32"]
    max_model_len: Positive
    gpu_memory_utilization: float = Field(default=0.9, gt=0.0, le=1.0)
    both_orders: bool | None = None


class OracleJudgeConfig(Section):
    """source: the folder of a run of method=cons over the same traces; null with sampler=replay, which knows them."""

    name: Literal["oracle"]
    source: FilePath | None = None


class NoisyOracleJudgeConfig(Section):
    """Replay only: a judge of a given quality. auroc: of its scores over pairs. prior: P(same) that it reckons with.
    pair_tokens: of its prompt beside the two prefixes; null: it costs nothing."""

    name: Literal["noisy_oracle"]
    auroc: float = Field(ge=0.5, le=1.0)
    prior: float = Field(gt=0.0, lt=1.0)
    pair_tokens: Natural | None


class RecordedJudgeConfig(Section):
    """Replay only: what the judge of the replayed run said."""

    name: Literal["recorded"]


AnyJudge = Annotated[
    ProbeJudgeConfig
    | LlmJudgeConfig
    | TrainedJudgeConfig
    | OracleJudgeConfig
    | NoisyOracleJudgeConfig
    | RecordedJudgeConfig,
    Field(discriminator="name"),
]
