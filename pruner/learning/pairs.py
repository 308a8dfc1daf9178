"""Labelled pairs of prefixes, for training and judging judges. Pure: knows no tokenizer, model or disk.

A pair is two traces of one problem, each cut where the main job would cut it for its judge, and whether their final
answers are equal. Folds are drawn by problem, never by pair: pairs of one problem share its difficulty.

Source: DeepPrune (arXiv 2510.08483): 16 traces per problem, all C(16, 2) = 120 pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from pruner.learning.config import PairsConfig
from pruner.records.traces import Segment, Trace, hash64, segment_end
from pruner.rules.prefix import Prefix, Truncation


@dataclass(frozen=True)
class PrefixedTrace:
    """A finished trace that a pair can have. answer_key: the answer's canonical key."""

    trace_index: int
    prefix: Prefix
    answer: str
    answer_key: str


@dataclass(frozen=True)
class PairSource:
    """A problem whose traces are paired. model: whose traces they are."""

    problem_id: str
    question: str
    fold: int
    problem_set: str
    model: str


@dataclass(frozen=True)
class LabelledPair:
    """Two prefixes of one problem. label: 1 where the final answers are equal, 0 where not."""

    problem_id: str
    question: str
    left_trace: int
    right_trace: int
    left: str
    right: str
    left_tokens: int
    right_tokens: int
    left_answer: str
    right_answer: str
    label: int
    fold: int
    problem_set: str = ""
    model: str = ""

    @property
    def problem(self) -> str:
        """The problem's name among the problems of several sets."""
        return f"{self.problem_set}/{self.problem_id}"


def recorded_prefix(
    text: str, token_ids: Sequence[int], token_ends: Sequence[int], truncation: Truncation, segment_tokens: int
) -> Prefix | None:
    """Return the prefix that the main job would have judged; None if the trace finishes before it is complete.

    The recorded trace is cut into the segments that the main job would have sampled.

    Args:
        token_ids: of the text, by whichever tokenizer the prefix is counted in.
        token_ends: token_ends[i] is where token i ends in the text, in characters.
    """
    trace = Trace("", 0)
    total = len(token_ids)
    while True:
        start = trace.num_tokens
        end = min(total, segment_end(start, segment_tokens, truncation.max_tokens, max(total, start + 1)))
        if end == total:
            return None
        piece = text[len(trace.text) : token_ends[end - 1]]
        trace = trace.append(Segment(trace.next_key, end - start, tuple(token_ids[start:end]), piece, None, 0, 0))
        prefix = truncation.prefix(trace)
        if prefix is not None:
            return prefix


def label_pairs(source: PairSource, traces: Sequence[PrefixedTrace], config: PairsConfig) -> list[LabelledPair]:
    """Return the pairs of one problem. traces: by index; a pair's label is whether the keys of its answers are equal."""
    pairs = [
        LabelledPair(
            left_trace=left.trace_index,
            right_trace=right.trace_index,
            left=left.prefix.text,
            right=right.prefix.text,
            left_tokens=left.prefix.num_tokens,
            right_tokens=right.prefix.num_tokens,
            left_answer=left.answer,
            right_answer=right.answer,
            label=int(left.answer_key == right.answer_key),
            **vars(source),
        )
        for left, right in combinations(traces[: config.traces_per_problem], 2)
    ]
    return _drawn(pairs, config.pairs_per_problem, config.seed, "pair")


def drawn_pairs(pairs: Iterable[LabelledPair], pairs_per_problem: int | None, seed: int) -> list[LabelledPair]:
    """Return at most `pairs_per_problem` pairs of each problem, drawn by hash, in their order."""
    by_problem: dict[str, list[LabelledPair]] = {}
    for pair in pairs:
        by_problem.setdefault(pair.problem, []).append(pair)
    return [pair for group in by_problem.values() for pair in _drawn(group, pairs_per_problem, seed, "draw")]


def _drawn(pairs: Sequence[LabelledPair], count: int | None, seed: int, purpose: str) -> list[LabelledPair]:
    """Return `count` of one problem's pairs, in their order."""

    def rank(pair: LabelledPair) -> int:
        return hash64(seed, purpose, pair.problem_id, pair.left_trace, pair.right_trace)

    places = sorted(range(len(pairs)), key=lambda place: rank(pairs[place]))[:count]
    return [pairs[place] for place in sorted(places)]


def folds_by_problem(problem_ids: Iterable[str], num_folds: int, seed: int) -> dict[str, int]:
    """Return each problem's fold in [0, num_folds): sizes differ by one at most, and row order plays no part."""
    shuffled = sorted(set(problem_ids), key=lambda problem_id: (hash64(seed, "fold", problem_id), problem_id))
    return {problem_id: place % num_folds for place, problem_id in enumerate(shuffled)}
