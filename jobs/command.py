"""What the programs without Hydra share: errors become lines and an exit code, and a path is a run or a folder of runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from pruner.errors import InputError


def ended(work: Callable[[], int | None]) -> int:
    """Do the work and return its exit code, or that of its error, which is printed: 2 bad input, 1 a fault."""
    try:
        code = work() or 0
        sys.stdout.flush()  # a full disk is an error too
        return code
    except InputError as error:
        print(*(f"error: {fault}" for fault in error.faults), sep="\n", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def is_run(path: Path) -> bool:
    return (path / "run.json").exists()


def root_and_run(path: Path) -> tuple[Path, str | None]:
    """Return the folder of runs and, where the path is one run's folder, that run's name."""
    return (path.parent, path.name) if is_run(path) else (path, None)


def runs_below(path: Path) -> list[Path]:
    """Return the run itself, or the runs in a folder of runs."""
    if is_run(path):
        return [path]
    return sorted(each.parent for each in path.glob("*/run.json")) or [path]
