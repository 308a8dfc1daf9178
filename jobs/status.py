"""How far runs are: `python -m jobs.status outputs/<run> ...`, or `outputs` for one line per run. Works while they go on."""

from __future__ import annotations

import sys
from pathlib import Path

from jobs.command import Arguments, ended, runs_below
from pruner.errors import InputError
from pruner.lines import print_warnings
from pruner.results.status import describe, headline, read_manifest, to_json


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
    manifests = []
    for folder in folders:
        try:
            manifests.append(read_manifest(folder))
        except InputError as error:
            if len(folders) == 1:
                raise
            print_warnings(f"{fault} It is left out." for fault in error.faults)
    if as_json:
        return to_json(manifests)
    show = headline if folders != paths else describe
    return "\n".join(show(manifest) for manifest in manifests)


if __name__ == "__main__":
    sys.exit(main())
