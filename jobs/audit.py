"""Check the cost accounting of runs: `python -m jobs.audit outputs/<run> ...`, or `outputs` for all. Ends with 1 at a difference."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.command import Arguments, ended, runs_below
from pruner.errors import InputError
from pruner.results.audit import Audit, audit


def main() -> int:
    parser = Arguments(description="Check that answers, traces and checkpoints agree on the tokens.")
    parser.add_argument(
        "paths", nargs="*", type=Path, default=[Path("outputs")], help="runs' folders, or one of many runs"
    )
    paths = parser.parse_args().paths
    return ended(lambda: _audit([folder for path in paths for folder in runs_below(path)]))


def _audit(folders: Sequence[Path]) -> int:
    """Print what was found of every run; those that cannot be read are named after the others.

    Raises:
        InputError: a run cannot be read.
    """
    audits: list[Audit] = []
    unreadable: list[str] = []
    for folder in folders:
        try:
            audits.append(audit(folder))
        except InputError as error:
            unreadable += [f"{folder.name}: not audited: {fault}" for fault in error.faults]
    if audits:
        print(*audits, sep="\n")
    if unreadable:
        raise InputError(unreadable)
    return int(any(each.faults for each in audits))


if __name__ == "__main__":
    sys.exit(main())
