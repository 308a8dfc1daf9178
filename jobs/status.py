"""How far runs are: `python -m jobs.status outputs/<run> ...`, or `outputs` for a line a run. Works while they go on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pruner.errors import InputError
from pruner.manifest import describe, headline, read_manifest, to_json


def main() -> int:
    parser = argparse.ArgumentParser(description="Show which shards are done, running, resumable or failed.")
    parser.add_argument(
        "paths", nargs="*", type=Path, default=[Path("outputs")], help="runs' folders, or one of many runs"
    )
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    arguments = parser.parse_args()
    try:
        folders = [folder for path in arguments.paths for folder in runs_below(path)]
        manifests = [read_manifest(folder) for folder in folders]
    except InputError as error:
        print(*(f"error: {fault}" for fault in error.faults), sep="\n", file=sys.stderr)
        return 2
    show = headline if folders != arguments.paths else describe
    print(to_json(manifests) if arguments.json else "\n".join(show(manifest) for manifest in manifests))
    return 0


def runs_below(path: Path) -> list[Path]:
    """Return the run itself, or the runs in a folder of runs."""
    if (path / "run.json").exists():
        return [path]
    return sorted(each.parent for each in path.glob("*/run.json")) or [path]


if __name__ == "__main__":
    sys.exit(main())
