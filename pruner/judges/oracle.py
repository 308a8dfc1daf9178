"""The oracle: it knows the final answers of the same traces from a run that finished them. An upper bound, not a method.

A run of `method=cons` with the same seed, model and segments samples the very same traces, as far as a method's segment
boundaries lie on the same grid; its answers are looked up here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pruner.errors import InputError
from pruner.judges.base import Bench, WithoutRequests
from pruner.traces import Fact, Key, PairKey, Verdict

KeyOf = Callable[[str], str]


@dataclass(frozen=True)
class KnownTrace:
    """How a trace began and what it answered in the end."""

    text: str
    answer: str | None


class OracleJudge(WithoutRequests):
    """1 for two traces with equal final answers, 0 for others; free of charge."""

    name = "oracle"

    def __init__(self, traces: Mapping[tuple[str, int], KnownTrace], key_of: KeyOf) -> None:
        """Args: traces: by problem id and trace index. key_of: an answer's canonical key."""
        self._traces = traces
        self._key_of = key_of

    def verdict(self, pair: PairKey, bench: Bench, known: Mapping[Key, Fact]) -> Verdict:
        recorded = known.get(pair)
        if isinstance(recorded, Verdict):
            return recorded
        left, right = (self._answer(index, bench) for index in (pair.left_trace, pair.right_trace))
        is_same = left is not None and right is not None and self._key_of(left) == self._key_of(right)
        return Verdict(pair, 1.0 if is_same else 0.0)

    def _answer(self, index: int, bench: Bench) -> str | None:
        problem_id, prefix = bench.problem.problem_id, bench.traces[index].prefix.text
        trace = self._traces.get((problem_id, index))
        if trace is None or not trace.text.startswith(prefix):
            reason = "has no such trace" if trace is None else "has another trace there"
            raise InputError(
                f"judge.source: {reason} (problem {problem_id}, trace {index}). It must be a run of method=cons with the "
                "same seed, model and budget, and with sampler.segment_tokens such that prefixes end on it."
            )
        return trace.answer
