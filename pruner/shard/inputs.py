"""What a run works on: its problems, and the recorded traces where it replays some."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pruner.config.job import Config
from pruner.config.samplers import ReplaySamplerConfig
from pruner.config.section import local_path
from pruner.problems import ProblemSet, read_problems
from pruner.prompts import model_fingerprint, path_fingerprint
from pruner.recording import Recording, read_recording
from pruner.replay import Replay
from pruner.results.run_tables import run_fingerprint


@dataclass(frozen=True)
class Inputs:
    """replay: None unless sampler=replay."""

    problems: ProblemSet
    replay: Replay | None = None


def read_inputs(config: Config) -> Inputs:
    """Read the problem set, or the recorded traces with theirs.

    Raises:
        InputError: with all faults.
    """
    sampler = config.sampler
    if sampler.name != "replay":
        return Inputs(read_problems(config.problems.path, config.problems.limit))
    path = local_path(sampler.source)
    recording = _recording(sampler, path.stat().st_mtime_ns if path.exists() else 0)
    replay = Replay(recording, sampler.resample, config.seed)
    replay.check_budget(config.budget)
    if config.method.needs_confidence:
        replay.check_confidences()
    return Inputs(replay.problem_set(config.problems.limit), replay)


@lru_cache(maxsize=2)
def _recording(sampler: ReplaySamplerConfig, changed_at: int) -> Recording:
    """Read a recording once for all points of a sweep."""
    return read_recording(sampler)


def set_name(config: Config) -> str:
    """Return the problem set's name: given, or the file's."""
    source = config.sampler.source if config.sampler.name == "replay" else config.problems.path
    return config.problems.name or Path(source).stem


def fingerprints(config: Config, inputs: Inputs) -> dict[str, str]:
    """Return hashes of the contents that the config only points at."""
    found = {"problems": inputs.problems.fingerprint}
    if inputs.replay is not None:
        found["traces"] = inputs.replay.recording.fingerprint
    if config.sampler.name == "vllm":
        found["model"] = model_fingerprint(config.model)
    if not config.method.uses_judge:
        return found
    judge = config.judge
    if judge.name == "llm":
        found["judge"] = path_fingerprint(judge.path) if judge.path else found["model"]
        found["adapter"] = path_fingerprint(judge.adapter) if judge.adapter else "none"
    elif judge.name == "trained":
        found["judge"] = path_fingerprint(judge.path)
    elif judge.name == "oracle" and judge.source is not None:
        found["judge"] = run_fingerprint(local_path(judge.source))
    return found
