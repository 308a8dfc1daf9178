"""Traces that a method has not asked for, sampled in case it does. Pure: which of them runs is the queue's matter."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from pruner.methods.base import Extend, Guess
from pruner.records.traces import Fact, Key, Segment, SegmentKey, Trace


@dataclass(frozen=True)
class Offer:
    """A segment that the method has not asked for. worth, until_tokens: see Guess."""

    worth: float
    key: SegmentKey
    until_tokens: int | None


class Ahead:
    """One problem's traces ahead of its method, as far as facts know them."""

    def __init__(self, problem_id: str, facts: Mapping[Key, Fact]) -> None:
        self._problem_id = problem_id
        self._facts = facts
        self._traces: dict[int, Trace] = {}
        self._guessed_until: dict[int, int | None] = {}  # of traces that were begun, until the method asks for them

    def trace(self, index: int) -> Trace:
        """Return a trace with all its segments that are known."""
        trace = self._traces.get(index) or Trace(self._problem_id, index)
        while not trace.is_finished and isinstance(known := self._facts.get(trace.next_key), Segment):
            trace = trace.append(known)
        self._traces[index] = trace
        return trace

    def offers(self, guesses: Iterable[Guess], asked: Container[int]) -> Iterator[Offer]:
        """Yield the next segments of guessed traces that end before the method would look at them.

        Args:
            asked: traces that the method has asked for.
        """
        for guess in guesses:
            trace = self.trace(guess.trace_index)
            is_far = trace.is_finished or (guess.until_tokens is not None and trace.num_tokens >= guess.until_tokens)
            if not is_far and guess.trace_index not in asked:
                yield Offer(guess.worth, trace.next_key, guess.until_tokens)

    def begin(self, offer: Offer) -> Trace:
        """Return the trace that an offer continues; the method may ask for it from now on only as was guessed."""
        self._guessed_until[offer.key.trace_index] = offer.until_tokens
        return self._traces[offer.key.trace_index]

    def check(self, action: Extend, method: object) -> None:
        """Hold what a method asks for against its guess: a segment that was sampled ahead ends where that said."""
        guessed = self._guessed_until.pop(action.trace_index, action.until_tokens)
        assert guessed == action.until_tokens, f"{type(method).__name__} guessed until {guessed}, it asks for {action}"

    def never_asked(self, asked: Container[int]) -> tuple[Trace, ...]:
        """Return the traces that are known and that the method did not ask for, by index."""
        indexes = {
            key.trace_index for key in self._facts if isinstance(key, SegmentKey) and key.trace_index not in asked
        }
        return tuple(self.trace(index) for index in sorted(indexes))
