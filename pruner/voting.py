"""Votes over the answers of finished traces. Pure: what makes two answers equal is passed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

Equivalent = Callable[[str, str], bool]


@dataclass(frozen=True)
class Vote:
    """One answer and who is for it.

    Attributes:
        answer: as the trace with the lowest index spelled it.
        traces: indexes of the traces that gave it, ascending.
        weight: the sum of their weights; their number in a plain vote.
    """

    answer: str
    traces: tuple[int, ...]
    weight: float


def group_answers(answers: Iterable[tuple[int, str | None]], equivalent: Equivalent) -> list[tuple[str, list[int]]]:
    """Group (trace_index, answer) by equivalence, in trace order; traces without an answer are left out.

    Each answer joins the first group whose spelling it is equivalent to, so the result does not depend on the order in
    which traces finished.
    """
    groups: list[tuple[str, list[int]]] = []
    group_of: dict[str, list[int]] = {}
    for trace_index, answer in sorted(answers, key=lambda item: item[0]):
        if answer is None:
            continue
        if answer not in group_of:
            members = next((members for spelling, members in groups if equivalent(spelling, answer)), None)
            if members is None:
                members = []
                groups.append((answer, members))
            group_of[answer] = members
        group_of[answer].append(trace_index)
    return groups


def majority_vote(
    answers: Iterable[tuple[int, str | None]], equivalent: Equivalent, weights: dict[int, float] | None = None
) -> tuple[Vote, ...]:
    """Return the votes, most weight first; ties go to the answer that the lowest trace index gave.

    Args:
        answers: (trace_index, answer) of finished traces, in any order.
        weights: by trace index; 1 each if None.

    Source: self-consistency (Wang et al. 2022).
    """
    votes = [
        Vote(answer, tuple(members), float(sum(1.0 if weights is None else weights[i] for i in members)))
        for answer, members in group_answers(answers, equivalent)
    ]
    return tuple(sorted(votes, key=lambda vote: (-vote.weight, vote.traces[0])))


def winner(votes: Sequence[Vote]) -> str | None:
    """Return the leading answer, or None when nobody voted."""
    return votes[0].answer if votes else None
