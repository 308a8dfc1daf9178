"""How far runs are: `python -m jobs.status outputs/<run> ...`, or `outputs` for a line a run. Works while they go on."""

from __future__ import annotations

import sys
from pathlib import Path

from jobs.command import Arguments, ended, runs_below
from pruner.manifest import describe, headline, read_manifest, to_json


def main() -> int:
    parser = Arguments(description="Show which shards are done, running, resumable or failed.")
    parser.add_argument(
        "paths", nargs="*", type=Path, default=[Path("outputs")], help="runs' folders, or one of many runs"
    )
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    arguments = parser.parse_args()
    return ended(lambda: print(_status(arguments.paths, arguments.json)))


def _status(paths: list[Path], as_json: bool) -> str:
    folders = [folder for path in paths for folder in runs_below(path)]
    manifests = [read_manifest(folder) for folder in folders]
    if as_json:
        return to_json(manifests)
    show = headline if folders != paths else describe
    return "\n".join(show(manifest) for manifest in manifests)


if __name__ == "__main__":
    sys.exit(main())
