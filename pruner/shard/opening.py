"""What the log of an attempt begins with: who works where, on what, what is there already, and what it will take; and what a dry run says.
Pure text."""

from __future__ import annotations

from pathlib import Path

from pruner.checkpoint.store import AttemptStart
from pruner.config.job import Config
from pruner.records.progress import Progress
from pruner.results.summary import seconds_words
from pruner.shard.attempt import Shard
from pruner.shard.inputs import Inputs


def opening(shard: Shard, inputs: Inputs, attempt: int, process: AttemptStart) -> list[str]:
    """Return the lines of an attempt's beginning.

    Args:
        attempt: its number on the shard, from 1.
    """
    config, earlier = shard.config, shard.progress().after()
    return [
        _who(attempt, process),
        f"run {shard.folder.path}{_of_shards(config)}: {_what(config, inputs)}",
        *_served(config, inputs),
        _work(shard, earlier),
        *_expected(shard, inputs, earlier),
    ]


def _served(config: Config, inputs: Inputs) -> list[str]:
    """Return what the servers are, if the sampler works on some."""
    facts, servers = inputs.servers, config.sampler.servers
    if facts is None or servers is None:
        return []
    count = "one server" if servers.count == 1 else f"{servers.count} servers"
    cache = f", a cache of {facts.capacity_tokens:,} tokens each" if facts.capacity_tokens is not None else ""
    return [f"on {count} with {facts.model}, vLLM {facts.version}, a context of {facts.max_model_len:,} tokens{cache}"]


def preview(config: Config, inputs: Inputs, folder: Path, prompt: str | None) -> list[str]:
    """Return the lines of a dry run.

    Args:
        folder: the run's.
        prompt: of the first problem, as the model will see it; None if that is not known.
    """
    problems = inputs.problems.shard(config.shard.index, config.shard.count)
    state = "exists, and would go on" if folder.exists() else "would be made"
    said = [
        f"run {folder} {state}{_of_shards(config)}: {_what(config, inputs)}",
        f"{len(problems)} problems, {_at_most(config, inputs, len(problems))}",
    ]
    if (typical := _typical(config, inputs, len(problems))) is not None:
        said.append(typical)
    if prompt is not None and problems:
        said += [f"the prompt of {problems[0].problem_id}:", *(f"| {line}" for line in prompt.splitlines())]
    return said


def _at_most(config: Config, inputs: Inputs, problems: int) -> str:
    traces = f"{problems * config.budget:,} traces at most"
    if inputs.replay is not None:
        return traces
    return f"{traces}, {problems * config.budget * config.model.sampling.max_tokens:,} tokens if each reaches its cap"


def _typical(config: Config, inputs: Inputs, problems: int) -> str | None:
    """Return what so many problems take if every trace finishes at its typical length."""
    typical = config.model.typical_tokens if inputs.replay is None and config.sampler.has_engine else None
    if typical is None:
        return None
    tokens = problems * config.budget * typical
    price = config.accounting.price_per_million_tokens
    cost = f", cost {price * tokens / 1e6:,.2f}" if price is not None else ""
    return f"{tokens:,} tokens{cost} if every trace finishes, by model.typical_tokens = {typical}"


def _who(attempt: int, process: AttemptStart) -> str:
    job = ""
    if process.slurm_job_id is not None:
        times = {1: "once", 2: "twice"}.get(process.slurm_restart or 0, f"{process.slurm_restart} times")
        again = f", requeued {times}" if process.slurm_restart else ""
        job = f", Slurm job {process.slurm_job_id}{again}"
    versions = ", ".join(f"{name} {version}" for name, version in process.versions.items())
    return f"attempt {attempt} on {process.host}, pid {process.pid}{job}; {versions}"


def _of_shards(config: Config) -> str:
    return f", shard {config.shard.index} of {config.shard.count}" if config.shard.count > 1 else ""


def _what(config: Config, inputs: Inputs) -> str:
    model = {"simulated": "SIMULATED traces", "replay": "recorded traces"}.get(config.sampler.name, config.model.name)
    judge = f", judge {config.judge.name}" if config.method.uses_judge else ""
    cap = "" if inputs.replay is not None else f", each of {config.model.sampling.max_tokens:,} tokens at most"
    return f"{model}, method {config.method.name}{judge}; up to {config.budget} traces of a problem{cap}"


def _work(shard: Shard, earlier: Progress) -> str:
    if not earlier.problems_done and not earlier.tokens:
        return f"{shard.num_problems} problems, from the beginning"
    spent = f" in {seconds_words(earlier.work_s)} of work" if earlier.work_s else ""
    return f"resumed: {earlier.problems_done} of {shard.num_problems} problems are answered, {earlier.tokens:,} tokens sampled{spent}"


def _expected(shard: Shard, inputs: Inputs, earlier: Progress) -> list[str]:
    """Return how long it will take at the rate of earlier attempts, and what it will cost at most."""
    said = []
    if earlier.eta_s is not None and earlier.work_s:
        said.append(f"about {seconds_words(earlier.eta_s)} at the rate so far")
    if (typical := _typical(shard.config, inputs, earlier.problems - earlier.problems_done)) is not None:
        said.append(typical)
    return [f"expected: {'; '.join(said)}"] if said else []
