"""What a run will take, from a stated engine speed, trace lengths and a simulation of the method with the real runner."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pruner.answers.reader import AnswerReader
from pruner.config.job import Config
from pruner.errors import InputError
from pruner.problems.columns import TEXT, read_parquet, typed_table
from pruner.problems.problem_set import MAX_SHARDS, read_problems
from pruner.records.rows import AnswerRow, TraceRow
from pruner.records.traces import Fact, Problem, Segment, hash64
from pruner.samplers.base import Completion
from pruner.samplers.devices import planned_devices
from pruner.samplers.simulated import SimulatedSampler, SimulatedSamplerConfig
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
from pruner.shard.inputs import read_inputs, sampler_context
from pruner.simulation.clocked import clocked_orders
from pruner.simulation.planning import Curve, Disk, Engine, Machine, Plan, ProblemCost, make_plan
from pruner.simulation.workbench import Workbench
from pruner.system import slurm

_STEPS_A_SEGMENT = 16


# Composes the main job's config with these overrides.
Compose = Callable[[Sequence[str]], Config]
_LENGTH_COLUMNS = ("num_tokens", "tokens_sampled")


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
    simulated_problems: Natural
    simulated_segments: Positive


def plan_run(config: PlanConfig, compose: Compose) -> dict[str, Any]:
    """Return the plan and what it rests on, as plain values.

    Args:
        compose: returns the main job's config with these overrides.

    Raises:
        InputError: something is missing or does not fit.
    """
    # As a dry run it has the GPUs that the environment names, so that a login node plans for those of others.
    job = compose([f"budget={config.budget}", "dry_run=true", *config.overrides])
    count = problem_count(config)
    lengths = trace_lengths(config)
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
    cost, simulated = problem_cost(config, compose, job, engine, lengths, count)
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
    mean = sum(lengths) / len(lengths)
    stated = {"method": job.method.name, "model": job.model.name, "budget": config.budget, "mean_trace_tokens": mean}
    stated |= {"max_running": engine.max_running, "gpus_per_task": engine.gpus, "max_array_size": most}
    stated |= {"servers": servers} if servers else {}
    stated |= {"requeues": max(0, math.ceil(plan.wall_s / limit_s) - 1), "sbatch": sbatch_line(config, job, plan)}
    return {**stated, **asdict(plan), **simulated}


def sbatch_line(config: PlanConfig, job: Config, plan: Plan) -> str:
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
    return shlex.join([*parts, *config.overrides, *own, *path, f"budget={config.budget}"])


def plan_recorded(config: PlanConfig, compose: Compose) -> dict[str, Any]:
    """Return what a run over a recording's problems takes on one engine, for each number of traces ahead, as plain values.

    Args:
        compose: as in `plan_run`.

    Raises:
        InputError: the recording or the method does not fit.
    """
    assert config.recording is not None
    source = ["sampler=replay", f"sampler.source={json.dumps(config.recording)}", f"budget={config.budget}"]
    job = compose([*config.overrides, *source])
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


def problem_cost(
    config: PlanConfig, compose: Compose, job: Config, engine: Engine, lengths: Sequence[int], count: int
) -> tuple[ProblemCost, dict[str, Any]]:
    """Return what a problem takes: by a stated share, or by simulating a few."""
    assert job.sampler.segment_tokens is not None
    mean = sum(lengths) / len(lengths)
    whole, segments = config.budget * mean, config.budget * (mean / job.sampler.segment_tokens + 0.5)
    if config.kept_share is not None or (job.method.finishes_budget and config.simulated_problems == 0):
        share = 1.0 if config.kept_share is None else config.kept_share
        return ProblemCost(config.budget, whole * share, 0.0, segments * share), {
            "kept_share": share,
            "simulated_problems": 0,
        }
    room = int(config.simulated_segments / segments)
    sample = min(config.simulated_problems, count, room)
    if sample < 1:
        raise InputError(
            f"simulated_segments: one problem has about {segments:,.0f}. Allow so many, or give kept_share=..."
        )
    return simulate(config, compose, job, engine, lengths, sample)


@dataclass
class _Sums:
    """A store that keeps sums only."""

    answers: list[AnswerRow]
    segments: int = 0

    def append(self, facts: list[Fact], answers: list[AnswerRow], traces: list[TraceRow]) -> None:
        self.segments += sum(isinstance(fact, Segment) for fact in facts)
        self.answers += answers


class ClockedSampler(SimulatedSampler):
    """Simulated traces as long as recorded ones, with a clock that follows a stated speed."""

    def __init__(self, config: SimulatedSamplerConfig, seed: int, lengths: Sequence[int], curve: Curve) -> None:
        super().__init__(config, seed)
        self._lengths = lengths
        self._curve = curve
        self._step_tokens = config.step_tokens
        self.clock_s = 0.0

    def trace_tokens(self, problem_id: str, trace_index: int) -> int:
        return self._lengths[hash64(self._seed, "recorded", problem_id, trace_index) % len(self._lengths)]

    def step(self) -> list[Completion]:
        completions = super().step()
        working = self.num_working + len(completions)
        if working:
            self.clock_s += self._step_tokens * working / self._curve.rate(working)
        return completions


def simulate(
    config: PlanConfig, compose: Compose, job: Config, engine: Engine, lengths: Sequence[int], sample: int
) -> tuple[ProblemCost, dict[str, Any]]:
    """Run the job's method on so many simulated problems; return what one takes and the simulation's own time."""
    segment_tokens = job.sampler.segment_tokens
    assert segment_tokens is not None
    own = ["sampler=simulated", "judge=probe", f"budget={config.budget}", f"sampler.segment_tokens={segment_tokens}"]
    own += [f"sampler.max_running_traces={engine.max_running}"]
    own += [f"sampler.step_tokens={max(1, segment_tokens // _STEPS_A_SEGMENT)}"]
    kept = [each for each in config.overrides if not each.startswith(("sampler", "judge"))]
    bench_config = compose([*kept, *own])
    assert isinstance(bench_config.sampler, SimulatedSamplerConfig)
    sampler = ClockedSampler(bench_config.sampler, job.seed, lengths, engine.curve)
    sums = _Sums([])
    problems = [Problem(f"p{index}", index, f"question {index}", "0") for index in range(sample)]
    with AnswerReader("math") as reader:
        bench = Workbench(bench_config, read_inputs(bench_config), sampler)
        bench.runner(sums, reader, iter(problems), sample, {}).run()
    sampled = sum(row.tokens_sampled for row in sums.answers)
    judged = sum(judge_tokens(row, job.accounting) for row in sums.answers)
    whole = sum(
        sampler.trace_tokens(problem.problem_id, index) for problem in problems for index in range(config.budget)
    )
    cost = ProblemCost(config.budget, sampled / sample, judged / sample, sums.segments / sample)
    simulated = {"kept_share": sampled / whole, "simulated_problems": sample, "simulated_s": sampler.clock_s}
    return cost, simulated
