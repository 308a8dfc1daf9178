"""Votes over the answers of finished traces. Pure: answers with equal keys are equal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pruner.records.traces import FinalAnswer


@dataclass(frozen=True)
class Vote:
    """One answer and who is for it.

    Attributes:
        answer: as the trace with the lowest index spelled it.
        traces: indexes of the traces that gave it, ascending.
        weight: the sum of their weights; their number in a plain vote.
    """

    answer: FinalAnswer
    traces: tuple[int, ...]
    weight: float


def group_answers(answers: Iterable[tuple[int, FinalAnswer | None]]) -> dict[str, list[tuple[int, FinalAnswer]]]:
    """Group (trace_index, answer) by the answers' keys, each group in trace order; traces without an answer are left out."""
    groups: dict[str, list[tuple[int, FinalAnswer]]] = {}
    for trace_index, answer in sorted(answers, key=lambda item: item[0]):
        if answer is not None:
            groups.setdefault(answer.key, []).append((trace_index, answer))
    return groups


def majority_vote(
    answers: Iterable[tuple[int, FinalAnswer | None]], weights: dict[int, float] | None = None
) -> tuple[Vote, ...]:
    """Return the votes, most weight first; ties go to the answer that the lowest trace index gave.

    Args:
        answers: (trace_index, answer) of finished traces, in any order.
        weights: by trace index; 1 each if None.

    Source: self-consistency (Wang et al. 2022).
    """
    votes = [
        Vote(
            members[0][1],
            tuple(index for index, _ in members),
            float(sum(1.0 if weights is None else weights[index] for index, _ in members)),
        )
        for members in group_answers(answers).values()
    ]
    return tuple(sorted(votes, key=lambda vote: (-vote.weight, vote.traces[0])))


def winner(votes: Sequence[Vote]) -> FinalAnswer | None:
    """Return the leading answer, or None when nobody voted."""
    return votes[0].answer if votes else None


def tied(votes: Sequence[Vote]) -> tuple[Vote, ...]:
    """Return the votes that weigh as much as the first one: more than one where there is a tie."""
    return tuple(vote for vote in votes if vote.weight == votes[0].weight)


def credit(votes: Sequence[Vote]) -> float:
    """Return what a vote is worth if ties were broken by lot: 1/k where the right answer is one of k that lead together, else 0."""
    first = tied(votes)
    return sum(vote.answer.correct == 1 for vote in first) / len(first) if first else 0.0
