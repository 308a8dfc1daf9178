"""Facts and rows between two commits."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Protocol

from pruner.checkpoint.config import CheckpointConfig
from pruner.records.rows import AnswerRow, TraceRow
from pruner.records.traces import Fact, Segment


class FactStore(Protocol):
    """Where facts go; see store.Store."""

    def append(self, facts: list[Fact], answers: list[AnswerRow], traces: list[TraceRow]) -> None: ...


class Commits:
    """Collects facts and rows, and commits them at the config's intervals.

    Args:
        store: takes all of a commit or nothing.
    """

    def __init__(self, store: FactStore, config: CheckpointConfig) -> None:
        self._store = store
        self._config = config
        self._committed_at = time.monotonic()
        self._num_segments = 0
        self._facts: list[Fact] = []
        self._answers: list[AnswerRow] = []
        self._traces: list[TraceRow] = []

    @property
    def is_empty(self) -> bool:
        return not self._facts and not self._answers

    @property
    def is_due(self) -> bool:
        """Whether the next commit is, by time or by segments."""
        is_late = time.monotonic() - self._committed_at >= self._config.every_s
        return is_late or self._num_segments >= self._config.every_segments

    def add(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            self._facts.append(fact)
            self._num_segments += isinstance(fact, Segment)

    def finish(self, answer: AnswerRow, traces: Sequence[TraceRow]) -> None:
        """Add the rows of an answered problem."""
        self._answers.append(answer)
        self._traces += traces

    def commit(self) -> None:
        """Commit what was collected.

        Raises:
            CheckpointError: it is not committed, and lost to this process.
        """
        facts, answers, traces = self._facts, self._answers, self._traces
        self._facts, self._answers, self._traces = [], [], []
        self._num_segments = 0
        self._store.append(facts, answers, traces)
        self._committed_at = time.monotonic()
