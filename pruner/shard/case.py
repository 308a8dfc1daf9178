"""One problem at work: facts in, requests out. Knows no engine, disk or clock.

A case drives its problem's method. What the method asks for is looked up among the known facts first and requested only if
it is not there; that is all that resuming is. A case is finished when its method has answered and nothing of it runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from pruner.answers.readings import Read, Reading
from pruner.judges.base import Judge, JudgedProblem, Prefixed, Prober
from pruner.methods.base import Action, Answer, Ask, Compare, Extend, Method, Prepare, Prune
from pruner.records.traces import (
    Ending,
    Fact,
    Key,
    PairKey,
    Probe,
    ProbeKey,
    Problem,
    Segment,
    SegmentKey,
    TokenIds,
    Trace,
    TraceKey,
    Verdict,
    cut_at_stop,
    grid_shift,
    hash64,
    segment_end,
)
from pruner.rules.clustering import Cluster
from pruner.rules.prefix import Truncation
from pruner.samplers.base import Completion, Decoding, Request


@dataclass(frozen=True)
class TraceRule:
    """How traces are cut and seeded. max_tokens: of a trace, whatever the context would still hold. align_tokens: the block of the
    prefix cache that segments end one token behind; None: they end on multiples of segment_tokens."""

    seed: int
    segment_tokens: int
    max_tokens: int
    max_model_len: int
    decoding: Decoding
    align_tokens: int | None = None


@dataclass(frozen=True)
class PromptedProblem:
    """A problem with its prompt. priority: its place in the order in which problems were opened; lower ones go first."""

    problem: Problem
    prompt_token_ids: tuple[int, ...]
    priority: int


@dataclass(frozen=True)
class CaseSetting:
    """What all cases of a run share.

    Attributes:
        judge: None if the method compares no traces.
        prober: None if the method asks no traces.
        reading: returns, for a finished trace and the gold answer, what its final answer is read from.
    """

    judge: Judge | None
    prober: Prober | None
    truncation: Truncation
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


@dataclass(frozen=True)
class Step:
    """What follows from a fact: facts to store (the given one and those derived from it), requests to make and answers to read.

    Attributes:
        wanted: requests that were made in case the method asked for them, and now it has: they are needed as any other.
    """

    facts: tuple[Fact, ...]
    requests: tuple[Request, ...]
    readings: tuple[Reading, ...] = ()
    wanted: tuple[Key, ...] = ()


@dataclass(frozen=True)
class Offer:
    """A segment that the method has not asked for. worth, until_tokens: see Guess."""

    worth: float
    key: SegmentKey
    until_tokens: int | None


class Case:
    """One open problem.

    Args:
        method: the state of this problem's method, not begun yet.
        known: facts of earlier attempts.
    """

    def __init__(
        self, prompted: PromptedProblem, method: Method, setting: CaseSetting, known: Iterable[Fact] = ()
    ) -> None:
        self.problem = prompted.problem
        self.prompt_token_ids = prompted.prompt_token_ids
        self._prompt = TokenIds(prompted.prompt_token_ids)
        self.method = method
        self.traces: dict[int, Trace] = {}
        self.pruned: dict[int, str] = {}
        self.num_finished = self.num_cut = self.num_unanswered = 0  # of traces that are not pruned
        self.answer: Answer | None = None
        self.facts: dict[Key, Fact] = {fact.key: fact for fact in known}
        self.priority = prompted.priority
        self._judge = setting.judge
        self._prober = setting.prober
        self._truncation = setting.truncation
        self._rule = setting.rule
        self._reading = setting.reading
        self._prefixed: dict[int, Prefixed] = {}
        self._waiting: dict[Key, dict[PairKey, None]] = {}
        self._in_flight: set[Key] = set()
        self._ahead: dict[int, Trace] = {}  # traces that the method has not asked for, as far as they are known
        self._speculative: set[Key] = set()  # requested of these
        self._guessed_until: dict[
            int, int | None
        ] = {}  # of traces that were begun ahead, until the method asks for them
        self._wanted: list[Key] = []
        self._asked: set[ProbeKey] = set()
        self._unkeyed: dict[ProbeKey, Probe] = {}
        self._deliveries: deque[Fact] = deque()
        self._new_facts: list[Fact] = []
        self._requests: list[Request] = []
        self._readings: list[Reading] = []

    @property
    def is_finished(self) -> bool:
        return self.answer is not None and not self._in_flight

    @property
    def max_trace_tokens(self) -> int:
        """How long a trace of this problem may get: its cap, or what the context holds beside the prompt."""
        return min(self._rule.max_tokens, self._rule.max_model_len - len(self.prompt_token_ids))

    def outcome(self) -> CaseOutcome:
        """Return what became of a finished case."""
        assert self.answer is not None and self.is_finished
        traces = tuple(trace for _, trace in sorted(self.traces.items()))
        return CaseOutcome(
            problem=self.problem,
            num_prompt_tokens=len(self.prompt_token_ids),
            answer=self.answer,
            traces=traces,
            pruned=dict(self.pruned),
            clusters=self.method.clusters,
            prefix_tokens=tuple(min(trace.num_tokens, self.method.prefix_tokens(trace)) for trace in traces),
            facts=tuple(self.facts.values()),
            speculative=self._never_asked(),
        )

    def offers(self, limit: int) -> list[Offer]:
        """Return segments that are worth sampling before they are asked for.

        Args:
            limit: of traces beyond those that the method has asked for.
        """
        if self.answer is not None:
            return []
        found = []
        for guess in self.method.guesses(limit):
            trace = self._known_ahead(guess.trace_index)
            is_far = trace.is_finished or (guess.until_tokens is not None and trace.num_tokens >= guess.until_tokens)
            if not is_far and trace.next_key not in self._speculative and guess.trace_index not in self.traces:
                found.append(Offer(guess.worth, trace.next_key, guess.until_tokens))
        return found

    def speculate(self, offer: Offer) -> Request:
        """Return the request for an offered segment; what it gives is taken in as anything else."""
        self._speculative.add(offer.key)
        self._guessed_until[offer.key.trace_index] = offer.until_tokens
        return self._segment_request(self._ahead[offer.key.trace_index], offer.until_tokens)

    def drop(self, key: Key) -> None:
        """Take back a speculative request that was cancelled; its segment may be offered again."""
        self._speculative.discard(key)

    def _known_ahead(self, index: int) -> Trace:
        """Return a trace that the method has not asked for, with all its segments that are known."""
        trace = self._ahead.get(index) or Trace(self.problem.problem_id, index)
        while not trace.is_finished and isinstance(known := self.facts.get(trace.next_key), Segment):
            trace = trace.append(known)
        self._ahead[index] = trace
        return trace

    def _never_asked(self) -> tuple[Trace, ...]:
        indexes = {key.trace_index for key in self.facts if isinstance(key, SegmentKey)} - self.traces.keys()
        return tuple(self._known_ahead(index) for index in sorted(indexes))

    def begin(self) -> Step:
        """Begin the method, and feed it what is known until it wants something that is not: the replay of earlier attempts."""
        self._apply(self.method.begin())
        return self._settle()

    def receive(self, completion: Completion) -> Step:
        """Take in what a request of this case gave."""
        self._in_flight.discard(completion.key)
        if self._speculative and completion.key in self._speculative:
            assert isinstance(completion.key, SegmentKey)
            self._speculative.remove(completion.key)
            self._store(self._segment(self._ahead[completion.key.trace_index], completion))
        elif isinstance(completion.key, SegmentKey):
            segment = self._segment(self._trace(completion.key.trace_index), completion)
            self._store(segment)
            self._deliveries.append(segment)
        elif completion.key in self._asked:
            assert self._prober is not None and isinstance(completion.key, ProbeKey)
            self._learn(self._prober.read(completion.key, completion))
        else:
            assert self._judge is not None
            self._learn(self._judge.read(completion.key, completion, self._judged()))
        return self._settle()

    def take_answer(self, read: Read) -> Step:
        """Take in the answer of a finished trace, or of a probe, that this case asked to be read."""
        self._in_flight.discard(read.key)
        if isinstance(read.key, ProbeKey):
            assert read.answer is not None
            self._learn(replace(self._unkeyed.pop(read.key), answer_key=read.answer.key))
        else:
            if read.answer is not None:
                self._store(Ending(read.key, read.answer.text, read.answer.key, read.answer.correct))
            self._finish_trace(replace(self.traces[read.key.trace_index], answer=read.answer))
        return self._settle()

    def _settle(self) -> Step:
        """Give the method every fact that it asked for and that is there, and what it then asks for; return what is missing."""
        while self._deliveries:
            fact = self._deliveries.popleft()
            if isinstance(fact, Segment):
                self._on_segment(fact)
            elif isinstance(fact, Probe):
                self._apply(self.method.on_probe(fact))
            elif isinstance(fact, Verdict):
                self._apply(self.method.on_verdicts([fact]))
        step = Step(tuple(self._new_facts), tuple(self._requests), tuple(self._readings), tuple(self._wanted))
        self._wanted.clear()
        self._new_facts.clear()
        self._requests.clear()
        self._readings.clear()
        return step

    def _store(self, fact: Fact) -> None:
        self.facts[fact.key] = fact
        self._new_facts.append(fact)

    def _learn(self, fact: Probe | Verdict) -> None:
        """Keep what was judged or asked, and give it to whoever waits for it; the answer of a probe is read first."""
        if isinstance(fact, Probe) and fact.answer is not None and fact.answer_key is None:
            self._unkeyed[fact.key] = fact
            self._in_flight.add(fact.key)
            self._readings.append(Reading(fact.key, answer=fact.answer))
            return
        self._store(fact)
        if fact.key in self._asked:
            self._deliveries.append(fact)
        for pair in self._waiting.pop(fact.key, {}):
            self._compare(pair)

    def _on_segment(self, segment: Segment) -> None:
        index = segment.key.trace_index
        trace = self._trace(index).append(segment)
        self.traces[index] = trace
        if index not in self._prefixed and (prefix := self._truncation.prefix(trace)) is not None:
            self._prefixed[index] = Prefixed(trace, prefix)
        if trace.is_finished:
            self._end(trace)
        elif index not in self.pruned:
            self._apply(self.method.on_segment(trace))

    def _end(self, trace: Trace) -> None:
        """Look a finished trace's answer up, or have it read."""
        key = TraceKey(trace.problem_id, trace.trace_index)
        known = self.facts.get(key)
        if isinstance(known, Ending):
            self._finish_trace(replace(trace, answer=known.final_answer))
            return
        self._in_flight.add(key)
        self._readings.append(self._reading(trace, self.problem.answer))

    def _finish_trace(self, trace: Trace) -> None:
        self.traces[trace.trace_index] = trace
        if trace.trace_index not in self.pruned:
            self.num_finished += 1
            self.num_cut += trace.finish_reason == "length"
            self.num_unanswered += trace.answer is None
            self._apply(self.method.on_segment(trace))

    def _apply(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Extend):
                self._extend(action)
            elif isinstance(action, Compare):
                for left, right in action.pairs:
                    self._compare(PairKey(self.problem.problem_id, left, right))
            elif isinstance(action, Prepare):
                self._prepare(action)
            elif isinstance(action, Ask):
                self._ask_trace(action)
            elif isinstance(action, Prune):
                self.pruned[action.trace_index] = action.reason
            else:
                assert self.answer is None, f"{self.problem.problem_id}: answered twice"
                self.answer = action

    def _extend(self, action: Extend) -> None:
        if self._guessed_until:
            guessed = self._guessed_until.pop(action.trace_index, action.until_tokens)
            assert guessed == action.until_tokens, (
                f"{type(self.method).__name__} guessed until {guessed}, it asks for {action}"
            )
        trace = self._trace(action.trace_index)
        key = trace.next_key
        known = self.facts.get(key)
        if known is not None:
            assert isinstance(known, Segment)
            self._deliveries.append(known)
            return
        self._in_flight.add(key)
        if self._speculative and key in self._speculative:
            self._speculative.remove(key)
            self._wanted.append(key)
            return
        self._requests.append(self._segment_request(trace, action.until_tokens))

    def _segment_request(self, trace: Trace, until_tokens: int | None) -> Request:
        """Return the request for a trace's next segment."""
        key = trace.next_key
        end = segment_end(
            trace.num_tokens,
            self._rule.segment_tokens,
            until_tokens,
            self.max_trace_tokens,
            grid_shift(len(self.prompt_token_ids), self._rule.align_tokens),
        )
        return Request(
            key=key,
            prompt_token_ids=TokenIds.join([self._prompt, *[segment.token_ids for segment in trace.segments]]),
            max_tokens=end - trace.num_tokens,
            seed=self._seed(key),
            priority=self.priority,
            decoding=self._rule.decoding,
            trace_tokens=trace.num_tokens,
        )

    def _compare(self, pair: PairKey) -> None:
        """Deliver a pair's verdict, or ask for what it still waits for."""
        assert self._judge is not None, f"{self.problem.problem_id}: the method compares, but there is no judge"
        judged = self._judged()
        missing = self._judge.needs(pair, judged, self.facts)
        if not missing:
            verdict = self._judge.verdict(pair, judged, self.facts)
            if pair not in self.facts:
                self._store(verdict)
            self._deliveries.append(verdict)
            return
        for key in missing:
            self._waiting.setdefault(key, {})[pair] = None
        for key in missing:
            self._request(key, judged)

    def _prepare(self, action: Prepare) -> None:
        assert self._judge is not None
        judged = self._judged()
        for index in action.trace_indexes:
            for key in self._judge.prepares(index, judged):
                self._request(key, judged)

    def _request(self, key: Key, judged: JudgedProblem) -> None:
        """Request a judged fact, unless it is known or under way."""
        assert self._judge is not None
        if key in self._in_flight or key in self.facts:
            return
        request = self._judge.request(key, judged)
        if request is None:
            self._learn(self._judge.read(key, None, judged))
        else:
            self._in_flight.add(key)
            self._requests.append(request)

    def _ask_trace(self, action: Ask) -> None:
        """Probe a trace as it is, or deliver what is known of that."""
        assert self._prober is not None, f"{self.problem.problem_id}: the method asks, but there is no prober"
        trace = self._trace(action.trace_index)
        key = ProbeKey(trace.problem_id, trace.trace_index, trace.num_tokens)
        known = self.facts.get(key)
        if known is not None:
            self._deliveries.append(known)
            return
        self._asked.add(key)
        request = self._prober.request(key, self.prompt_token_ids, trace, self.priority)
        if request is None:
            self._learn(self._prober.read(key, None))
        else:
            self._in_flight.add(key)
            self._requests.append(request)

    def _segment(self, trace: Trace, completion: Completion) -> Segment:
        text, is_cut = cut_at_stop(trace.text, completion.text, self._rule.decoding.stop)
        num_tokens = trace.num_tokens + completion.num_tokens
        reason = "stop" if is_cut else completion.finish_reason
        if reason is None and num_tokens >= self.max_trace_tokens:
            reason = "length"
        return Segment(
            key=trace.next_key,
            num_tokens=completion.num_tokens,
            token_ids=TokenIds(completion.token_ids),
            text=text,
            finish_reason=reason,
            prompt_tokens=completion.prompt_tokens,
            cached_tokens=completion.cached_tokens,
            confidence=completion.confidence,
        )

    def _trace(self, index: int) -> Trace:
        return self.traces.get(index) or Trace(self.problem.problem_id, index)

    def _judged(self) -> JudgedProblem:
        return JudgedProblem(self.problem, self.prompt_token_ids, self._prefixed, self.priority)

    def _seed(self, key: SegmentKey) -> int:
        return hash64(self._rule.seed, "segment", key.problem_id, key.trace_index, key.segment_index)
