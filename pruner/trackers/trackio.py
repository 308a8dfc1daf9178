"""Trackio: a local database, or a Space on the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pruner.trackers.base import TrackedRun, Tracker, TrackerConfig


class TrackioTrackerConfig(TrackerConfig):
    """space: a Space's id, to show it there; null: in the local database (TRACKIO_DIR), for `trackio show`."""

    name: Literal["trackio"]
    project: str = "pruner"
    space: str | None = None

    def open(self, run: TrackedRun) -> Tracker | None:
        import trackio

        opened = trackio.init(
            project=self.project,
            name=run.name,
            group=run.group,
            space_id=self.space,
            config=dict(run.config),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        return _Trackio(opened)


class _Trackio:
    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def summarize(self, numbers: Mapping[str, float]) -> None:
        self._run.log({f"run/{name}": value for name, value in numbers.items()})

    def add_file(self, path: Path) -> None:
        self._run.log_artifact(str(path), name=path.stem, type="report")

    def close(self) -> None:
        self._run.finish()
