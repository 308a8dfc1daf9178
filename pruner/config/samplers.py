"""What a sampler can be told; conf/sampler holds the values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pruner.config.section import FilePath, Gpus, Natural, Orders, Positive, Running, Section, Share


class VllmSamplerConfig(Section):
    """exact: float32 on a CPU, batch-invariant kernels on a GPU, so that a rerun gives the same tokens.

    gpus: ids within the allocation; null: all. in_process: null puts the engine into this process on a CPU and into its
    own on a GPU. kv_cache_gib: on a CPU only. cache_block_tokens: the unit of the prefix cache; on a CPU a multiple of 32.
    """

    name: Literal["vllm"]
    exact: bool
    cache_block_tokens: Positive
    segment_tokens: Positive
    max_running_traces: Running
    gpus: Gpus | None = None
    in_process: bool | None = None
    enforce_eager: bool | None = None
    kv_cache_gib: Positive = 4


class SimulatedSamplerConfig(Section):
    """Seeded fake traces: no model; for tests of scale and of kills."""

    name: Literal["simulated"]
    segment_tokens: Positive
    max_running_traces: Running
    mean_tokens: Positive
    cache_block_tokens: Positive
    num_answers: Positive
    accuracy: Share
    step_tokens: Positive
    step_s: float = Field(ge=0.0, le=3600.0)


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
    source: FilePath
    resample: Orders | None = None
    segment_tokens: Positive | None = None
    max_running_traces: Running = 1024
    cache_block_tokens: Positive | None = None
    probe_tokens: Natural = 10
    probe_opening_tokens: Natural = 10
    no_answer: tuple[str, ...] = ()
    columns: ReplayColumns = ReplayColumns()


AnySampler = Annotated[
    VllmSamplerConfig | SimulatedSamplerConfig | ReplaySamplerConfig,
    Field(discriminator="name"),
]
