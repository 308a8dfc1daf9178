"""What a run works on: its problems, and the recorded traces where it replays some."""

from __future__ import annotations

from dataclasses import dataclass

from pruner.config.job import Config
from pruner.problems.problem_set import ProblemSet, read_problems
from pruner.problems.sources import source_stem
from pruner.recordings.replay import Replay
from pruner.samplers.base import SamplerContext
from pruner.samplers.replay import ReplaySamplerConfig
from pruner.samplers.served.facts import ServerFacts


@dataclass(frozen=True)
class Inputs:
    """replay: None unless sampler=replay. servers: None unless the sampler works on some."""

    problems: ProblemSet
    replay: Replay | None = None
    servers: ServerFacts | None = None


def read_inputs(config: Config) -> Inputs:
    """Read the problem set, or the recorded traces with theirs.

    Raises:
        InputError: with all faults.
    """
    if not isinstance(config.sampler, ReplaySamplerConfig):
        return Inputs(read_problems(config.problems.path, config.problems.limit, config.problems.columns))
    replay = config.sampler.read_replay(config.seed)
    replay.check_budget(config.budget)
    if config.method.needs_confidence:
        replay.check_confidences()
    return Inputs(replay.problem_set(config.problems.limit), replay)


def set_name(config: Config) -> str:
    """Return the problem set's name: given, or the file's."""
    source = config.sampler.source if isinstance(config.sampler, ReplaySamplerConfig) else config.problems.path
    return config.problems.name or source_stem(source)


def sampler_context(config: Config, inputs: Inputs | None = None) -> SamplerContext:
    """Return what the sampler may know of the run. Raises InputError: the judge's folder cannot be read."""
    judge = config.judge.engine() if config.method.uses_judge else None
    if inputs is None:
        return SamplerContext(config.seed, config.model, judge)
    return SamplerContext(config.seed, config.model, judge, inputs.replay, inputs.servers)


def fingerprints(config: Config, inputs: Inputs) -> dict[str, str]:
    """Return hashes of the contents that the config only points at."""
    found = {"problems": inputs.problems.fingerprint}
    found |= config.sampler.fingerprints(sampler_context(config, inputs))
    return found | config.judge.fingerprints(found) if config.method.uses_judge else found
