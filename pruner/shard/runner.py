"""The event loop: it keeps sampler and judge busy, feeds completions to the cases, and hands facts to the store.

It orders the steps and waits. A problem's case, and so its method, says what the problem needs next; queue.py says which request goes to an
engine next. Where nothing needed waits, the loop offers the queue the speculative requests that are worth most. The loop knows engines only as samplers and the disk only as a store.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from pruner.answers.reader import AnswerReader
from pruner.config.job import Config
from pruner.errors import CheckpointError
from pruner.prompts import Prompts
from pruner.records.progress import Progress
from pruner.records.rows import AnswerRow, RunFacts, TraceRow
from pruner.records.traces import Fact, Problem, SegmentKey
from pruner.samplers.base import Sampler
from pruner.shard.accounting import answer_row, failed_row, trace_rows
from pruner.shard.case import Case
from pruner.shard.commits import Commits, FactStore
from pruner.shard.exchange import Step
from pruner.shard.queue import RequestQueue
from pruner.shard.segments import PromptedProblem
from pruner.shard.status import Status


class KnownFacts(Protocol):
    """Facts that are there already, by problem; see unfinished_facts.UnfinishedFacts. A dict is one too."""

    def pop(self, problem_id: str, default: list[Fact], /) -> list[Fact]: ...


OpenCase = Callable[[PromptedProblem, list[Fact]], Case]


@dataclass(frozen=True)
class Workload:
    """The problems that a runner works on.

    Attributes:
        run: what every row repeats.
        problems: those that are not answered yet, in order.
        progress: how far the shard is; see Store.progress.
        open_case: makes a problem's case; it is given the facts that are already known.
        known: facts of problems that earlier attempts left open, by problem id.
    """

    run: RunFacts
    problems: Iterable[Problem]
    progress: Progress
    prompts: Prompts
    open_case: OpenCase
    known: KnownFacts


@dataclass(frozen=True)
class Engines:
    """Where requests go.

    Attributes:
        width: requests that the sampler's engine works on at once.
        judge: the judge's own engine, or None if its requests go to the sampler.
    """

    sampler: Sampler
    width: int
    judge: Sampler | None = None


@dataclass(frozen=True)
class Hooks:
    """What a runner calls.

    Attributes:
        on_commit: after each commit, and at least every commit interval, with the progress.
        on_step: after each step of the engine, with what returns the progress.
        should_stop: between steps.
        drain_s: asked once that is true: how long what runs may take to end.
    """

    should_stop: Callable[[], bool]
    drain_s: Callable[[], float] = lambda: 0.0
    on_commit: Callable[[Progress], None] = lambda progress: None
    on_step: Callable[[Callable[[], Progress]], None] = lambda progress: None


# Answers that may wait to be read, and requests that may wait for a judge's own engine, for each request of the sampler's engine.
_BEHIND_SHARE = 4
# While nothing completes, the loop looks after its other work this often.
_WAIT_S = 0.2


@dataclass
class _Open:
    """An open problem. opened_at: by time.monotonic()."""

    case: Case
    opened_at: float


class Runner:
    """Works on the problems of one shard until all are answered or it is asked to stop.

    Args:
        reader: reads the final answers of finished traces beside the loop.
    """

    def __init__(
        self,
        config: Config,
        workload: Workload,
        engines: Engines,
        store: FactStore,
        reader: AnswerReader,
        hooks: Hooks,
    ) -> None:
        self._speculate = config.speculate
        self._workload = workload
        self._problems: Iterator[Problem] = iter(workload.problems)
        self._queue = RequestQueue(engines.sampler, engines.width)
        self._judge_queue = RequestQueue(engines.judge, None) if engines.judge is not None else None
        self._most_behind = _BEHIND_SHARE * engines.width
        self._reader = reader
        self._hooks = hooks
        self._commits = Commits(store, config.checkpoint)
        self._status = Status(workload.progress)
        self._open: dict[str, _Open] = {}
        self._num_opened = 0
        self._prompt_tokens = 0  # of open problems
        self._has_news = False  # since it last looked for what to speculate on

    @property
    def progress(self) -> Progress:
        """How far it is now."""
        return self._status.progress([each.case for each in self._open.values()], self._queues())

    def run(self) -> bool:
        """Work; return True if all problems are answered, False if it was asked to stop. Everything that
        completed is committed.

        Raises:
            EngineError: an engine died; what had completed before is committed.
            AnswerError: answers cannot be read; the same.
            CheckpointError: a commit failed.
        """
        try:
            is_done = self._work()
        except CheckpointError:
            raise  # what does not take this commit takes no other one
        except BaseException:
            self._commit()
            raise
        self._commit()
        return is_done

    def _work(self) -> bool:
        while not self._hooks.should_stop():
            self._admit()
            self._submit()
            self._fill_idle_width()
            if not self._open and self._commits.is_empty:
                return True
            self._advance()
        self._drain()
        for queue in self._queues():
            queue.abort()
        return False

    def _drain(self) -> None:
        """Let what runs end, if there is time for that; nothing new is begun."""
        deadline = time.monotonic() + self._hooks.drain_s()
        while any(queue.num_running for queue in self._queues()) and time.monotonic() < deadline:
            self._advance()

    def _queues(self) -> list[RequestQueue]:
        return [self._queue] if self._judge_queue is None else [self._queue, self._judge_queue]

    def _admit(self) -> None:
        """Open problems, oldest first, until their requests fill the engine with some to spare."""
        while not self._queue.is_full and self._num_behind() < self._most_behind:
            problem = next(self._problems, None)
            if problem is None:
                return
            self._open_problem(problem)

    def _num_behind(self) -> int:
        """Return how many answers and judgements keep problems open: where these take the time, no more are opened."""
        return self._reader.num_waiting + (0 if self._judge_queue is None else len(self._judge_queue))

    def _open_problem(self, problem: Problem) -> None:
        prompt = self._workload.prompts.encode_problem(problem)
        prompted = PromptedProblem(problem, prompt, self._num_opened)
        self._num_opened += 1
        case = self._workload.open_case(prompted, self._workload.known.pop(problem.problem_id, []))
        if case.segments.max_trace_tokens < 1:
            context = len(prompt) + case.segments.max_trace_tokens
            failure = f"prompt of {len(prompt)} tokens does not fit the context of {context}"
            self._finish(failed_row(self._workload.run, problem, len(prompt), failure), [])
            return
        self._open[problem.problem_id] = _Open(case, time.monotonic())
        self._prompt_tokens += len(prompt)
        self._follow(case.begin())
        if case.is_finished:
            self._close(case)

    def _submit(self) -> None:
        for queue in self._queues():
            queue.submit(self._prompt_tokens)

    def _fill_idle_width(self) -> None:
        """Fill width that nothing needs with what methods will most probably ask for next."""
        if not self._speculate.ahead or not self._has_news or self._queue.num_waiting:
            return
        self._has_news = False
        room = self._queue.room_for_speculation(self._speculate.share)
        if not room:
            return
        offers = (
            (offer.worth, -each.case.prompted.priority, -offer.key.trace_index, offer, each.case)
            for each in self._open.values()
            for offer in each.case.offers(self._speculate.ahead)
            if offer.key not in self._queue
        )
        for worth, _, _, offer, case in heapq.nlargest(room, offers, key=lambda each: each[:3]):
            if not self._queue.speculate(case.speculate(offer), worth, self._prompt_tokens):
                break

    def _advance(self) -> None:
        """Let the engines and the reader work, and take in what they give. Problems are closed behind all of that."""
        touched: dict[str, Case] = {}
        is_idle = not self._queue.num_running
        for queue in self._queues():
            for completion, is_needed in queue.step():
                case = touched[completion.key.problem_id] = self._open[completion.key.problem_id].case
                self._follow(case.receive(completion, is_needed))
                is_idle = False
        if is_idle:
            self._wait()
        while read := self._reader.take():
            for answer in read:
                case = touched[answer.key.problem_id] = self._open[answer.key.problem_id].case
                self._follow(case.take_answer(answer))
        for case in touched.values():
            if case.is_finished:
                self._close(case)
        self._hooks.on_step(lambda: self.progress)
        if self._commits.is_due or not self._open:
            self._commit()

    def _wait(self) -> None:
        """Sleep until the judge's own engine or the reader has something."""
        if self._judge_queue is not None and self._judge_queue.num_running:
            self._judge_queue.sampler.wait(_WAIT_S)
        else:
            self._reader.wait(_WAIT_S)

    def _follow(self, step: Step) -> None:
        self._has_news = True
        self._status.count(step.facts)
        self._commits.add(step.facts)
        for reading in step.readings:
            self._reader.submit(reading)
        if self._judge_queue is None:
            self._queue.add(step.requests)
        else:
            self._queue.add(each for each in step.requests if isinstance(each.key, SegmentKey))
            self._judge_queue.add(each for each in step.requests if not isinstance(each.key, SegmentKey))

    def _close(self, case: Case) -> None:
        self._queue.drop_speculative(case.problem.problem_id)
        opened = self._open.pop(case.problem.problem_id)
        self._prompt_tokens -= len(case.prompted.prompt_token_ids)
        outcome = case.outcome()
        traces = trace_rows(outcome)
        row = answer_row(self._workload.run, outcome, traces)
        self._finish(replace(row, wall_s=time.monotonic() - opened.opened_at), traces)

    def _finish(self, row: AnswerRow, traces: list[TraceRow]) -> None:
        self._commits.finish(row, traces)
        self._status.finish(row)

    def _commit(self) -> None:
        self._commits.commit()
        self._hooks.on_commit(self.progress)
