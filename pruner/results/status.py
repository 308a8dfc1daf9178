"""The state of a run's shards, from the progress files that they write: no lock is taken, no checkpoint is opened."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pruner.checkpoint.lease import Holder, is_live, read_holder
from pruner.errors import InputError
from pruner.problems.problem_set import MAX_SHARDS
from pruner.records.progress import Progress
from pruner.results.formats import aligned
from pruner.results.run_folder import RunFolder, read_progress
from pruner.system.json_records import read_object
from pruner.system.lines import printable

STATES = ("done", "running", "resumable", "failed", "waiting", "unreadable")


@dataclass(frozen=True)
class ShardState:
    """One shard.

    Attributes:
        state: done; running (a live process holds its lease); resumable (interrupted or killed: the same command goes on);
            failed (ended by a fault, see progress.message; resumable too, once that is mended); waiting (never begun);
            unreadable (its progress file is damaged, see fault; the same command goes on).
        holder: who works on it, if it is running.
    """

    index: int
    state: str
    progress: Progress | None
    holder: Holder | None
    fault: str | None = None


@dataclass(frozen=True)
class Manifest:
    """One run. problems and tokens: of the shards that have begun; eta_s: of the slowest, None while unknown."""

    path: Path
    shards: tuple[ShardState, ...]

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(shard.state for shard in self.shards)
        return {state: found[state] for state in STATES if found[state]}

    @property
    def reports(self) -> list[Progress]:
        return [shard.progress for shard in self.shards if shard.progress is not None]

    @property
    def eta_s(self) -> float | None:
        """The time left if every shard that is not done runs on at its own last rate, all at once."""
        left = [shard.progress.eta_s if shard.progress else None for shard in self.shards if shard.state != "done"]
        known = [seconds for seconds in left if seconds is not None]
        return max(known, default=0.0) if len(known) == len(left) else None


def read_manifest(path: Path) -> Manifest:
    """Read a run's folder while others may write it.

    Raises:
        InputError: it is not the folder of a run.
    """
    try:
        values = read_object(path / "run.json")
        count = values.get("shard_count")
        if type(count) is not int or not 1 <= count <= MAX_SHARDS:
            raise ValueError(f"shard_count: got {count!r:.100}, expected 1 to {MAX_SHARDS}")
    except FileNotFoundError:
        raise InputError(f"{path}: got a folder without run.json, expected a run's, e.g. outputs/default.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path / 'run.json'}: cannot be read ({error}). Restore it.") from None
    return Manifest(path, tuple(read_shard(RunFolder(path.parent, path.name, index)) for index in range(count)))


def read_shard(folder: RunFolder) -> ShardState:
    progress, fault = None, None
    try:
        progress = read_progress(folder)
    except InputError as error:
        fault = str(error)
    holder = read_holder(folder.lease)
    if holder is not None and not is_live(folder.lease, holder):
        holder = None
    if progress is not None and progress.state == "done":
        state = "done"
    elif holder is not None:
        state = "running"
    elif fault is not None:
        state = "unreadable"
    elif progress is None:
        state = "waiting"
    else:
        state = "failed" if progress.state == "failed" else "resumable"
    return ShardState(folder.shard_index, state, progress, holder, fault)


_COLUMNS = [
    "shard",
    "state",
    "problems",
    "running",
    "finished",
    "cut",
    "unanswered",
    "segments",
    "tokens",
    "tok/s",
    "ETA",
    "attempts",
    "who",
]


def describe(manifest: Manifest, queue: Mapping[str, str] | None = None) -> str:
    """Return a headline and a table with one line per shard.

    Args:
        queue: what Slurm's queue says of jobs, by id (slurm.queue).
    """
    waits = _queued(manifest, queue or {})
    rows: list[tuple[str, ...]] = [(*_COLUMNS, *(["queue"] if waits else []), "last report")]
    for shard in manifest.shards:
        *cells, reported = _row(shard)
        rows.append((*cells, *([waits.get(shard.index, "")] if waits else []), reported))
    lines = aligned([[printable(cell) for cell in row] for row in rows])
    errors = [
        f"shard {shard.index}: {message}"
        for shard in manifest.shards
        if (message := shard.fault or (shard.progress.message if shard.progress is not None else None))
    ]
    return "\n".join([headline(manifest), *lines, *(printable(line) for line in errors)])


def jobs_of(manifest: Manifest) -> list[str]:
    """Return the Slurm jobs (of arrays, the array) that worked on the run's shards."""
    found = (shard.progress.slurm_job_id for shard in manifest.shards if shard.progress is not None)
    return sorted({job.partition("_")[0] for job in found if job})


def _queued(manifest: Manifest, queue: Mapping[str, str]) -> dict[int, str]:
    """Return what the queue says of shards that nobody works on, by index. A task of an array works on the shard of its number."""
    arrays = [job for job in jobs_of(manifest) if job not in queue]
    found = {}
    for shard in manifest.shards:
        if shard.state in ("running", "done"):
            continue
        own = shard.progress.slurm_job_id if shard.progress is not None else None
        ids = [*([own] if own else []), *(f"{array}_{shard.index}" for array in arrays)]
        if (words := next((queue[job] for job in ids if job in queue), None)) is not None:
            found[shard.index] = words
    return found


def headline(manifest: Manifest) -> str:
    reports = manifest.reports
    states = ", ".join(f"{count} {state}" for state, count in manifest.counts.items())
    problems = f"{sum(each.problems_done for each in reports)} of {sum(each.problems for each in reports)} problems"
    if len(reports) < len(manifest.shards):
        problems += f" in the {len(reports)} that began"
    tokens = f"{sum(each.tokens for each in reports):,} tokens"
    eta = "" if manifest.counts.keys() <= {"done"} else f", ETA {duration(manifest.eta_s)}"
    shards = "1 shard" if len(manifest.shards) == 1 else f"{len(manifest.shards)} shards"
    return printable(f"{manifest.path}: {shards}: {states}; {problems}, {tokens}{eta}")


def tokens_words(tokens: int, in_flight: int) -> str:
    """Return committed tokens, and those of requests that still run."""
    return f"{tokens:,} + {in_flight:,} under way" if in_flight else f"{tokens:,}"


def _row(shard: ShardState) -> tuple[str, ...]:
    index, state, progress = str(shard.index), shard.state, shard.progress
    who = str(shard.holder) if shard.holder is not None else ""
    if progress is None:
        return (index, state, *[""] * 10, who, "")
    if not who:
        job = f", Slurm job {progress.slurm_job_id}" if progress.slurm_job_id else ""
        who = f"was: host {progress.host}, pid {progress.pid}{job}"
    is_running = state == "running"
    return (
        index,
        progress.state if is_running and progress.state in ("loading", "writing") else state,
        f"{progress.problems_done}/{progress.problems}",
        str(progress.traces_running) if is_running else "",
        f"{progress.traces_finished:,}",
        f"{progress.traces_cut:,}",
        f"{progress.traces_unanswered:,}",
        f"{progress.segments:,}",
        tokens_words(progress.tokens, progress.tokens_in_flight if is_running else 0),
        f"{progress.tokens_per_s:,.0f}" if progress.tokens_per_s else "",
        duration(progress.eta_s) if is_running else "",
        str(progress.attempt),
        who,
        progress.updated_at,
    )


def to_json(manifests: Sequence[Manifest]) -> str:
    """Return everything as JSON: a list of runs."""
    runs = [
        {
            "run": str(manifest.path),
            "counts": manifest.counts,
            "eta_s": manifest.eta_s,
            "shards": [{"shard": shard.pop("index")} | shard for shard in map(asdict, manifest.shards)],
        }
        for manifest in manifests
    ]
    return json.dumps(runs, indent=1)


def duration(seconds: float | None) -> str:
    """Return hours:minutes:seconds."""
    if seconds is None:
        return "unknown"
    whole = int(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
