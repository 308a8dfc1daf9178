"""What the programs without Hydra share: errors become lines and an exit code, and a path is a run or a folder of runs."""

from __future__ import annotations

import argparse
import glob
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from pruner.errors import CheckpointError, InputError
from pruner.settings.section import local_path
from pruner.system.lines import print_errors

# The shipped queries.
QUERIES = Path(__file__).parents[1] / "conf" / "query"


class Arguments(argparse.ArgumentParser):
    """A parser whose complaints are one line like all others."""

    def error(self, message: str) -> NoReturn:
        print_errors([f"{message}. See {self.prog} --help."])
        sys.exit(2)


def ended(work: Callable[[], int | None]) -> int:
    """Do the work and return its exit code, or that of its error, which is printed: 2 bad input, 1 a fault."""
    try:
        code = work() or 0
        sys.stdout.flush()  # a full disk is an error too
        return code
    except InputError as error:
        print_errors(error.faults)
        return 2
    except (CheckpointError, OSError) as error:
        print_errors([str(error)])
        return 1


def is_run(path: Path) -> bool:
    return (path / "run.json").exists()


def root_and_run(path: Path) -> tuple[Path, str | None]:
    """Return the folder of runs and, where the path is one run's folder, that run's name.

    Raises:
        InputError: no folder can have that path.
    """
    path = local_path(path)
    if not is_run(path):
        return path, None
    path = path if path.name else path.resolve()
    return path.parent, path.name


def runs_below(path: Path) -> list[Path]:
    """Return the run itself, or the runs in a folder of runs."""
    path = local_path(path)
    if is_run(path):
        return [path if path.name else path.resolve()]
    return sorted(Path(each).parent for each in glob.glob(f"{glob.escape(str(path))}/*/run.json")) or [path]
