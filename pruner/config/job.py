"""The main job's configuration as a whole; conf/config.yaml and its groups hold the values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pruner.config.judges import AnyJudge
from pruner.config.methods import AnyMethod
from pruner.config.model import AnyPrefix, ModelConfig
from pruner.config.samplers import AnySampler
from pruner.config.section import (
    Amount,
    Budget,
    CheckpointPath,
    FilePath,
    Pause,
    Positive,
    RunName,
    Seconds,
    Section,
    Seed,
    TimeLimit,
    parse_as,
)

# Each has files of its own, which status reads one after the other.
MAX_SHARDS = 100_000


class RunConfig(Section):
    """name: the run's folder under root; null names it after the overrides of the command line, `default` if none."""

    name: RunName | None = None
    root: CheckpointPath = "outputs"


class ShardConfig(Section):
    """Which slice of the problem set this process works on: problems whose index % count == index."""

    index: Annotated[int, Field(ge=0, lt=MAX_SHARDS)]
    count: Annotated[int, Field(ge=1, le=MAX_SHARDS)]

    @model_validator(mode="after")
    def _index_below_count(self) -> ShardConfig:
        if self.index >= self.count:
            raise ValueError(f"index: got {self.index}, expected a number below count = {self.count}")
        return self


class ProblemsConfig(Section):
    """name: null names it after the file. path: Parquet. limit: only its first rows. answers: how final answers compare. patterns: regular expressions with
    one group, for answers outside a box."""

    name: str | None = None
    path: FilePath
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


class CheckpointConfig(Section):
    """Facts are committed every so many seconds or segments, whichever is first. lock_wait_s: how long to wait for another
    process that works on the shard. dir: where the checkpoint is worked on, e.g. node-local scratch; it is copied into the
    run's folder every copy_every_s seconds and at the end. null: worked on in the run's folder. rederive: forget derived rows
    and compute them again from the facts."""

    every_s: Seconds
    every_segments: Positive
    lock_wait_s: Pause
    dir: CheckpointPath | None = None
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

    judge_prompt_weight: Amount
    judge_cached_weight: Amount
    judge_output_weight: Amount
    price_per_gpu_hour: Amount | None = None
    price_per_million_tokens: Amount | None = None

    @model_validator(mode="after")
    def _one_price(self) -> AccountingConfig:
        if self.price_per_gpu_hour is not None and self.price_per_million_tokens is not None:
            raise ValueError(
                f"price_per_gpu_hour: got {self.price_per_gpu_hour} and price_per_million_tokens "
                f"{self.price_per_million_tokens}, expected one of them. Set the other to null"
            )
        return self


class Config(Section):
    """answer_time_limit_s: processor seconds that grading one answer may take; beyond it the answer is wrong."""

    seed: Seed
    budget: Budget
    dry_run: bool = False
    answer_time_limit_s: TimeLimit
    run: RunConfig
    shard: ShardConfig
    problems: ProblemsConfig
    model: ModelConfig
    prefix: AnyPrefix
    method: AnyMethod
    judge: AnyJudge
    sampler: AnySampler
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
