"""The interface of a judge: from a pair to the requests that it needs, and from completions to facts.

A judge drives no engine itself; it writes requests and reads completions, so the same judge serves any sampler.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pruner.prefix import Prefix
from pruner.samplers.base import Completion, Request
from pruner.traces import Fact, Key, PairKey, Probe, ProbeKey, Problem, Trace, Verdict


@dataclass(frozen=True)
class Prefixed:
    """A trace and its prefix."""

    trace: Trace
    prefix: Prefix


@dataclass(frozen=True)
class Bench:
    """What a judge may know of one problem.

    Attributes:
        prompt_token_ids: the problem's prompt, as the sampler reads it.
        traces: those with a complete prefix, by index.
        priority: of the problem's requests.
    """

    problem: Problem
    prompt_token_ids: tuple[int, ...]
    traces: Mapping[int, Prefixed]
    priority: int


class Prober(Protocol):
    """Forces answers out of traces as they stand."""

    def request(self, key: ProbeKey, prompt: tuple[int, ...], trace: Trace, priority: int) -> Request | None:
        """Return the request for a probe of the trace's first tokens; None if there is none to make."""

    def read(self, key: ProbeKey, completion: Completion | None) -> Probe:
        """Return the fact that a completion tells, or the one without a request."""


class Judge(Protocol):
    """Scores pairs of prefixes."""

    name: str

    def prepares(self, trace_index: int, bench: Bench) -> tuple[Key, ...]:
        """Return the keys of facts that any pair with this trace will wait for."""

    def needs(self, pair: PairKey, bench: Bench, known: Mapping[Key, Fact]) -> tuple[Key, ...]:
        """Return the keys of facts that the pair's verdict waits for; empty if it follows from what is known."""

    def verdict(self, pair: PairKey, bench: Bench, known: Mapping[Key, Fact]) -> Verdict:
        """Return the verdict of a pair that waits for nothing."""

    def request(self, key: Key, bench: Bench) -> Request | None:
        """Return the request for a fact; None if it would not fit the model's context, which makes the fact missing."""

    def read(self, key: Key, completion: Completion | None, bench: Bench) -> Probe | Verdict:
        """Return the fact that a completion tells, or the missing fact for a request that could not be made."""


class WithoutRequests:
    """What judges share that ask nothing of an engine: every pair's verdict is known at once."""

    def prepares(self, trace_index: int, bench: Bench) -> tuple[Key, ...]:
        return ()

    def needs(self, pair: PairKey, bench: Bench, known: Mapping[Key, Fact]) -> tuple[Key, ...]:
        return ()

    def request(self, key: Key, bench: Bench) -> Request | None:
        raise AssertionError(f"{type(self).__name__} asks for nothing, but for {key}")

    def read(self, key: Key, completion: Completion | None, bench: Bench) -> Probe | Verdict:
        raise AssertionError(f"{type(self).__name__} reads nothing, but {key}")
