"""What is asked of a reader of answers, and what comes back: records only."""

from __future__ import annotations

from dataclasses import dataclass

from pruner.records.traces import FinalAnswer, ProbeKey, TraceKey


@dataclass(frozen=True, slots=True)
class Reading:
    """What to read: the answer that `text` ends in, or `answer` where it is known already.

    gold: what it is graded against; None: it is not graded.
    is_cut: the text ends where the token cap cut it off, so that only a closed box counts.
    """

    key: TraceKey | ProbeKey
    text: str | None = None
    answer: str | None = None
    gold: str | None = None
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """What was read. answer: None where the text gives none."""

    key: TraceKey | ProbeKey
    answer: FinalAnswer | None
