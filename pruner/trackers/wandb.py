"""Weights & Biases. Its key is in WANDB_API_KEY or its own login file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pruner.settings.section import FilePath
from pruner.trackers.base import TrackedRun, Tracker, TrackerConfig


class WandbTrackerConfig(TrackerConfig):
    """mode: `offline` writes below dir, for `wandb sync`. dir: for its files. entity: null: the one that the key belongs to."""

    name: Literal["wandb"]
    project: str = "pruner"
    entity: str | None = None
    mode: Literal["online", "offline"] = "online"
    dir: FilePath = ".cache"

    def open(self, run: TrackedRun) -> Tracker | None:
        import wandb

        Path(self.dir).mkdir(parents=True, exist_ok=True)
        opened = wandb.init(
            project=self.project,
            entity=self.entity,
            mode=self.mode,
            dir=self.dir,
            name=run.name,
            group=run.group,
            id=run.key,
            resume="allow",
            config=dict(run.config),
            settings=wandb.Settings(console="off", init_timeout=30, silent=True),
        )
        return _Wandb(wandb, opened)


class _Wandb:
    def __init__(self, library: Any, run: Any) -> None:
        self._library, self._run = library, run

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def summarize(self, numbers: Mapping[str, float]) -> None:
        self._run.summary.update({f"run/{name}": value for name, value in numbers.items()})

    def add_file(self, path: Path) -> None:
        artifact = self._library.Artifact(f"{path.stem}-{self._run.id}", type="report")
        artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def close(self) -> None:
        self._run.finish()
