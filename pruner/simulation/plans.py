"""Plans of runs, made from recorded traces: what the method takes of them, on engines of a stated speed."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from pruner.config.job import Config
from pruner.errors import InputError
from pruner.problems.columns import TEXT, read_parquet, typed_table
from pruner.problems.problem_set import MAX_SHARDS, read_problems
from pruner.recordings.replay import Replay
from pruner.recordings.stretched import stretched
from pruner.samplers.devices import planned_devices
from pruner.settings.section import (
    MAX_COUNT,
    Amount,
    Budget,
    FilePath,
    Natural,
    Orders,
    Pause,
    Positive,
    PositiveShare,
    Rate,
    Running,
    Seconds,
    Section,
    local_path,
)
from pruner.shard.accounting import judge_tokens
from pruner.shard.inputs import Inputs, read_inputs, sampler_context
from pruner.simulation.clocked import clocked_orders
from pruner.simulation.planning import Curve, Disk, Engine, Machine, Plan, ProblemCost, make_plan
from pruner.simulation.replay_evaluator import ReplayEvaluator, answers_of
from pruner.system import slurm

# Composes the main job's config with these overrides.
Compose = Callable[[Sequence[str]], Config]
# What a plan rests on where no recording is given. Its traces are taken longer or shorter as they are stated to be.
SHIPPED = "conf/recordings/gsm8k_qwen25_coder_1p5b.parquet"
_LENGTH_COLUMNS = ("num_tokens", "tokens_sampled")
# Of the shipped recording, problems are evaluated until they have so many traces: enough for a mean, few enough to compare their pairs.
_EVALUATED_TRACES = 2048
# Beside the longest trace, the context has to hold a prompt.
_PROMPT_TOKENS = 1024


class PlanConfig(Section):
    """What is planned; conf/plan.yaml describes the settings and holds their defaults."""

    problem_set: FilePath | None
    num_problems: Positive | None
    overrides: tuple[str, ...]
    budget: Budget
    lengths: FilePath | None
    mean_tokens: Positive | None
    recording: FilePath | None = None
    ahead: tuple[Natural, ...] = (0,)
    orders: Orders = 1
    curve: tuple[tuple[Positive, Rate], ...]
    max_running: Running | None
    tasks: Positive | None
    max_array_size: Positive | None = None
    wall_hours: Seconds
    load_s: Pause
    bytes_per_token: Amount
    bytes_per_segment: Amount
    kept_share: PositiveShare | None


def plan_run(config: PlanConfig, compose: Compose) -> dict[str, Any]:
    """Return the plan and what it rests on, as plain values.

    Args:
        compose: returns the main job's config with these overrides.

    Raises:
        InputError: something is missing or does not fit.
    """
    lengths = trace_lengths(config)
    cap = cap_overrides(compose(overrides_of(config)), max(lengths))
    # As a dry run it has the GPUs that the environment names, so that a login node plans for those of others.
    job = compose([*overrides_of(config), *cap])
    count = problem_count(config)
    servers = 0 if job.sampler.servers is None else job.sampler.servers.count
    if servers and config.tasks is None:
        config = config.model_copy(update={"tasks": 1})  # more of them share the same servers
    curve = stated_curve(config)
    engine = Engine(
        curve=curve if not servers or config.tasks is None else curve.shared(servers, config.tasks),
        max_running=config.max_running or job.sampler.max_running,
        gpus=gpus_a_task(job),
        load_s=config.load_s,
    )
    mean = fmean(lengths)
    cost = problem_cost(config, compose, job, mean)
    machine, limit_s = Machine(engine, Disk(config.bytes_per_token, config.bytes_per_segment)), config.wall_hours * 3600
    most = min(config.max_array_size or slurm.max_array_size() or MAX_SHARDS, MAX_SHARDS)
    try:
        plan = make_plan(
            count, cost, lengths, machine, min(config.tasks, count) if config.tasks is not None else None, limit_s
        )
    except ValueError as error:
        raise InputError(f"wall_hours: {error}. Allow more, or use more GPUs per task.") from None
    if config.tasks is None and plan.tasks > most:
        # A task that reaches its limit goes back into the queue, and goes on.
        plan = make_plan(count, cost, lengths, machine, most, limit_s)
    stated = {"method": job.method.name, "model": job.model.name, "budget": config.budget, "mean_trace_tokens": mean}
    stated |= {"max_running": engine.max_running, "gpus_per_task": engine.gpus, "max_array_size": most}
    stated |= {"servers": servers} if servers else {}
    stated |= {"requeues": max(0, math.ceil(plan.wall_s / limit_s) - 1), "sbatch": sbatch_line(config, job, plan, cap)}
    stated |= {"kept_share": cost.tokens_sampled / (config.budget * mean), "raised_cap": cap}
    return {**stated, **asdict(plan)}


def overrides_of(config: PlanConfig) -> list[str]:
    """Return the main job's overrides of a plan."""
    width = [] if config.max_running is None else [f"sampler.max_running_traces={config.max_running}"]
    return [f"budget={config.budget}", "dry_run=true", *width, *config.overrides]


def cap_overrides(job: Config, longest: int) -> list[str]:
    """Return the overrides with which traces may get as long as they are stated to be; none if they already may."""
    if longest <= job.model.sampling.max_tokens:
        return []
    context = max(job.model.max_model_len, longest + _PROMPT_TOKENS)
    return [f"model.sampling.max_tokens={longest}", f"model.max_model_len={context}"]


def sbatch_line(config: PlanConfig, job: Config, plan: Plan, cap: Sequence[str]) -> str:
    """Return the command that submits what was planned."""
    gpus = gpus_a_task(job) if planned_devices() else 0
    minutes = math.ceil(min(1.2 * plan.wall_s + config.load_s, config.wall_hours * 3600) / 60)
    parts = [
        "sbatch",
        f"--array=0-{plan.tasks - 1}",
        f"--time={max(5, minutes)}",
        *([f"--gpus={gpus}"] if gpus else []),
        "slurm/run.sh",
    ]
    path = [f"problems.path={config.problem_set}"] if config.problem_set is not None else []
    named = any(each.partition("=")[0] == "problems" for each in config.overrides)
    own = [] if named or not path else ["problems=own"]
    width = [] if config.max_running is None else [f"sampler.max_running_traces={config.max_running}"]
    return shlex.join([*parts, *config.overrides, *cap, *width, *own, *path, f"budget={config.budget}"])


def plan_recorded(config: PlanConfig, compose: Compose) -> dict[str, Any]:
    """Return what a run over a recording's problems takes on one engine, for each number of traces ahead, as plain values.

    Args:
        compose: as in `plan_run`.

    Raises:
        InputError: the recording or the method does not fit.
    """
    assert config.recording is not None
    job = compose([*config.overrides, *_replayed(config.recording, config.budget)])
    recorded = len(read_inputs(job).problems.problems)
    repeats = math.ceil((config.num_problems or recorded) / recorded)
    # The engine that is planned for is not the replay.
    planned = compose(["dry_run=true", *(each for each in config.overrides if not each.startswith("sampler"))])
    engine = Engine(stated_curve(config), config.max_running or planned.sampler.max_running_traces)
    found = [clocked_orders(job, engine, ahead, config.orders, repeats) for ahead in config.ahead]
    stated = {
        "method": job.method.name,
        "budget": config.budget,
        "max_running": engine.max_running,
        "orders": config.orders,
    }
    return {**stated, "problems": found[0].problems, "by_ahead": [asdict(each) for each in found]}


def _replayed(source: str, budget: int) -> list[str]:
    return ["sampler=replay", f"sampler.source={json.dumps(source)}", f"budget={budget}"]


def problem_count(config: PlanConfig) -> int:
    if config.num_problems is not None:
        return config.num_problems
    if config.problem_set is None:
        raise InputError("plan: got neither problem_set nor num_problems. Give one of them.")
    return len(read_problems(config.problem_set, None).problems)


def stated_curve(config: PlanConfig) -> Curve:
    try:
        return Curve(config.curve)
    except ValueError as error:
        raise InputError(f"curve: {error}.") from None


def gpus_a_task(job: Config) -> int:
    judge = sampler_context(job).judge
    if job.sampler.servers is not None:
        return 0
    return job.model.tensor_parallel_size + (0 if judge is None else judge.num_gpus)


def trace_lengths(config: PlanConfig) -> list[int]:
    """Return recorded lengths, or stated ones: even on [mean / 2, 3 mean / 2]."""
    if config.lengths is None:
        if config.mean_tokens is None:
            raise InputError("plan: got neither lengths nor mean_tokens. Give one of them.")
        return [max(1, config.mean_tokens * (50 + share) // 100) for share in range(101)]
    path = local_path(config.lengths)
    files = sorted((path / "traces").glob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise InputError(f"lengths: got {config.lengths!r}, expected a run's folder or Parquet.")
    lengths = [length for file in files for length in _file_lengths(file)]
    if not lengths:
        raise InputError(f"lengths: {config.lengths} has no finished traces.")
    return lengths


def _file_lengths(file: Path) -> list[int]:
    table = read_parquet(file, f"lengths: {file}", [*_LENGTH_COLUMNS, "status"])
    column = next((name for name in _LENGTH_COLUMNS if name in table.column_names), None)
    if column is None:
        raise InputError(f"lengths: {file} has none of the columns {list(_LENGTH_COLUMNS)}.")
    table = typed_table(table, {column: (1, MAX_COUNT), "status": TEXT}, f"lengths: {file}")
    # A pruned trace's length is not a trace's.
    rows = table.to_pylist()
    return [row[column] for row in rows if row.get("status", "finished") == "finished" and row[column] is not None]


def problem_cost(config: PlanConfig, compose: Compose, job: Config, mean_tokens: float) -> ProblemCost:
    """Return what a problem takes: by a stated share, or as the method takes it of recorded traces.

    Raises:
        InputError: the method needs something that was not recorded.
    """
    assert job.sampler.segment_tokens is not None
    share = 1.0 if job.method.finishes_budget and config.kept_share is None else config.kept_share
    if share is not None:
        tokens, traces, judged = share * config.budget * mean_tokens, share * config.budget, 0.0
    else:
        tokens, traces, judged = _evaluated(config, compose, job, mean_tokens)
    # A trace's last segment is half full on average.
    return ProblemCost(config.budget, tokens, judged, tokens / job.sampler.segment_tokens + traces / 2)


def _evaluated(config: PlanConfig, compose: Compose, job: Config, mean_tokens: float) -> tuple[float, float, float]:
    """Return tokens, traces and the judge's tokens of a problem: means over the shipped recording's."""
    # Its judge is of the quality that trained ones have; a judge that reads texts or asks an engine has nothing to read here.
    kept = [each for each in config.overrides if not each.startswith(("sampler", "judge", "problems"))]
    replayed = compose([*kept, *_replayed(SHIPPED, config.budget), "judge=noisy_oracle"])
    recorded = read_inputs(replayed.model_copy(update={"budget": 1})).replay
    assert recorded is not None
    num_problems = max(4, _EVALUATED_TRACES // config.budget)
    recording = stretched(recorded.recording, config.budget, mean_tokens, num_problems)
    recording = replace(recording, typical_tokens=job.model.typical_tokens)
    replay = Replay(recording, None, job.seed, recorded.probe_cost)
    if job.method.needs_confidence:
        raise InputError(
            f"plan: method={job.method.name} needs the confidence of each token. Give recording=, traces that have them, or kept_share="
        )
    with answers_of(replayed) as answers:
        inputs = Inputs(replay.problem_set(None), replay)
        evaluator = ReplayEvaluator(replayed, inputs, answers)
        rows = [evaluator.evaluate(problem).row for problem in inputs.problems.problems]
    return (
        fmean(row.tokens_sampled for row in rows),
        fmean(row.traces_started for row in rows),
        fmean(judge_tokens(row, job.accounting) for row in rows),
    )
