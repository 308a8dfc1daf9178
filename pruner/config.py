"""The configuration: typed, closed (unknown keys are refused) and checked before anything is loaded.

Owns pydantic. Everything that a run can be told stands here with its unit and range; conf/ holds the values. Which of it
decides a run's results, and so must not change when the run goes on, is told by `identity`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pruner.errors import InputError

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0.0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


AnySection = TypeVar("AnySection", bound=Section)


class RunConfig(Section):
    """name: the run's folder under root; null names it after the overrides of the command line, `default` if none."""

    name: str | None = Field(default=None, pattern=r"^[^/\\\s.][^/\\\n]*$")
    root: str = "outputs"


class ShardConfig(Section):
    """Which slice of the problem set this process works on: problems whose index % count == index."""

    index: int = Field(ge=0)
    count: Positive

    @model_validator(mode="after")
    def _index_below_count(self) -> ShardConfig:
        if self.index >= self.count:
            raise ValueError(f"index: got {self.index}, expected a number below count = {self.count}")
        return self


class ProblemsConfig(Section):
    """name: null names it after the file. path: Parquet. limit: only its first rows. answers: how final answers compare. patterns: regular expressions with
    one group, for answers outside a box."""

    name: str | None = None
    path: str
    limit: Positive | None = None
    answers: Literal["math", "choice"] = "math"
    patterns: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _patterns_have_one_group(self) -> ProblemsConfig:
        for pattern in self.patterns:
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"patterns: {pattern!r} is no regular expression ({error})") from None
            if groups != 1:
                raise ValueError(f"patterns: {pattern!r} has {groups} groups, expected 1")
        return self


class Turn(Section):
    question: str
    reply: str


class PromptConfig(Section):
    """instruction is added below each question. template_kwargs go to the chat template (enable_thinking and the like)."""

    system: str | None = None
    few_shot: tuple[Turn, ...] = ()
    instruction: str = ""
    template_kwargs: dict[str, str | bool | int] = {}


class SamplingConfig(Section):
    """Of a trace. max_tokens caps the whole trace, not a request."""

    temperature: float = Field(ge=0.0)
    top_p: float = Field(gt=0.0, le=1.0)
    top_k: int = Field(ge=0)
    min_p: Share
    max_tokens: Positive
    stop: tuple[str, ...] = ()


class ModelConfig(Section):
    """path: a folder, or a hub id where the machine may download. prefix_tokens: a fixed prefix's length for its traces.
    probe: what is appended to a prefix to force its answer out."""

    name: str
    path: str
    revision: str | None = None
    dtype: Literal["bfloat16", "float16", "float32"]
    max_model_len: Positive
    tensor_parallel_size: Positive = 1
    gpu_memory_utilization: float = Field(default=0.9, gt=0.0, le=1.0)
    trust_remote_code: bool = False
    prefix_tokens: Positive
    probe: str
    prompt: PromptConfig
    sampling: SamplingConfig


class FixedPrefixConfig(Section):
    name: Literal["fixed"]
    max_tokens: Positive


class ReasoningWordsPrefixConfig(Section):
    name: Literal["reasoning_words"]
    words: Annotated[tuple[str, ...], Field(min_length=1)]
    count: Positive
    max_tokens: Positive


class MethodSection(Section):
    """What a method needs beside its traces."""

    @property
    def uses_judge(self) -> bool:
        return False

    @property
    def needs_confidence(self) -> bool:
        return False

    @property
    def asked_tokens(self) -> int | None:
        """The most tokens of an answer that is asked of a running trace; None if the method asks none."""
        return None


class ConsConfig(MethodSection):
    name: Literal["cons"]


class AdaptiveConfig(MethodSection):
    """threshold: stop once P(the leader beats the runner-up) exceeds it; 1: never. wave: traces started at once."""

    name: Literal["adaptive"]
    threshold: float = Field(ge=0.5, le=1.0)
    wave: Positive


class EscConfig(MethodSection):
    """window: traces started at once; when all of them agree, no more start."""

    name: Literal["esc"]
    window: Annotated[int, Field(ge=2)]


class DeepConfOfflineConfig(MethodSection):
    """score: what a trace's vote weighs. keep: the top share of traces, by score, that votes. window: tokens of a group."""

    name: Literal["deepconf_offline"]
    score: Literal["mean", "tail", "bottom_10", "lowest_group"]
    keep: float = Field(gt=0.0, le=1.0)
    window: Positive

    @property
    def needs_confidence(self) -> bool:
        return True


class DeepConfOnlineConfig(MethodSection):
    """warmup: traces that set the threshold. keep: share of them above it. consensus: the leader's share of the vote at which
    no more start; null: the whole budget starts. wave: traces started at once after the warm-up. window: tokens of a group."""

    name: Literal["deepconf_online"]
    warmup: Positive
    keep: float = Field(gt=0.0, le=1.0)
    consensus: Annotated[float, Field(gt=0.0, le=1.0)] | None
    wave: Positive
    window: Positive

    @property
    def needs_confidence(self) -> bool:
        return True


class WavesConfig(MethodSection):
    """See pruner/methods/waves.py. probe_tokens: of an answer that a running trace is asked for, if it `asks`."""

    name: Literal["waves"]
    confidence: float = Field(ge=0.5, lt=1.0)
    every_tokens: Positive
    width: Positive
    asks: bool
    probe_tokens: Positive
    spend_unit: float = Field(gt=0.0)
    spend_power: float = Field(ge=0.0)
    brevity: float = Field(ge=0.0)

    @property
    def asked_tokens(self) -> int | None:
        return self.probe_tokens if self.asks else None


class DeepPruneConfig(MethodSection):
    """tau: a trace joins a cluster only above it. k, k1, k2, k3 as in the paper. finish_share: see conf/method."""

    name: Literal["deepprune"]
    tau: Share
    k: Positive
    k1: Positive
    k2: Positive
    k3: Positive
    finish_share: float = Field(gt=0.0, le=1.0)
    assign: Literal["best", "first"]
    answer: Literal["vote", "representatives"]

    @property
    def uses_judge(self) -> bool:
        return True


class ProbeJudgeConfig(Section):
    """max_tokens: of a probed answer."""

    name: Literal["probe"]
    max_tokens: Positive


class LlmJudgeConfig(Section):
    """A generative judge. path: null is the sampler's own model. adapter: a LoRA folder for it. colocate: on the
    sampler's engine (path must be null) or in a process of its own. labels: the words for same and different. both_orders: show each
    pair in both orders and average."""

    name: Literal["llm"]
    path: str | None = None
    adapter: str | None = None
    colocate: bool = True
    gpus: tuple[int, ...] | None = None
    dtype: Literal["bfloat16", "float16", "float32"]
    max_model_len: Positive
    gpu_memory_utilization: float = Field(default=0.9, gt=0.0, le=1.0)
    max_lora_rank: Positive = 16
    system: str | None = None
    prompt: str
    labels: Annotated[tuple[str, ...], Field(min_length=2, max_length=2)]
    both_orders: bool = False
    template_kwargs: dict[str, str | bool | int] = {}

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
    path: str
    base: str | None = None
    colocate: bool = True
    gpus: tuple[int, ...] | None = None
    dtype: Literal["bfloat16", "float16", "float32"]
    max_model_len: Positive
    gpu_memory_utilization: float = Field(default=0.9, gt=0.0, le=1.0)
    both_orders: bool | None = None


class OracleJudgeConfig(Section):
    """source: the folder of a run of method=cons over the same traces; null with sampler=replay, which knows them."""

    name: Literal["oracle"]
    source: str | None = None


class NoisyOracleJudgeConfig(Section):
    """Replay only: a judge of a given quality. auroc: of its scores over pairs. prior: P(same) that it reckons with.
    pair_tokens: of its prompt beside the two prefixes; null: it costs nothing."""

    name: Literal["noisy_oracle"]
    auroc: float = Field(ge=0.5, le=1.0)
    prior: float = Field(gt=0.0, lt=1.0)
    pair_tokens: Annotated[int, Field(ge=0)] | None


class RecordedJudgeConfig(Section):
    """Replay only: what the judge of the replayed run said."""

    name: Literal["recorded"]


class VllmSamplerConfig(Section):
    """exact: float32 on a CPU, batch-invariant kernels on a GPU, so that a rerun gives the same tokens.

    gpus: ids within the allocation; null: all. in_process: null puts the engine into this process on a CPU and into its
    own on a GPU. kv_cache_gib: on a CPU only. cache_block_tokens: the unit of the prefix cache; on a CPU a multiple of 32.
    """

    name: Literal["vllm"]
    exact: bool
    cache_block_tokens: Positive
    segment_tokens: Positive
    max_running_traces: Positive
    gpus: tuple[int, ...] | None = None
    in_process: bool | None = None
    enforce_eager: bool | None = None
    kv_cache_gib: Positive = 4


class SimulatedSamplerConfig(Section):
    """Seeded fake traces: no model; for tests of scale and of kills."""

    name: Literal["simulated"]
    segment_tokens: Positive
    max_running_traces: Positive
    mean_tokens: Positive
    cache_block_tokens: Positive
    num_answers: Positive
    accuracy: Share
    step_tokens: Positive
    step_s: float = Field(ge=0.0)


class ReplayColumns(Section):
    """The columns of a Parquet of recorded traces; all but problem_id, gold_answer, trace_index, num_tokens and answer may be
    missing there. probes: the answers that the trace gave when asked after every probe_every tokens."""

    problem_id: str = "problem_id"
    question: str = "question"
    gold_answer: str = "gold_answer"
    trace_index: str = "trace_index"
    num_tokens: str = "num_tokens"
    answer: str = "answer"
    finish_reason: str = "finish_reason"
    text: str = "text"
    token_ids: str = "token_ids"
    confidence: str = "confidence"
    probes: str = "probes"
    probe_every: str = "probe_every"
    model: str = "model"


class ReplaySamplerConfig(Section):
    """Recorded traces: no model. source: a run's folder or a Parquet. resample: R, repeat each problem with R seeded orders of
    its traces; null: once, in the recorded order. segment_tokens, cache_block_tokens: null: as the earlier run had them, else whole
    traces and 16.
    probe_tokens, probe_opening_tokens: what a probe of a plain Parquet is taken to cost. no_answer: what stands in a plain Parquet's
    answers where a trace gave none."""

    name: Literal["replay"]
    source: str
    resample: Positive | None = None
    segment_tokens: Positive | None = None
    max_running_traces: Positive = 1024
    cache_block_tokens: Positive | None = None
    probe_tokens: Annotated[int, Field(ge=0)] = 10
    probe_opening_tokens: Annotated[int, Field(ge=0)] = 10
    no_answer: tuple[str, ...] = ()
    columns: ReplayColumns = ReplayColumns()


class CheckpointConfig(Section):
    """Facts are committed every so many seconds or segments, whichever is first. lock_wait_s: how long to wait for another
    process that works on the shard. dir: where the checkpoint is worked on, e.g. node-local scratch; it is copied into the
    run's folder every copy_every_s seconds and at the end. null: worked on in the run's folder. rederive: forget derived rows
    and compute them again from the facts."""

    every_s: Seconds
    every_segments: Positive
    lock_wait_s: float = Field(ge=0.0)
    dir: str | None = None
    copy_every_s: Seconds = 60.0
    rederive: bool = False


class ProgressConfig(Section):
    """interval_s: between plain lines when the output is no terminal. bar: null shows a bar on a terminal only."""

    interval_s: Seconds
    bar: bool | None = None


class ResultsConfig(Section):
    """text, token_ids, confidence: written with each trace, confidences where the method has them sampled. every_s: how often
    Parquet of finished problems is refreshed."""

    text: bool
    token_ids: bool
    confidence: bool
    every_s: Seconds


class AccountingConfig(Section):
    """What one judge token costs, in sampled tokens. prompt: newly read; cached: computed by this job before; output. price_*:
    at most one, in any currency, for an estimated cost."""

    judge_prompt_weight: float = Field(ge=0.0)
    judge_cached_weight: float = Field(ge=0.0)
    judge_output_weight: float = Field(ge=0.0)
    price_per_gpu_hour: float | None = Field(default=None, ge=0.0)
    price_per_million_tokens: float | None = Field(default=None, ge=0.0)

    @model_validator(mode="after")
    def _one_price(self) -> AccountingConfig:
        if self.price_per_gpu_hour is not None and self.price_per_million_tokens is not None:
            raise ValueError(
                f"price_per_gpu_hour: got {self.price_per_gpu_hour} and price_per_million_tokens "
                f"{self.price_per_million_tokens}, expected one of them. Set the other to null"
            )
        return self


class Config(Section):
    seed: int = Field(ge=0, lt=2**63)
    budget: Annotated[int, Field(ge=1, le=1_000_000)]
    dry_run: bool = False
    answer_time_limit_s: Seconds
    run: RunConfig
    shard: ShardConfig
    problems: ProblemsConfig
    model: ModelConfig
    prefix: Annotated[FixedPrefixConfig | ReasoningWordsPrefixConfig, Field(discriminator="name")]
    method: Annotated[
        ConsConfig
        | DeepPruneConfig
        | AdaptiveConfig
        | EscConfig
        | DeepConfOfflineConfig
        | DeepConfOnlineConfig
        | WavesConfig,
        Field(discriminator="name"),
    ]
    judge: Annotated[
        ProbeJudgeConfig
        | LlmJudgeConfig
        | TrainedJudgeConfig
        | OracleJudgeConfig
        | NoisyOracleJudgeConfig
        | RecordedJudgeConfig,
        Field(discriminator="name"),
    ]
    sampler: Annotated[VllmSamplerConfig | SimulatedSamplerConfig | ReplaySamplerConfig, Field(discriminator="name")]
    checkpoint: CheckpointConfig
    progress: ProgressConfig
    results: ResultsConfig
    accounting: AccountingConfig

    @model_validator(mode="after")
    def _simulated_traces_have_no_text_to_judge(self) -> Config:
        if self.sampler.name == "simulated" and self.method.uses_judge and self.judge.name not in ("probe", "oracle"):
            raise ValueError(f"judge: got {self.judge.name}, expected probe or oracle with sampler=simulated")
        return self

    @model_validator(mode="after")
    def _judge_and_sampler_fit(self) -> Config:
        if not self.method.uses_judge:
            return self
        is_replay = self.sampler.name == "replay"
        if is_replay and self.judge.name == "llm":
            raise ValueError(
                "judge: got llm, which needs an engine, with sampler=replay. Expected probe, trained (a lexical one), oracle, "
                "noisy_oracle or recorded"
            )
        if not is_replay and self.judge.name in ("noisy_oracle", "recorded"):
            raise ValueError(f"judge: got {self.judge.name}, which needs sampler=replay")
        if not is_replay and self.judge.name == "oracle" and self.judge.source is None:
            raise ValueError("judge.source: got null, expected the folder of a run of method=cons over the same traces")
        return self


def parse(values: Mapping[str, Any]) -> Config:
    """Turn plain values (from YAML) into a Config.

    Raises:
        InputError: with a line for every unknown, missing, ill-typed or out-of-range key.
    """
    return parse_as(Config, values)


def parse_as(kind: type[AnySection], values: Mapping[str, Any]) -> AnySection:
    """Turn plain values into any section. Raises InputError like `parse`."""
    try:
        return kind.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise InputError([describe_fault(item) for item in error.errors()]) from None


def describe_fault(error: Any) -> str:
    location = [str(part) for part in error["loc"]]
    if len(location) > 1 and location[0] in ("method", "judge", "prefix", "sampler", "trainer"):
        del location[1]  # pydantic names the chosen member of a union there
    key = ".".join(location)
    kind, message = error["type"], error["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return f"config: unknown key {key}. See `python -m jobs.run --cfg job` for those that exist."
    if kind == "missing":
        return f"config: {key} is missing."
    if kind == "value_error":
        return f"{key}.{message}." if key else f"{message}."
    return f"{key}: got {error['input']!r}. {message}."


# What may change between two attempts at one run: where and how fast it works, what it shows, how it weighs.
NOT_IDENTITY = (
    "dry_run",
    "run",
    "shard",
    "checkpoint",
    "progress",
    "results",
    "accounting",
    "problems.name",
    "problems.path",
    "problems.limit",
    "model.path",
    "model.revision",
    "model.gpu_memory_utilization",
    "model.trust_remote_code",
    "sampler.source",
    "sampler.max_running_traces",
    "sampler.gpus",
    "sampler.in_process",
    "sampler.kv_cache_gib",
    "sampler.step_s",
    "judge.path",
    "judge.base",
    "judge.source",
    "judge.adapter",
    "judge.colocate",
    "judge.gpus",
    "judge.gpu_memory_utilization",
)


def identity(config: Config, fingerprints: Mapping[str, str]) -> dict[str, str]:
    """Return everything that a run's results are a function of, as dotted key -> JSON value.

    Args:
        fingerprints: of contents that config only points at, e.g. `problems` and `model`.
    """
    flat = flatten(config.model_dump(mode="json"))
    drop = NOT_IDENTITY if config.method.uses_judge else (*NOT_IDENTITY, "judge", "prefix")
    if not config.method.uses_judge and config.method.asked_tokens is None:
        drop = (*drop, "model.probe")
    if config.sampler.name == "replay":
        drop = (*drop, "model")
    if config.prefix.name == "fixed":
        drop = (*drop, "model.prefix_tokens")
    kept = {
        key: json.dumps(value, sort_keys=True)
        for key, value in flat.items()
        if not any(key == name or key.startswith(name + ".") for name in drop)
    }
    return kept | {f"fingerprint.{name}": json.dumps(value) for name, value in sorted(fingerprints.items())}


def differing_keys(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return `key: old -> new` for every key of two identities that differs."""
    keys = sorted(old.keys() | new.keys())
    return [
        f"{key}: {old.get(key, 'unset')} -> {new.get(key, 'unset')}" for key in keys if old.get(key) != new.get(key)
    ]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one with dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return flat
