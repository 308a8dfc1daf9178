"""The folder of a run: where its files are, and the progress that each shard reports there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pruner.errors import InputError
from pruner.records.progress import Progress
from pruner.system.files import remove_partials, write_text
from pruner.system.json_records import read_record

SHARD_TABLES = ("answers", "traces", "verdicts", "probes", "attempts")


@dataclass(frozen=True)
class RunFolder:
    """Paths of everything of one run and one of its shards. The only place that knows these names."""

    root: Path
    name: str
    shard_index: int

    @property
    def path(self) -> Path:
        return self.root / self.name

    @property
    def run_json(self) -> Path:
        return self.path / "run.json"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint" / f"shard={self.shard_index:04d}.duckdb"

    def scratch(self, folder: Path) -> Path:
        """Return where the checkpoint is worked on below a folder that other runs use too."""
        name = hashlib.blake2b(str(self.path.resolve()).encode(), digest_size=8).hexdigest()
        return folder / f"pruner-{name}" / self.checkpoint.name

    @property
    def lease(self) -> Path:
        return self.path / "lease" / f"shard={self.shard_index:04d}.json"

    @property
    def progress(self) -> Path:
        return self.path / "progress" / f"shard={self.shard_index:04d}.json"

    def parquet(self, table: str) -> Path:
        return self.path / table / f"shard={self.shard_index:04d}.parquet"

    def trace_part(self, number: int) -> Path:
        """Return a part of a shard's traces, written while it goes on."""
        return self.path / "traces" / f"shard={self.shard_index:04d}.part={number:04d}.parquet"

    def trace_parts(self) -> list[Path]:
        """Return the parts that are there, in order."""
        found = (self.path / "traces").glob(f"shard={self.shard_index:04d}.part=*.parquet")
        return sorted(
            (path for path in found if path.stem.rpartition("=")[2].isdigit()),
            key=lambda path: int(path.stem.rpartition("=")[2]),
        )

    def remove_partials(self) -> None:
        """Remove what killed writers of this shard left. Only whoever holds its lease may call this."""
        for path in (
            self.checkpoint,
            self.progress,
            *(self.parquet(table) for table in SHARD_TABLES),
            *self.trace_parts(),
        ):
            remove_partials(path)
        remove_partials(self.trace_part(0))


def write_progress(folder: RunFolder, progress: Progress, guard: Callable[[], None] = lambda: None) -> None:
    """Replace the shard's progress file.

    Args:
        guard: raises if this process may not write the shard any more.
    """
    values = asdict(progress) | {"updated_at": datetime.now(UTC).isoformat(timespec="seconds")}
    write_text(folder.progress, json.dumps(values) + "\n", guard)


def read_progress(folder: RunFolder) -> Progress | None:
    """Return the progress that the shard last reported; None if it never did.

    Raises:
        InputError: the file is damaged; names it.
    """
    try:
        progress = read_record(folder.progress, Progress)
        datetime.fromisoformat(progress.updated_at or "2000-01-01")
        return progress
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder.progress}: unreadable ({error}). The checkpoint has the facts; the next commit writes this file again."
        ) from None
