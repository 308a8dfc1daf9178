"""Check the books of runs: `python -m jobs.audit outputs/<run> ...`, or `outputs` for all. Ends with 1 at a difference."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from jobs.status import runs_below
from pruner.auditing import audit
from pruner.errors import InputError


def main() -> int:
    parser = argparse.ArgumentParser(description="Check that answers, traces and checkpoints tell of the same tokens.")
    parser.add_argument(
        "paths", nargs="*", type=Path, default=[Path("outputs")], help="runs' folders, or one of many runs"
    )
    try:
        audits = [audit(folder) for path in parser.parse_args().paths for folder in runs_below(path)]
    except InputError as error:
        print(*(f"error: {fault}" for fault in error.faults), sep="\n", file=sys.stderr)
        return 2
    print(*audits, sep="\n")
    return int(any(each.faults for each in audits))


if __name__ == "__main__":
    sys.exit(main())
