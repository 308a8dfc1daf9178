"""What is sampled: the model, its prompt and how its traces are sampled; conf/model holds the values."""

from __future__ import annotations

from datetime import date
from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator

from pruner.settings.section import FilePath, Natural, Positive, Section, Share

# What a chat template is told the date is, so that a run that goes on after midnight has the same prompts.
FIXED_DATE = "2025-01-01"


def _date(text: str) -> str:
    date.fromisoformat(text)  # raises ValueError, which becomes a line
    return text


class Turn(Section):
    question: str
    reply: str


class PromptConfig(Section):
    """instruction is added below each question. template_kwargs go to the chat template (enable_thinking and the like). date: what a
    template that prints the date of today prints instead, as YYYY-MM-DD."""

    system: str | None = None
    few_shot: tuple[Turn, ...] = ()
    instruction: str = ""
    template_kwargs: dict[str, str | bool | int] = Field(default_factory=dict)
    date: Annotated[str, AfterValidator(_date)] = FIXED_DATE


class SamplingConfig(Section):
    """Of a trace. max_tokens caps the whole trace, not a request."""

    temperature: float = Field(ge=0.0, le=100.0)
    top_p: float = Field(gt=0.0, le=1.0)
    top_k: Natural
    min_p: Share
    max_tokens: Positive
    stop: tuple[str, ...] = ()


class ModelFiles(Section):
    """path: a folder, or a hub id where the machine may download. dtype: of weights and activations."""

    path: FilePath
    revision: str | None = None
    dtype: Literal["bfloat16", "float16", "float32"]
    trust_remote_code: bool = False


class EngineModel(ModelFiles):
    """A model as an engine loads it. hf_overrides: of the model's own config.json, as vLLM takes them."""

    max_model_len: Positive
    tensor_parallel_size: Positive = 1
    gpu_memory_utilization: float = Field(default=0.9, gt=0.0, le=1.0)
    hf_overrides: dict[str, JsonValue] = Field(default_factory=dict)


class ModelConfig(EngineModel):
    """name: null takes the path's last part. prefix_tokens: a fixed prefix's length for its traces.
    typical_tokens: the mean length of its traces, where somebody measured it.
    thinking_end: what the model writes, special tokens left out, between its reasoning and its response; null: it writes no reasoning.
    probe: what is appended to a prefix to force its answer out."""

    name: Annotated[str, BeforeValidator(lambda name: name or "")] = ""
    prefix_tokens: Positive
    typical_tokens: Positive | None = None
    thinking_end: Annotated[str, Field(min_length=1)] | None = None
    probe: str
    prompt: PromptConfig
    sampling: SamplingConfig

    @model_validator(mode="after")
    def _is_named_by_its_path(self) -> ModelConfig:
        return self if self.name else self.model_copy(update={"name": PurePath(self.path).name or self.path})
