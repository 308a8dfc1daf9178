"""A run of the main job that a benchmark looks into afterwards."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pruner.errors import EngineError

RUN = "run"


def run_job(root: Path, overrides: Sequence[str]) -> float:
    """Run the main job in a process of its own; return its wall seconds.

    Raises:
        EngineError: it failed.
    """
    started = time.monotonic()
    command = [sys.executable, "-m", "jobs.run", f"run.root={root}", f"run.name={RUN}", *overrides]
    result = subprocess.run(command, stdout=subprocess.DEVNULL)
    if result.returncode != 0:
        raise EngineError(f"jobs.run ended with code {result.returncode}")
    return time.monotonic() - started


def last_attempt(root: Path) -> dict[str, Any]:
    """Return the attempt's row: times, tokens, what the engine's cache served."""
    return rows(root, "attempts")[-1]


def rows(root: Path, table: str) -> list[dict[str, Any]]:
    """Return all rows of a run's table."""
    files = sorted((root / RUN / table).glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]
