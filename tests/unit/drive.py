"""Drive a method without a judge by hand: traces whose future is known, and segments that end in any order."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from pruner.methods.base import Answer, Ask, Extend, Method, Prune
from pruner.traces import Probe, ProbeKey, Segment, Trace
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
    """answer: its answers as texts. tokens: sampled of each started trace."""

    answer: Answer
    tokens: dict[int, int]
    pruned: dict[int, str]

    @property
    def voters(self) -> set[int]:
        return {index for vote in self.answer.votes for index in vote.traces}


def drive(
    method: Method, futures: Sequence[Future], pick: Callable[[int], int] = lambda n: 0, segment_tokens: int = 4
) -> Outcome:
    """Run a method to its end; `pick` says which of n running segments ends next."""
    traces: dict[int, Trace] = {}
    running: list[int | Probe] = []
    pruned: dict[int, str] = {}
    answers: list[Answer] = []

    def take(actions) -> None:
        for action in actions:
            assert not answers, "an action after the answer"
            if isinstance(action, Extend):
                index = action.trace_index
                assert 0 <= index < len(futures), "beyond the budget"
                trace = traces.setdefault(index, Trace("p", index))
                assert index not in running and index not in pruned and not trace.is_finished
                running.append(index)
            elif isinstance(action, Prune):
                assert action.trace_index not in pruned and action.trace_index not in running
                pruned[action.trace_index] = action.reason
            elif isinstance(action, Ask):
                trace, asked = traces[action.trace_index], futures[action.trace_index].asked
                assert action.trace_index not in running and not trace.is_finished
                running.append(
                    Probe(
                        ProbeKey("p", trace.trace_index, trace.num_tokens), 1, (1,), asked or "", asked, 0, 0, 0, asked
                    )
                )
            else:
                assert isinstance(action, Answer) and not running
                answers.append(action)

    take(method.begin())
    while running:
        index = running.pop(pick(len(running)))
        if isinstance(index, Probe):
            take(method.on_probe(index))
            continue
        traces[index] = futures[index].go_on(traces[index], segment_tokens)
        take(method.on_segment(traces[index]))
    (answer,) = answers
    votes = tuple(replace(vote, answer=vote.answer.text) for vote in answer.votes)
    answer = replace(answer, answer=answer.answer.text if answer.answer is not None else None, votes=votes)
    ended = {index for index, trace in traces.items() if trace.is_finished} | pruned.keys()
    assert ended == traces.keys(), "a trace was left behind"
    assert sorted(traces) == list(range(len(traces))), "a trace index was left out"
    return Outcome(answer, {index: trace.num_tokens for index, trace in sorted(traces.items())}, pruned)


def assert_order_does_not_matter(make: Callable[[], Method], futures: Sequence[Future], salt: int) -> Outcome:
    """Drive a method in four orders; return what it came to each time."""
    draw = random.Random(salt).randrange
    first, *others = [drive(make(), futures, pick) for pick in (lambda n: 0, lambda n: n - 1, lambda n: n // 2, draw)]
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
