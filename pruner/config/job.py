"""The main job's configuration as a whole; conf/config.yaml and its groups hold the values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import model_validator

from pruner.checkpoint.config import CheckpointConfig
from pruner.config.fit import misfit
from pruner.judges.registry import AnyJudge
from pruner.methods.registry import AnyMethod
from pruner.problems.problem_set import ProblemsConfig, ShardConfig
from pruner.results.writer import ResultsConfig
from pruner.rules.prefix import AnyPrefix
from pruner.samplers.registry import AnySampler, with_device_defaults
from pruner.settings.model import ModelConfig
from pruner.settings.prices import AccountingConfig
from pruner.settings.section import (
    Budget,
    CheckpointPath,
    Natural,
    RunName,
    Seconds,
    Section,
    Seed,
    Share,
    TimeLimit,
    parse_as,
)
from pruner.trackers.none import NoTrackerConfig
from pruner.trackers.registry import AnyTracker


class RunConfig(Section):
    """name: the run's folder under root; null names it after the overrides of the command line, `default` if none."""

    name: RunName | None = None
    root: CheckpointPath = "outputs"


class ProgressConfig(Section):
    """interval_s: between plain lines when the output is no terminal. bar: null shows a bar on a terminal only."""

    interval_s: Seconds
    bar: bool | None = None


class SpeculateConfig(Section):
    """ahead: traces of a problem that are begun before its method asks for them, at most; 0: none. In conf/config.yaml it is null, which
    becomes what fits the machine. share: of the width, at most."""

    ahead: Natural = 0
    share: Share = 1.0


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
    speculate: SpeculateConfig = SpeculateConfig()
    progress: ProgressConfig
    results: ResultsConfig
    accounting: AccountingConfig
    tracker: AnyTracker = NoTrackerConfig()

    @model_validator(mode="after")
    def _judge_and_sampler_fit(self) -> Config:
        if self.method.uses_judge and (fault := misfit(self.judge, self.sampler)):
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _the_judges_threshold_is_known(self) -> Config:
        """Put the judge's own threshold where the method asks for it, so that it stands in run.json and in the identity."""
        if getattr(self.method, "tau", None) != "auto":
            return self
        tau = self.judge.tau()
        if tau is None:
            raise ValueError(
                f"method.tau: got auto, but the judge {self.judge.name} has no threshold of its own. Give a number, or calibrate a trained "
                "judge: python -m jobs.eval_judge ... calibrate=<its folder>"
            )
        return self.model_copy(update={"method": self.method.model_copy(update={"tau": tau})})


def parse(values: Mapping[str, Any]) -> Config:
    """Turn plain values (from YAML) into a Config.

    Raises:
        InputError: with a line for every unknown, missing, ill-typed or out-of-range key.
    """
    return parse_as(Config, with_device_defaults(values))
