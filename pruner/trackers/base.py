"""The interface of a tracker."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pruner.settings.section import Choice


@dataclass(frozen=True)
class TrackedRun:
    """A shard of a run that is tracked.

    Attributes:
        name: the run's, with the shard's number if there are several.
        group: the run's name.
        key: the same for every attempt at the shard, and for no other one.
        config: the run's configuration, dotted key -> value.
    """

    name: str
    group: str
    key: str
    config: Mapping[str, Any] = field(default_factory=dict)


class Tracker(Protocol):
    """An open connection, used by one thread. Whatever it raises ends the tracking and not the run."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Show numbers. step: tokens committed so far."""

    def summarize(self, numbers: Mapping[str, float]) -> None:
        """Show the run's totals."""

    def add_file(self, path: Path) -> None:
        """Keep a file with the run."""

    def close(self) -> None: ...


class TrackerConfig(Choice):
    """A tracker's address. Keys come from its own environment variables, and are never in the configuration."""

    @abstractmethod
    def open(self, run: TrackedRun) -> Tracker | None:
        """Begin or go on; None tracks nothing."""
