"""How long recorded traces would take on an engine of a stated speed: the real runner and methods over a clock of our own.

The traces are what they were, so a method asks for what it would have asked for; only time is made up.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from pruner.answers.reader import AnswerReader
from pruner.answers.readings import Read
from pruner.config.job import Config
from pruner.recordings.replay import Replay
from pruner.records.progress import NOTHING
from pruner.records.rows import AnswerRow, TraceRow
from pruner.records.traces import Fact, Key, SegmentKey
from pruner.samplers.base import Completion, Request
from pruner.samplers.replay import ReplaySampler, ReplaySamplerConfig
from pruner.shard import build
from pruner.shard.accounting import judge_tokens, net_tokens
from pruner.shard.inputs import read_inputs
from pruner.shard.runner import Engines, Hooks, Runner
from pruner.simulation.planning import Engine


@dataclass
class _Working:
    request: Request
    left: float


class ClockedReplay:
    """Recorded traces on an engine that makes so many tokens a second with so many requests at once. Lower priorities go first.

    A step lasts until the next request is done; all that work are equally fast. A probe or a verdict is done at once.
    """

    capacity_tokens: int | None = None

    def __init__(self, replay: Replay, engine: Engine) -> None:
        self._replay = replay
        self._traces = ReplaySampler(replay)
        self._curve = engine.curve
        self._width = engine.max_running
        self._waiting: list[tuple[int, int, Request]] = []
        self._working: dict[Key, _Working] = {}
        self._order = itertools.count()
        self.cancelled_tokens = 0
        self.clock_s = 0.0

    @property
    def num_running(self) -> int:
        return len(self._waiting) + len(self._working)

    @property
    def running_tokens(self) -> int:
        return round(sum(self._total(each.request) - each.left for each in self._working.values()))

    def wait_ready(self, should_stop: Callable[[], bool]) -> None:
        """It is ready once it is made."""

    def submit(self, requests: Sequence[Request]) -> None:
        for request in requests:
            heapq.heappush(self._waiting, (request.priority, next(self._order), request))

    def step(self) -> list[Completion]:
        while self._waiting and len(self._working) < self._width:
            request = heapq.heappop(self._waiting)[-1]
            self._working[request.key] = _Working(request, self._total(request))
        if not self._working:
            return []
        count, least = len(self._working), min(each.left for each in self._working.values())
        self.clock_s += least * count / self._curve.rate(count)
        for each in self._working.values():
            each.left -= least
        done = [self._working.pop(key).request for key in [k for k, each in self._working.items() if each.left <= 0]]
        self._traces.submit(done)
        return self._traces.step()

    def wait(self, wait_s: float) -> None:
        """Nothing to wait for: a step is the work itself."""

    def cancel(self, keys: Sequence[Key]) -> None:
        for key in keys:
            if (found := self._working.pop(key, None)) is not None:
                self.cancelled_tokens += round(self._total(found.request) - found.left)
        self._waiting = [each for each in self._waiting if each[-1].key not in keys]
        heapq.heapify(self._waiting)

    def abort(self) -> None:
        self._waiting.clear()
        self._working.clear()

    def close(self) -> None:
        self.abort()

    def _total(self, request: Request) -> float:
        """Return how many tokens a request will make."""
        if not isinstance(request.key, SegmentKey):
            return 0.0
        trace = self._replay.trace(request.key.problem_id, request.key.trace_index)
        return min(request.max_tokens, trace.num_tokens - request.trace_tokens)


class _PatientReader(AnswerReader):
    """Reads every answer before the clock goes on: how long that takes is not a matter of the engine's time."""

    def take(self) -> list[Read]:
        read = super().take()
        while self.num_waiting:
            self.wait(1.0)
            read += super().take()
        return read


@dataclass
class _Answers:
    """A store that keeps the answers only."""

    rows: list[AnswerRow]

    def append(self, facts: list[Fact], answers: list[AnswerRow], traces: list[TraceRow]) -> None:
        self.rows += answers


@dataclass(frozen=True)
class ClockedRun:
    """What a run would take; means over several orders of the traces.

    Attributes:
        wall_hours: from the first request to the last answer.
        tokens, tokens_speculative, tokens_net: per problem; what was discarded counts among the speculative.
        accuracy: None without gold answers.
    """

    ahead: int
    problems: int
    wall_hours: float
    tokens: float
    tokens_judge: float
    tokens_speculative: float
    tokens_net: float
    accuracy: float | None


def clocked_run(config: Config, engine: Engine, ahead: int) -> ClockedRun:
    """Return what replaying a config's recording takes, with so many traces of a problem ahead of what its method asks for.

    Raises:
        InputError: the recording or the method does not fit.
    """
    inputs = read_inputs(config)
    build.check_models(config, inputs)
    assert inputs.replay is not None
    problems = inputs.problems.problems
    sampler, store = ClockedReplay(inputs.replay, engine), _Answers([])
    with _PatientReader(config.problems.answers, config.problems.patterns, config.answer_time_limit_s) as reader:
        runner = Runner(
            config.model_copy(update={"speculate": config.speculate.model_copy(update={"ahead": ahead})}),
            build.workload(config, inputs, problems, replace(NOTHING, problems=len(problems)), {}),
            Engines(sampler, engine.max_running),
            store,
            reader,
            Hooks(lambda: False),
        )
        runner.run()
    return _summed(store.rows, sampler, config, ahead)


def clocked_orders(config: Config, engine: Engine, ahead: int, orders: int, repeats: int = 1) -> ClockedRun:
    """Return the means over so many runs, each with orders of its own of the recorded traces, whatever the config resamples.

    Args:
        repeats: of every problem in each of these runs.
    """
    assert isinstance(config.sampler, ReplaySamplerConfig)
    sampler = config.sampler.model_copy(update={"resample": repeats})
    runs = [
        clocked_run(config.model_copy(update={"sampler": sampler, "seed": config.seed + number}), engine, ahead)
        for number in range(orders)
    ]
    graded = [run.accuracy for run in runs if run.accuracy is not None]
    return ClockedRun(
        ahead=ahead,
        problems=runs[0].problems,
        wall_hours=fmean(run.wall_hours for run in runs),
        tokens=fmean(run.tokens for run in runs),
        tokens_judge=fmean(run.tokens_judge for run in runs),
        tokens_speculative=fmean(run.tokens_speculative for run in runs),
        tokens_net=fmean(run.tokens_net for run in runs),
        accuracy=fmean(graded) if graded else None,
    )


def _summed(rows: Sequence[AnswerRow], sampler: ClockedReplay, config: Config, ahead: int) -> ClockedRun:
    count, lost = len(rows), sampler.cancelled_tokens * config.accounting.speculative_weight
    graded = [row.correct for row in rows if row.correct is not None]
    return ClockedRun(
        ahead=ahead,
        problems=count,
        wall_hours=sampler.clock_s / 3600,
        tokens=sum(row.tokens_sampled for row in rows) / count,
        tokens_judge=sum(judge_tokens(row, config.accounting) for row in rows) / count,
        tokens_speculative=(sum(row.tokens_speculative for row in rows) + sampler.cancelled_tokens) / count,
        tokens_net=(sum(net_tokens(row, config.accounting) for row in rows) + lost) / count,
        accuracy=sum(graded) / len(graded) if graded else None,
    )
