"""What a run will take, before it is started: time, tokens and disk from trace lengths and a stated speed. Pure arithmetic."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Curve:
    """How fast one engine is: (traces at once, tokens per second of all of them together), as stated or measured.

    Between two points it is linear; below the first one in proportion, above the last one flat.
    """

    points: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        """Raises ValueError: no point, or not in order."""
        counts = [count for count, _ in self.points]
        if not counts or counts[0] < 1 or counts != sorted(set(counts)) or any(rate <= 0 for _, rate in self.points):
            raise ValueError(f"got {list(self.points)}, expected [traces at once, tokens per second] by rising traces")

    def rate(self, running: int) -> float:
        """Return the tokens per second of so many traces together."""
        if running <= 0:
            return 0.0
        before: tuple[int, float] = (0, 0.0)
        for count, rate in self.points:
            if running <= count:
                share = (running - before[0]) / (count - before[0])
                return before[1] + share * (rate - before[1])
            before = (count, rate)
        return before[1]

    def shared(self, engines: int, tasks: int) -> Curve:
        """Return what each of so many tasks gets that work on so many engines together."""
        points: dict[int, float] = {}
        for count, rate in self.points:
            points[max(1, math.ceil(count * engines / tasks))] = rate * engines / tasks
        return Curve(tuple(points.items()))


@dataclass(frozen=True)
class ProblemCost:
    """What one problem takes on average.

    Attributes:
        budget: traces.
        tokens_sampled: of its traces.
        judge_tokens: of the judge, in sampled tokens (weighted as in accounting), if it runs on the sampler's engine.
        segments: rows of the checkpoint.
    """

    budget: int
    tokens_sampled: float
    judge_tokens: float
    segments: float


@dataclass(frozen=True)
class Engine:
    """One task's engine. gpus: all that a task holds, the judge's own included; 0 on a CPU. load_s: until it is ready."""

    curve: Curve
    max_running: int
    gpus: int = 0
    load_s: float = 0.0


@dataclass(frozen=True)
class Disk:
    """Bytes of the checkpoint for a token and for a segment beside its tokens."""

    bytes_per_token: float
    bytes_per_segment: float


@dataclass(frozen=True)
class Machine:
    """What one task runs on."""

    engine: Engine
    disk: Disk


@dataclass(frozen=True)
class Plan:
    """What a run takes. wall_s: of the longest task, if all run at once; drain_s: of that, the engine emptying at the end."""

    problems: int
    traces: int
    tokens_sampled: float
    judge_tokens: float
    segments: float
    tasks: int
    wall_s: float
    drain_s: float
    task_hours: float
    gpu_hours: float
    checkpoint_bytes: float
    checkpoint_bytes_per_task: float


def make_plan(
    problems: int, cost: ProblemCost, lengths: Sequence[int], machine: Machine, tasks: int | None, wall_limit_s: float
) -> Plan:
    """Return what a run takes on so many tasks.

    Args:
        lengths: of traces, as they are distributed.
        tasks: None takes the fewest that each end within the limit.

    Raises:
        ValueError: no number of tasks ends within the limit.
    """
    engine, disk = machine.engine, machine.disk
    drain = drain_s(lengths, engine.curve, min(engine.max_running, cost.budget * problems))
    if tasks is None:
        tasks = _fewest_tasks(problems, cost, engine, drain, wall_limit_s)
    share = math.ceil(problems / tasks)
    wall = _task_s(share, cost, engine, drain)
    # Shares differ by one problem at most; the last tasks may have one less.
    full = problems - (share - 1) * tasks
    total = full * wall + (tasks - full) * (_task_s(share - 1, cost, engine, drain) if share > 1 else 0.0)
    num_bytes = problems * _problem_bytes(cost, disk)
    return Plan(
        problems=problems,
        traces=problems * cost.budget,
        tokens_sampled=problems * cost.tokens_sampled,
        judge_tokens=problems * cost.judge_tokens,
        segments=problems * cost.segments,
        tasks=tasks,
        wall_s=wall,
        drain_s=drain,
        task_hours=total / 3600,
        gpu_hours=total / 3600 * engine.gpus,
        checkpoint_bytes=num_bytes,
        checkpoint_bytes_per_task=share * _problem_bytes(cost, disk),
    )


def _problem_bytes(cost: ProblemCost, disk: Disk) -> float:
    return cost.tokens_sampled * disk.bytes_per_token + cost.segments * disk.bytes_per_segment


def _task_s(problems: int, cost: ProblemCost, engine: Engine, drain: float) -> float:
    """Return how long a task takes: loading, a full engine, and the engine emptying.

    While it empties it still works off what the last traces have left: that is not counted twice.
    """
    running = min(engine.max_running, cost.budget * problems)
    work = problems * (cost.tokens_sampled + cost.judge_tokens)
    left = min(work, running * cost.tokens_sampled / cost.budget / 2)
    return engine.load_s + (work - left) / engine.curve.rate(running) + (drain if left else 0.0)


def _fewest_tasks(problems: int, cost: ProblemCost, engine: Engine, drain: float, wall_limit_s: float) -> int:
    low, high = 1, problems
    shortest = _task_s(1, cost, engine, drain)
    if shortest > wall_limit_s:
        raise ValueError(f"one problem alone takes {shortest / 3600:.1f} h, more than {wall_limit_s / 3600:.1f} h")
    while low < high:
        middle = (low + high) // 2
        if _task_s(math.ceil(problems / middle), cost, engine, drain) <= wall_limit_s:
            high = middle
        else:
            low = middle + 1
    return low


def drain_s(lengths: Sequence[int], curve: Curve, running: int) -> float:
    """Return how long an engine takes to empty once no new trace comes: so many traces, on average half done.

    All running traces get the same share of the speed. Lengths and how far a trace is are taken evenly from their ranges.
    """
    ordered = sorted(lengths)
    if not ordered or running < 1:
        return 0.0
    left = []
    for number in range(running):
        length = ordered[(2 * number + 1) * len(ordered) // (2 * running)]
        # A low-discrepancy walk pairs each length with a place in it.
        left.append(length * (number * 0.6180339887498949 % 1.0))
    heapq.heapify(left)
    seconds, done = 0.0, 0.0
    while left:
        count = len(left)
        shortest = heapq.heappop(left)
        seconds += (shortest - done) * count / curve.rate(count)
        done = shortest
    return seconds
