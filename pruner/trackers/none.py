"""No tracker."""

from __future__ import annotations

from typing import Literal

from pruner.trackers.base import TrackedRun, Tracker, TrackerConfig


class NoTrackerConfig(TrackerConfig):
    name: Literal["none"] = "none"

    def open(self, run: TrackedRun) -> Tracker | None:
        return None
