"""One problem at work: facts in, requests out. Knows no engine, disk or clock.

A case drives its problem's method. What the method asks for is looked up among the known facts first and requested only if
it is not there; that is all that resuming is. A case is finished when its method has answered and nothing that it asked for runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from pruner.answers.readings import Read, Reading
from pruner.methods.base import Action, Answer, Ask, Compare, Extend, Method, Prepare, Prune
from pruner.records.traces import (
    Ending,
    Fact,
    PairKey,
    Probe,
    ProbeKey,
    Problem,
    Segment,
    SegmentKey,
    Trace,
    TraceKey,
    Verdict,
)
from pruner.rules.clustering import Cluster
from pruner.samplers.base import Completion, Request
from pruner.shard.ahead import Ahead, Offer
from pruner.shard.exchange import Exchange, Step
from pruner.shard.judging import JudgeSetting, Judging
from pruner.shard.segments import PromptedProblem, Segments, TraceRule


@dataclass(frozen=True)
class CaseSetting:
    """What all cases of a run share.

    Attributes:
        reading: returns, for a finished trace and the gold answer, where its final answer is read from.
    """

    judging: JudgeSetting
    rule: TraceRule
    reading: Callable[[Trace, str | None], Reading]


@dataclass(frozen=True)
class CaseOutcome:
    """An answered problem, finished: everything that its rows are made of.

    Attributes:
        traces: every trace that was started, by index.
        pruned: why a trace was stopped, by index.
        prefix_tokens: tokens of each trace that the method needed before it could decide on it, in the order of `traces`.
        facts: all facts of the problem, those of earlier attempts included.
        speculative: traces that were sampled in case the method asked for them, and it never did; by index.
    """

    problem: Problem
    num_prompt_tokens: int
    answer: Answer
    traces: tuple[Trace, ...]
    pruned: Mapping[int, str]
    clusters: tuple[Cluster, ...]
    prefix_tokens: tuple[int, ...]
    facts: tuple[Fact, ...]
    speculative: tuple[Trace, ...] = ()


class Case:
    """One open problem.

    Args:
        method: the state of this problem's method, not begun yet.
        known: facts of earlier attempts.
    """

    def __init__(
        self, prompted: PromptedProblem, method: Method, setting: CaseSetting, known: Iterable[Fact] = ()
    ) -> None:
        self.prompted = prompted
        self.method = method
        self.traces: dict[int, Trace] = {}
        self.pruned: dict[int, str] = {}
        self.answer: Answer | None = None
        self.segments = Segments(prompted, setting.rule)
        self._reading = setting.reading
        self._exchange = Exchange(known)
        self._judging = Judging(prompted, setting.judging, self._exchange)
        self._ahead = Ahead(prompted.problem.problem_id, self._exchange.facts)
        self._unread: dict[TraceKey, Trace] = {}

    @property
    def problem(self) -> Problem:
        return self.prompted.problem

    @property
    def is_finished(self) -> bool:
        return self.answer is not None and not self._exchange.num_awaited

    @property
    def finished_traces(self) -> list[Trace]:
        """Traces that ended by themselves and whose answer was read."""
        return [trace for index, trace in self.traces.items() if trace.is_finished and index not in self.pruned]

    def outcome(self) -> CaseOutcome:
        """Return what became of a finished case."""
        assert self.answer is not None and self.is_finished
        traces = tuple(trace for _, trace in sorted(self.traces.items()))
        return CaseOutcome(
            problem=self.problem,
            num_prompt_tokens=len(self.prompted.prompt_token_ids),
            answer=self.answer,
            traces=traces,
            pruned=dict(self.pruned),
            clusters=self.method.clusters,
            prefix_tokens=tuple(min(trace.num_tokens, self.method.prefix_tokens(trace)) for trace in traces),
            facts=tuple(self._exchange.facts.values()),
            speculative=self._ahead.never_asked(self.traces),
        )

    def offers(self, limit: int) -> Iterable[Offer]:
        """Return segments that are worth sampling before they are asked for.

        Args:
            limit: of traces beyond those that the method has asked for.
        """
        return () if self.answer is not None else self._ahead.offers(self.method.guesses(limit), self.traces)

    def speculate(self, offer: Offer) -> Request:
        """Return the request for an offered segment; the case takes in its completion as any other's."""
        return self.segments.request(self._ahead.begin(offer), offer.until_tokens)

    def begin(self) -> Step:
        """Begin the method, and feed it what is known until it wants something that is not: the replay of earlier attempts."""
        self._apply(self.method.begin())
        return self._settle()

    def receive(self, completion: Completion, is_needed: bool = True) -> Step:
        """Take in the completion of a request of this case.

        Args:
            is_needed: it was asked for in a step; else it was offered, and the method has not asked for it since.
        """
        self._exchange.num_awaited -= is_needed
        if not isinstance(completion.key, SegmentKey):
            self._judging.receive(completion)
        elif is_needed:
            segment = self.segments.read(self._trace(completion.key.trace_index), completion)
            self._exchange.store(segment)
            self._exchange.deliveries.append(segment)
        else:
            self._exchange.store(self.segments.read(self._ahead.trace(completion.key.trace_index), completion))
        return self._settle()

    def take_answer(self, read: Read) -> Step:
        """Take in the answer of a finished trace, or of a probe, that this case asked to be read."""
        self._exchange.num_awaited -= 1
        if isinstance(read.key, ProbeKey):
            self._judging.take_answer(read)
        else:
            if read.answer is not None:
                self._exchange.store(Ending(read.key, read.answer.text, read.answer.key, read.answer.correct))
            self._finish_trace(replace(self._unread.pop(read.key), answer=read.answer))
        return self._settle()

    def _settle(self) -> Step:
        """Give the method every fact that it asked for and that is there, and what it then asks for; return what is missing."""
        while self._exchange.deliveries:
            fact = self._exchange.deliveries.popleft()
            if isinstance(fact, Segment):
                self._on_segment(fact)
            elif isinstance(fact, Probe):
                self._apply(self.method.on_probe(fact))
            elif isinstance(fact, Verdict):
                self._apply(self.method.on_verdicts([fact]))
        return self._exchange.step()

    def _on_segment(self, segment: Segment) -> None:
        trace = self._trace(segment.key.trace_index).append(segment)
        self._judging.see(trace)
        if trace.is_finished:
            self._end(trace)
            return
        self.traces[trace.trace_index] = trace
        if trace.trace_index not in self.pruned:
            self._apply(self.method.on_segment(trace))

    def _end(self, trace: Trace) -> None:
        """Look a finished trace's answer up, or have it read."""
        key = TraceKey(trace.problem_id, trace.trace_index)
        known = self._exchange.facts.get(key)
        if isinstance(known, Ending):
            self._finish_trace(replace(trace, answer=known.final_answer))
            return
        self._unread[key] = trace
        self._exchange.read(self._reading(trace, self.problem.answer))

    def _finish_trace(self, trace: Trace) -> None:
        self.traces[trace.trace_index] = trace
        if trace.trace_index not in self.pruned:
            self._apply(self.method.on_segment(trace))

    def _apply(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Extend):
                self._extend(action)
            elif isinstance(action, Compare):
                for left, right in action.pairs:
                    self._judging.compare(PairKey(self.problem.problem_id, left, right))
            elif isinstance(action, Prepare):
                for index in action.trace_indexes:
                    self._judging.prepare(index)
            elif isinstance(action, Ask):
                self._judging.ask(self._trace(action.trace_index))
            elif isinstance(action, Prune):
                self.pruned[action.trace_index] = action.reason
            else:
                assert self.answer is None, f"{self.problem.problem_id}: answered twice"
                self.answer = action

    def _extend(self, action: Extend) -> None:
        self._ahead.check(action, self.method)
        trace = self._trace(action.trace_index)
        known = self._exchange.facts.get(trace.next_key)
        if known is not None:
            self._exchange.deliveries.append(known)
        else:
            self._exchange.request(self.segments.request(trace, action.until_tokens))

    def _trace(self, index: int) -> Trace:
        return self.traces.get(index) or Trace(self.problem.problem_id, index)
