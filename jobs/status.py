"""How far runs are: `python -m jobs.status outputs/<run> ...`, or `outputs` for one line per run. Works while they go on.

With --watch it shows them again and again until every shard is done. Of shards that nobody works on, it says what Slurm's queue says.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from jobs.command import Arguments, ended, runs_below
from pruner.errors import InputError
from pruner.results.status import Manifest, describe, headline, jobs_of, read_manifest, to_json
from pruner.system import slurm
from pruner.system.lines import print_warnings

# So often a watched run is read again; the queue more rarely, which a controller has many to answer for.
_WATCH_S, _QUEUE_S = 5.0, 30.0
# Clears the screen and goes to its first line.
_CLEAR = "\x1b[2J\x1b[H"


def main() -> int:
    parser = Arguments(description="Show which shards are done, running, resumable or failed.")
    parser.add_argument(
        "paths", nargs="*", type=Path, default=[Path("outputs")], help="runs' folders, or one of many runs"
    )
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.add_argument(
        "--watch", action="store_true", help="show it again every few seconds, until all shards are done"
    )
    arguments = parser.parse_args()
    if arguments.watch:
        return ended(lambda: _watch(arguments.paths, arguments.json))
    return ended(lambda: print(_status(_read(arguments.paths), arguments.paths, arguments.json, _Queue())))


def _watch(paths: list[Path], as_json: bool) -> None:
    """Show runs until all of their shards are done. A stop ends it as any program that only reads."""
    queue = _Queue()
    while True:
        manifests = _read(paths)
        shown = _status(manifests, paths, as_json, queue)
        print(
            f"{_CLEAR}{time.strftime('%H:%M:%S')}\n{shown}" if sys.stdout.isatty() and not as_json else shown,
            flush=True,
        )
        if all(manifest.counts.keys() <= {"done"} for manifest in manifests):
            return
        time.sleep(_WATCH_S)


class _Queue:
    """What Slurm's queue says of runs' jobs, remembered for a while."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}
        self._jobs: list[str] = []
        self._asked_at = 0.0

    def of(self, manifest: Manifest) -> dict[str, str]:
        jobs = [] if manifest.counts.keys() <= {"done", "running"} else jobs_of(manifest)
        if jobs and (jobs != self._jobs or time.monotonic() - self._asked_at >= _QUEUE_S):
            self._said, self._jobs, self._asked_at = slurm.queue(jobs), jobs, time.monotonic()
        return self._said if jobs else {}


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


def _status(manifests: list[Manifest], paths: list[Path], as_json: bool, queue: _Queue) -> str:
    if as_json:
        return to_json(manifests)
    if [manifest.path for manifest in manifests] != paths:
        return "\n".join(headline(manifest) for manifest in manifests)
    return "\n".join(describe(manifest, queue.of(manifest)) for manifest in manifests)


if __name__ == "__main__":
    sys.exit(main())
