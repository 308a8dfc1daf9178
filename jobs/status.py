"""Progress of runs: `python -m jobs.status outputs/<run> ...`, or `outputs` for one line per run. Works while they go on.

Of shards that nobody works on, it says what Slurm's queue says.
"""

from __future__ import annotations

import sys
from pathlib import Path

from jobs.command import Arguments, ended, runs_below
from pruner.errors import InputError
from pruner.results.status import Manifest, describe, headline, jobs_of, read_manifest, to_json
from pruner.system import slurm
from pruner.system.lines import print_warnings


def main() -> int:
    parser = Arguments(description="Show which shards are done, running, resumable or failed.")
    parser.add_argument(
        "paths", nargs="*", type=Path, default=[Path("outputs")], help="runs' folders, or one of many runs"
    )
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    arguments = parser.parse_args()
    return ended(lambda: print(_status(arguments.paths, arguments.json)))


def _read(paths: list[Path]) -> list[Manifest]:
    folders = [folder for path in paths for folder in runs_below(path)]
    manifests = []
    for folder in folders:
        try:
            manifests.append(read_manifest(folder))
        except InputError as error:
            if len(folders) == 1:
                raise
            print_warnings(f"{fault} It is left out." for fault in error.faults)
    return manifests


def _status(paths: list[Path], as_json: bool) -> str:
    manifests = _read(paths)
    if as_json:
        return to_json(manifests)
    if [manifest.path for manifest in manifests] != paths:
        return "\n".join(headline(manifest) for manifest in manifests)
    return "\n".join(describe(manifest, _queue(manifest)) for manifest in manifests)


def _queue(manifest: Manifest) -> dict[str, str]:
    """Return what Slurm's queue says of a run's jobs; it is asked only if a shard waits."""
    jobs = [] if manifest.counts.keys() <= {"done", "running"} else jobs_of(manifest)
    return slurm.queue(jobs) if jobs else {}


if __name__ == "__main__":
    sys.exit(main())
