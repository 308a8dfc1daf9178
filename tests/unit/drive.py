"""Drive a method by hand: traces whose future is known, and segments, probes and verdicts that come in any order."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from pruner.methods.base import Action, Answer, Ask, Compare, Extend, Method, Prepare, Prune
from pruner.records.traces import PairKey, Probe, ProbeKey, Segment, Trace, Verdict, segment_end
from pruner.rules.clustering import Cluster
from tests.unit.fakes import said


@dataclass(frozen=True)
class Future:
    """What a trace will come to; its tokens' confidences are its length. asked: what it says when it is asked before."""

    answer: str | None
    confidences: tuple[float, ...]
    asked: str | None = None

    def go_on(self, trace: Trace, segment_tokens: int) -> Trace:
        done = trace.num_tokens
        piece = self.confidences[done : done + segment_tokens]
        is_last = done + len(piece) == len(self.confidences)
        ids = tuple(range(1, len(piece) + 1))
        segment = Segment(trace.next_key, len(ids), ids, "x", "stop" if is_last else None, 0, 0, piece)
        trace = trace.append(segment)
        return replace(trace, answer=said(self.answer)) if is_last else trace


@dataclass(frozen=True)
class Outcome:
    """answer: its answers as texts. tokens: sampled of each started trace. pairs: that were compared."""

    answer: Answer
    tokens: dict[int, int]
    pruned: dict[int, str]
    pairs: frozenset[tuple[int, int]]
    clusters: tuple[Cluster, ...]

    @property
    def voters(self) -> set[int]:
        return {index for vote in self.answer.votes for index in vote.traces}


def drive(
    method: Method,
    futures: Sequence[Future],
    pick: Callable[[int], int] = lambda n: 0,
    segment_tokens: int = 4,
    score: Callable[[int, int], float] | None = None,
) -> Outcome:
    """Run a method to its end.

    Args:
        pick: says which of n things that run happens next: a segment ends, a probe or a pair is answered.
        score: the judge's verdict on a pair of traces; None: the method compares none.
    """
    return _Drive(method, futures, segment_tokens, score).run(pick)


class _Drive:
    """One method at work, and all that it may not do."""

    def __init__(self, method, futures, segment_tokens, score) -> None:
        self._method, self._futures = method, futures
        self._segment_tokens, self._score = segment_tokens, score
        self._traces: dict[int, Trace] = {}
        self._running: list[Extend | Probe | PairKey] = []
        self._prepared: set[int] = set()
        self._pairs: set[tuple[int, int]] = set()
        self._pruned: dict[int, str] = {}
        self._answers: list[Answer] = []

    def run(self, pick: Callable[[int], int]) -> Outcome:
        self._take(self._method.begin())
        while self._running:
            self._take(self._happen(self._running.pop(pick(len(self._running)))))
        (answer,) = self._answers
        ended = {index for index, trace in self._traces.items() if trace.is_finished} | self._pruned.keys()
        assert ended == self._traces.keys(), "a trace was left behind"
        assert sorted(self._traces) == list(range(len(self._traces))), "a trace index was left out"
        tokens = {index: trace.num_tokens for index, trace in sorted(self._traces.items())}
        return Outcome(as_texts(answer), tokens, self._pruned, frozenset(self._pairs), self._method.clusters)

    def _happen(self, what: Extend | Probe | PairKey) -> list[Action]:
        if isinstance(what, Probe):
            return self._method.on_probe(what)
        if isinstance(what, PairKey):
            return self._method.on_verdicts([Verdict(what, self._score(what.left_trace, what.right_trace))])
        index = what.trace_index
        trace, future = self._traces[index], self._futures[index]
        total = len(future.confidences)
        end = segment_end(trace.num_tokens, self._segment_tokens, what.until_tokens, total)
        self._traces[index] = future.go_on(trace, end - trace.num_tokens)
        return self._method.on_segment(self._traces[index])

    def _take(self, actions: Sequence[Action]) -> None:
        for action in actions:
            assert not self._answers, "an action after the answer"
            if isinstance(action, Extend):
                self._extend(action)
            elif isinstance(action, Prune):
                assert action.trace_index not in self._pruned and not self._runs(action.trace_index)
                self._pruned[action.trace_index] = action.reason
            elif isinstance(action, Ask):
                self._ask(action.trace_index)
            elif isinstance(action, Prepare):
                assert not self._prepared & set(action.trace_indexes)
                self._prepared.update(action.trace_indexes)
            elif isinstance(action, Compare):
                self._compare(action)
            else:
                assert isinstance(action, Answer) and not self._running
                self._answers.append(action)

    def _extend(self, action: Extend) -> None:
        index = action.trace_index
        assert 0 <= index < len(self._futures), "beyond the budget"
        trace = self._traces.setdefault(index, Trace("p", index))
        assert not self._runs(index) and index not in self._pruned and not trace.is_finished
        self._running.append(action)

    def _ask(self, index: int) -> None:
        trace, asked = self._traces[index], self._futures[index].asked
        assert not self._runs(index) and not trace.is_finished
        key = ProbeKey("p", index, trace.num_tokens)
        self._running.append(Probe(key, 1, (1,), asked or "", asked, 0, 0, 0, asked))

    def _compare(self, action: Compare) -> None:
        for left, right in action.pairs:
            assert (left, right) not in self._pairs and self._prepared >= {left, right}
            self._pairs.add((left, right))
            self._running.append(PairKey("p", left, right))

    def _runs(self, index: int) -> bool:
        return any(isinstance(each, Extend) and each.trace_index == index for each in self._running)


def as_texts(answer: Answer) -> Answer:
    """Return an answer whose final answers are texts."""
    votes = tuple(replace(vote, answer=vote.answer.text) for vote in answer.votes)
    return replace(answer, answer=answer.answer.text if answer.answer is not None else None, votes=votes)


def assert_order_does_not_matter(
    make: Callable[[], Method],
    futures: Sequence[Future],
    salt: int,
    score: Callable[[int, int], float] | None = None,
) -> Outcome:
    """Drive a method in four orders; return what it came to each time."""
    picks = (lambda n: 0, lambda n: n - 1, lambda n: n // 2, random.Random(salt).randrange)
    first, *others = [drive(make(), futures, pick, score=score) for pick in picks]
    assert all(other == first for other in others)
    return first


def futures(max_traces: int = 24, max_tokens: int = 30):
    """Strategy: traces with few different answers, some with none. Confidences have few digits, so that sums are exact."""
    confidence = st.integers(0, 64).map(lambda number: number / 8)
    future = st.builds(
        Future,
        st.one_of(st.none(), st.sampled_from("aaabc")),
        st.lists(confidence, min_size=1, max_size=max_tokens).map(tuple),
        st.one_of(st.none(), st.sampled_from("aab")),
    )
    return st.lists(future, min_size=1, max_size=max_traces)


def plain(*answers: str | None) -> list[Future]:
    """Traces that differ in their answers only."""
    return [Future(answer, (1.0,) * 6) for answer in answers]
