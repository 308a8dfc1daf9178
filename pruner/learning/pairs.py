"""Labelled pairs of prefixes, for training and judging judges. Pure: knows no tokenizer, model or disk.

A pair is two traces of one problem, each cut where the main job would cut it for its judge, and whether their final
answers are equal. Folds are drawn by problem, never by pair: pairs of one problem share its difficulty.

Source: DeepPrune (arXiv 2510.08483): 16 traces per problem, all C(16, 2) = 120 pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from pruner.records.traces import Segment, Trace, hash64, segment_end
from pruner.rules.prefix import Prefix, Truncation


@dataclass(frozen=True)
class Recorded:
    """A finished trace as it was recorded.

    Attributes:
        token_ids: of its text, by whichever tokenizer the prefix is counted in.
        token_ends: token_ends[i] is where token i ends in the text, in characters.
    """

    problem_id: str
    trace_index: int
    question: str
    text: str
    answer: str | None
    token_ids: tuple[int, ...]
    token_ends: tuple[int, ...]
    problem_set: str = ""
    model: str = ""


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


def recorded_prefix(recorded: Recorded, truncation: Truncation, segment_tokens: int) -> Prefix | None:
    """Return the prefix that the main job would have judged; None if the trace finishes before it is complete.

    The recorded trace is cut into the segments that the main job would have sampled.
    """
    trace = Trace(recorded.problem_id, recorded.trace_index)
    total = len(recorded.token_ids)
    while True:
        start = trace.num_tokens
        end = min(total, segment_end(start, segment_tokens, truncation.max_tokens, max(total, start + 1)))
        if end == total:
            return None
        text = recorded.text[len(trace.text) : recorded.token_ends[end - 1]]
        trace = trace.append(Segment(trace.next_key, end - start, recorded.token_ids[start:end], text, None, 0, 0))
        prefix = truncation.prefix(trace)
        if prefix is not None:
            return prefix


@dataclass(frozen=True)
class PairRule:
    """Which pairs of a problem are taken.

    Attributes:
        segment_tokens: length of the segments that the main job would have sampled.
        traces_per_problem: take so many of the lowest indexes; None takes all.
        pairs_per_problem: draw so many by hash; None takes all.
    """

    segment_tokens: int
    traces_per_problem: int | None
    pairs_per_problem: int | None
    seed: int


def label_pairs(
    traces: Sequence[Recorded], truncation: Truncation, rule: PairRule, key_of: Callable[[str], str], fold: int
) -> list[LabelledPair]:
    """Return the pairs of one problem, by trace indexes.

    Args:
        traces: of one problem, in any order; those without an answer or without a complete prefix are left out.
        key_of: an answer's canonical key; a pair's label is whether its keys are equal.
    """
    answered = sorted((trace for trace in traces if trace.answer is not None), key=lambda trace: trace.trace_index)
    prefixed = [(t, p) for t in answered if (p := recorded_prefix(t, truncation, rule.segment_tokens)) is not None]
    pairs = list(combinations(prefixed[: rule.traces_per_problem], 2))
    pairs.sort(
        key=lambda pair: hash64(
            rule.seed, "pair", pair[0][0].problem_id, pair[0][0].trace_index, pair[1][0].trace_index
        )
    )
    labelled = []
    for (left, left_prefix), (right, right_prefix) in pairs[: rule.pairs_per_problem]:
        assert left.answer is not None and right.answer is not None
        labelled.append(
            LabelledPair(
                problem_id=left.problem_id,
                question=left.question,
                left_trace=left.trace_index,
                right_trace=right.trace_index,
                left=left_prefix.text,
                right=right_prefix.text,
                left_tokens=left_prefix.num_tokens,
                right_tokens=right_prefix.num_tokens,
                left_answer=left.answer,
                right_answer=right.answer,
                label=int(key_of(left.answer) == key_of(right.answer)),
                fold=fold,
                problem_set=left.problem_set,
                model=left.model,
            )
        )
    return sorted(labelled, key=lambda pair: (pair.left_trace, pair.right_trace))


def drawn_pairs(pairs: Iterable[LabelledPair], pairs_per_problem: int | None, seed: int) -> list[LabelledPair]:
    """Return at most so many pairs of each problem, drawn by hash, in their order."""
    by_problem: dict[tuple[str, str], list[LabelledPair]] = {}
    for pair in pairs:
        by_problem.setdefault((pair.problem_set, pair.problem_id), []).append(pair)
    kept = []
    for (_, problem_id), group in by_problem.items():
        drawn = sorted(group, key=lambda pair: hash64(seed, "draw", problem_id, pair.left_trace, pair.right_trace))
        chosen = {(pair.left_trace, pair.right_trace) for pair in drawn[:pairs_per_problem]}
        kept += [pair for pair in group if (pair.left_trace, pair.right_trace) in chosen]
    return kept


def folds_by_problem(problem_ids: Iterable[str], num_folds: int, seed: int) -> dict[str, int]:
    """Return each problem's fold in [0, num_folds): sizes differ by one at most, and row order plays no part."""
    shuffled = sorted(set(problem_ids), key=lambda problem_id: (hash64(seed, "fold", problem_id), problem_id))
    return {problem_id: place % num_folds for place, problem_id in enumerate(shuffled)}
