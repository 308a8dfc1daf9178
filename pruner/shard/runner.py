"""The event loop: it keeps sampler and judge busy, feeds completions to the cases, and hands facts to the store.

It orders the steps and waits; it decides nothing. A problem's case, and so its method, says what the problem needs next. The
loop knows engines only as samplers and the disk only as a store.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol

from pruner.answers.reader import AnswerReader
from pruner.prompts import Prompts
from pruner.records.rows import AnswerRow, Earlier, RunFacts, TraceRow
from pruner.records.traces import Ending, Fact, Key, Problem, Segment, SegmentKey
from pruner.samplers.base import Completion, JudgeSampler, Request, Sampler
from pruner.shard.accounting import answer_row, failed_row, trace_rows
from pruner.shard.case import Case, PromptedProblem, Step


class FactStore(Protocol):
    """Where facts go; see store.Store."""

    def append(self, facts: list[Fact], answers: list[AnswerRow], traces: list[TraceRow]) -> None: ...


class KnownFacts(Protocol):
    """Facts that are there already, by problem; see unfinished_facts.UnfinishedFacts. A dict is one too."""

    def pop(self, problem_id: str, default: list[Fact], /) -> list[Fact]: ...


@dataclass(frozen=True)
class RunnerConfig:
    """max_running: requests kept in an engine. commit_*: whichever is first. speculate_*: see SpeculateConfig. earlier: attempts."""

    max_running: int
    commit_every_s: float
    commit_every_segments: int
    speculate_ahead: int = 0
    speculate_share: float = 1.0
    earlier: Earlier = field(default_factory=Earlier)


OpenCase = Callable[[PromptedProblem, list[Fact]], Case]


@dataclass(frozen=True)
class Workload:
    """The problems that a runner works on.

    Attributes:
        run: what every row repeats.
        problems: those that are not answered yet, in order.
        num_problems: all of the shard, answered ones included.
        num_done: answered before this attempt.
        open_case: makes a problem's case; it is given the facts that are already known.
        known: facts of problems that earlier attempts left open, by problem id.
    """

    run: RunFacts
    problems: Iterable[Problem]
    num_problems: int
    num_done: int
    prompts: Prompts
    open_case: OpenCase
    known: KnownFacts


@dataclass(frozen=True)
class Engines:
    """judge: the judge's own engine, or None if its requests go to the sampler."""

    sampler: Sampler
    judge: JudgeSampler | None = None


@dataclass(frozen=True)
class Hooks:
    """What a runner calls.

    Attributes:
        on_commit: after each commit, and at least every commit interval, with the status.
        on_step: after each step of the engine, with the status.
        should_stop: between steps.
        drain_s: asked once that is true: how long what runs may take to end.
    """

    should_stop: Callable[[], bool]
    drain_s: Callable[[], float] = lambda: 0.0
    on_commit: Callable[[Status], None] = lambda status: None
    on_step: Callable[[Status], None] = lambda status: None


@dataclass
class Status:
    """How far the shard is, for the progress display and for progress.json: all attempts together, but for segments, tokens_judge and
    what runs. tokens_saved is an estimate (see accounting.unpruned_estimate) net of nothing but sampled tokens."""

    problems: int
    problems_done: int
    traces_running: int = 0
    traces_finished: int = 0
    traces_pruned: int = 0
    traces_cut: int = 0
    traces_unanswered: int = 0
    segments: int = 0
    tokens: int = 0
    tokens_judge: int = 0
    tokens_saved: int = 0
    tokens_in_flight: int = 0
    work_s: float = 0.0

    @classmethod
    def after(cls, problems: int, problems_done: int, earlier: Earlier) -> Status:
        """Return the status at the beginning of an attempt."""
        return cls(problems, problems_done, **asdict(earlier))

    @property
    def tokens_per_s(self) -> float:
        """Tokens for each second of work, those of segments under way included."""
        return (self.tokens + self.tokens_in_flight) / self.work_s if self.work_s > 0 else 0.0

    @property
    def eta_s(self) -> float | None:
        """The time left at the rate of all attempts; None as long as that is unknown."""
        left = self.problems - self.problems_done
        if left == 0:
            return 0.0
        return self.work_s * left / self.problems_done if self.problems_done > 0 and self.work_s > 0 else None


# Added to the priority of what nothing needs yet, so that an engine serves it last.
_LAST = 1 << 30
# Answers that may wait to be read, for each request that the engine holds.
_UNREAD_SHARE = 4
_Queued = tuple[int, int, int, Request]


@dataclass
class _Open:
    """counted: of its traces, those that the status counts as finished, pruned, cut and unanswered."""

    case: Case
    opened_at: float
    counted: tuple[int, int, int, int] = (0, 0, 0, 0)


class Runner:
    """Works on the problems of one shard until all are answered or it is asked to stop.

    Args:
        reader: reads the final answers of finished traces beside the loop.
    """

    def __init__(
        self,
        config: RunnerConfig,
        workload: Workload,
        engines: Engines,
        store: FactStore,
        reader: AnswerReader,
        hooks: Hooks,
    ) -> None:
        self._config = config
        self._workload = workload
        self._problems: Iterator[Problem] = iter(workload.problems)
        self._sampler = engines.sampler
        self._judge_sampler = engines.judge
        self._store = store
        self._reader = reader
        self._hooks = hooks
        self._open: dict[str, _Open] = {}
        self._queue: list[_Queued] = []
        self._judge_queue: list[_Queued] = []
        self._context: dict[Key, int] = {}
        self._speculative: dict[Key, float] = {}  # requests that nothing needs yet, with what they are worth
        self._has_news = False  # since it last looked for what to speculate on
        self._order = itertools.count()
        self._opened = 0
        self._facts: list[Fact] = []
        self._answers: list[AnswerRow] = []
        self._traces: list[TraceRow] = []
        self._segments_uncommitted = 0
        self._lost_tokens = 0
        self._started_at = self._committed_at = time.monotonic()
        self._status = Status.after(workload.num_problems, workload.num_done, config.earlier)

    @property
    def status(self) -> Status:
        """A copy of how far it is now."""
        return replace(self._status)

    def run(self) -> bool:
        """Work; return True if all problems are answered, False if it was asked to stop. Everything that
        completed is committed.

        Raises:
            EngineError: an engine died; what had completed before is committed.
            AnswerError: answers cannot be read; the same.
            CheckpointError: a commit failed.
        """
        try:
            while not self._hooks.should_stop():
                self._admit()
                self._submit()
                self._speculate()
                if not self._open and not self._facts and not self._answers:
                    return True
                self._take(self._step())
                self._commit_if_due()
            self._drain()
            self._abort()
            return False
        finally:
            self._status.tokens_in_flight = self._running_tokens()
            self._commit()

    def _drain(self) -> None:
        """Let what runs end, if there is time for that; nothing new is begun."""
        deadline = time.monotonic() + self._hooks.drain_s()
        while any(sampler.num_running for sampler in self._samplers()) and time.monotonic() < deadline:
            self._take(self._step())
            self._commit_if_due()

    def _abort(self) -> None:
        """Drop what runs; its tokens are counted as discarded."""
        for sampler in self._samplers():
            # What breaks meanwhile goes from the running ones to the cancelled ones: read in this order it is counted once.
            cancelled = sampler.cancelled_tokens
            whole = cancelled + sampler.running_tokens
            if sampler.num_running:
                sampler.abort()
            self._lost_tokens += max(0, whole - sampler.cancelled_tokens)

    def _running_tokens(self) -> int:
        """Return what would be lost now, as far as the engines have reported."""
        samplers = self._samplers()
        return self._lost_tokens + sum(sampler.cancelled_tokens + sampler.running_tokens for sampler in samplers)

    def _samplers(self) -> list[Sampler]:
        return [self._sampler] if self._judge_sampler is None else [self._sampler, self._judge_sampler]

    def _admit(self) -> None:
        """Open problems, oldest first, until their requests fill the engine with some to spare."""
        target = self._config.max_running + max(1, self._config.max_running // 4)
        # Answers that wait to be read keep their problems open: where reading is what takes the time, no more are opened.
        most_unread = _UNREAD_SHARE * self._config.max_running
        while self._num_needed() < target and self._reader.num_waiting < most_unread:
            problem = next(self._problems, None)
            if problem is None:
                return
            self._open_problem(problem)

    def _num_needed(self) -> int:
        return len(self._queue) + self._sampler.num_running - len(self._speculative)

    def _open_problem(self, problem: Problem) -> None:
        prompt = self._workload.prompts.encode_question(problem.question, problem.messages)
        prompted = PromptedProblem(problem, prompt, self._opened)
        self._opened += 1
        case = self._workload.open_case(prompted, self._workload.known.pop(problem.problem_id, []))
        if case.max_trace_tokens < 1:
            context = len(prompt) + case.max_trace_tokens
            failure = f"prompt of {len(prompt)} tokens does not fit the context of {context}"
            self._finish(failed_row(self._workload.run, problem, len(prompt), failure), [])
            return
        self._open[problem.problem_id] = _Open(case, time.monotonic())
        self._follow(case, case.begin())

    def _submit(self) -> None:
        self._make_room()
        room = self._config.max_running + max(1, self._config.max_running // 4) - self._sampler.num_running
        chosen: list[Request] = []
        while self._queue and len(chosen) < room and self._fits(self._queue[0][-1]):
            request = heapq.heappop(self._queue)[-1]
            self._context[request.key] = context_tokens(request)
            chosen.append(request)
        self._sampler.submit(chosen)
        if self._judge_sampler is not None and self._judge_queue:
            self._judge_sampler.submit([each[-1] for each in sorted(self._judge_queue)])
            self._judge_queue = []

    def _fits(self, request: Request) -> bool:
        """Say whether the engine's cache holds the request beside those that run. If it did not, every trace's next segment would
        find its beginning evicted and read all of it again; so traces that are behind wait."""
        capacity = self._sampler.capacity_tokens
        if capacity is None or not self._context:
            return True
        prompts = sum(len(each.case.prompt_token_ids) for each in self._open.values())
        return prompts + sum(self._context.values()) + context_tokens(request) <= capacity

    def _make_room(self) -> None:
        """Cancel speculative requests, the least worthy first, where they would keep the engine or its cache from what is needed."""
        if not self._queue or not self._speculative:
            return
        excess = self._sampler.num_running + len(self._queue) - self._config.max_running
        if excess > 0:
            self._cancel(heapq.nsmallest(excess, self._speculative, key=self._speculative.__getitem__))
        while self._speculative and not self._fits(self._queue[0][-1]):
            self._cancel([min(self._speculative, key=self._speculative.__getitem__)])

    def _speculate(self) -> None:
        """Fill width that nothing needs with what methods will most probably ask for next."""
        if not self._config.speculate_ahead or self._queue or not self._has_news:
            return
        self._has_news = False
        share = int(self._config.speculate_share * self._config.max_running)
        room = min(self._config.max_running - self._sampler.num_running, share - len(self._speculative))
        if room <= 0:
            return
        offers = (
            (offer.worth, -each.case.priority, -offer.key.trace_index, offer, each.case)
            for each in self._open.values()
            for offer in each.case.offers(self._config.speculate_ahead)
        )
        requests = []
        for _, _, _, offer, case in heapq.nlargest(room, offers, key=lambda each: each[:3]):
            request = case.speculate(offer)
            if not self._fits(request):
                case.drop(offer.key)
                break
            self._context[offer.key] = context_tokens(request)
            self._speculative[offer.key] = offer.worth
            requests.append(replace(request, priority=request.priority + _LAST))
        self._sampler.submit(requests)

    def _cancel(self, keys: list[Key]) -> None:
        """Drop speculative requests; their tokens are counted as discarded."""
        self._sampler.cancel(keys)
        for key in keys:
            del self._speculative[key]
            self._context.pop(key, None)
            self._open[key.problem_id].case.drop(key)

    def _step(self) -> list[Completion]:
        completions = self._sampler.step()
        if self._judge_sampler is not None:
            completions += self._judge_sampler.step()
            if not completions and not self._sampler.num_running and self._judge_sampler.num_running:
                self._judge_sampler.wait(0.2)
        if not completions and not any(sampler.num_running for sampler in self._samplers()):
            self._reader.wait(0.2)
        return completions

    def _take(self, completions: list[Completion]) -> None:
        for completion in completions:
            self._context.pop(completion.key, None)
            if self._speculative:
                self._speculative.pop(completion.key, None)
            case = self._open[completion.key.problem_id].case
            self._follow(case, case.receive(completion))
        while read := self._reader.take():
            for answer in read:
                case = self._open[answer.key.problem_id].case
                self._follow(case, case.take_answer(answer))
        status = self._status
        status.traces_running = self._sampler.num_running
        status.tokens_in_flight = self._running_tokens()
        status.work_s = self._config.earlier.work_s + time.monotonic() - self._started_at
        self._hooks.on_step(self.status)

    def _follow(self, case: Case, step: Step) -> None:
        self._has_news = True
        for fact in step.facts:
            self._count(fact)
        self._facts += step.facts
        for key in step.wanted:
            self._speculative.pop(key, None)
        for reading in step.readings:
            self._reader.submit(reading)
        for request in step.requests:
            is_segment = isinstance(request.key, SegmentKey)
            has_own_engine = self._judge_sampler is not None and not is_segment
            queue = self._judge_queue if has_own_engine else self._queue
            # The judge's requests unblock whole problems, so they go before segments of the same problem. Of these the first traces
            # go on before later ones, so that few are under way at once and the engine's cache still holds what they continue.
            trace_index = request.key.trace_index if isinstance(request.key, SegmentKey) else -1
            heapq.heappush(queue, (request.priority, trace_index, next(self._order), request))
        self._count_traces(
            self._open[case.problem.problem_id],
            (case.num_finished, len(case.pruned), case.num_cut, case.num_unanswered),
        )
        if case.is_finished:
            self._close(case)

    def _count_traces(self, opened: _Open, counts: tuple[int, int, int, int]) -> None:
        """Let the status count so many of an open problem's traces, in place of those that it counts now."""
        status, before = self._status, opened.counted
        status.traces_finished += counts[0] - before[0]
        status.traces_pruned += counts[1] - before[1]
        status.traces_cut += counts[2] - before[2]
        status.traces_unanswered += counts[3] - before[3]
        opened.counted = counts

    def _count(self, fact: Fact) -> None:
        status = self._status
        if isinstance(fact, Segment):
            self._segments_uncommitted += 1
            status.segments += 1
            status.tokens += fact.num_tokens
        elif not isinstance(fact, Ending):
            status.tokens_judge += fact.output_tokens

    def _close(self, case: Case) -> None:
        if self._speculative:
            self._cancel([key for key in self._speculative if key.problem_id == case.problem.problem_id])
        opened = self._open.pop(case.problem.problem_id)
        self._count_traces(opened, (0, 0, 0, 0))  # its row says it from now on
        outcome = case.outcome()
        traces = trace_rows(outcome)
        row = answer_row(self._workload.run, outcome, traces)
        self._finish(replace(row, wall_s=time.monotonic() - opened.opened_at), traces)

    def _finish(self, row: AnswerRow, traces: list[TraceRow]) -> None:
        self._answers.append(row)
        self._traces += traces
        estimate = row.tokens_unpruned_estimate
        saved = max(0, int(estimate - row.tokens_sampled)) if estimate is not None else 0
        status = self._status
        status.problems_done += 1
        status.traces_finished += row.traces_finished
        status.traces_pruned += row.traces_pruned
        status.traces_cut += row.traces_cut or 0
        status.traces_unanswered += row.traces_unanswered or 0
        status.tokens_saved += saved

    def _commit_if_due(self) -> None:
        is_due = time.monotonic() - self._committed_at >= self._config.commit_every_s
        if is_due or self._segments_uncommitted >= self._config.commit_every_segments or not self._open:
            self._commit()

    def _commit(self) -> None:
        facts, answers, traces = self._facts, self._answers, self._traces
        self._facts, self._answers, self._traces = [], [], []
        self._segments_uncommitted = 0
        self._store.append(facts, answers, traces)
        self._committed_at = time.monotonic()
        self._hooks.on_commit(self.status)


def context_tokens(request: Request) -> int:
    """Return how many tokens of the engine's cache a request will take; a problem's prompt is shared by its traces."""
    own = request.trace_tokens if isinstance(request.key, SegmentKey) else len(request.prompt_token_ids)
    return own + request.max_tokens
