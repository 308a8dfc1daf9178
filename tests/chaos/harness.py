"""Start the main job with the simulated sampler, do something bad to it at a random moment, resume it, compare.

    python -m tests.chaos.harness --kills 1000 --seed 0 [method=deepconf_online ...]

Each attempt is a process of its own, forked from one that has imported everything, so that most of its life is work and
a thousand kills take minutes. It prints how many of what it did, and ends with 1 at the first difference.
"""

from __future__ import annotations

import argparse
import os
import random
import runpy
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import duckdb

import jobs.run  # noqa: F401  # what the forked processes need not import again
from pruner.auditing import audit
from tests.live.jobs_under_test import table

CONFIG = (
    "sampler=simulated",
    "problems.limit=10",
    "budget=8",
    "run.name=run",
    "checkpoint.every_segments=3",
    "checkpoint.lock_wait_s=20",
    "progress.interval_s=1000",
)
SLOW = ("sampler.step_s=0.008", "sampler.max_running_traces=6")
TABLES = ("answers", "traces", "verdicts", "probes")
# What is done to an attempt, and how often in a hundred.
EVENTS = {"SIGKILL": 55, "SIGTERM": 12, "SIGUSR1": 12, "SIGINT": 6, "SIGSTOP": 10, "none": 5}


class Difference(Exception):
    """What must never happen."""


def start(root: Path, *overrides: str) -> int:
    """Fork a process that runs the main job; return its pid."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        log = os.open(root.with_suffix(".log"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.argv = ["jobs.run", *CONFIG, f"run.root={root}", *overrides]
        runpy.run_module("jobs.run", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except KeyboardInterrupt:  # before the job took over the signals
        code = 130
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int, timeout_s: float | None = None) -> int | None:
    """Return a process's exit code, negative for a signal; None if it still lives after the time."""
    deadline = time.monotonic() + (1e9 if timeout_s is None else timeout_s)
    while True:
        found, status = os.waitpid(pid, 0 if timeout_s is None else os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.002)


def run(root: Path, *overrides: str) -> None:
    """Run the main job to its end."""
    code = wait(start(root, *overrides))
    if code != 0:
        raise Difference(f"exit code {code}\n{root.with_suffix('.log').read_text()[-3000:]}")


def hurt(pid: int, event: str, delay_s: float) -> int:
    """Do something to a running attempt after a while; return its exit code."""
    code = wait(pid, delay_s)
    if code is not None:
        return code
    if event == "SIGSTOP":
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.05)
        os.kill(pid, signal.SIGCONT)
    elif event != "none":
        os.kill(pid, signal.Signals[event])
    return wait(pid)  # type: ignore[return-value]


def segments(root: Path) -> dict[tuple[str, int, int], tuple[tuple[int, ...], int]]:
    """Return what is committed: key -> (tokens, attempt).

    Raises:
        Difference: a key is there twice.
    """
    path = root / "run/checkpoint/shard=0000.duckdb"
    if not path.exists():
        return {}
    with duckdb.connect(str(path), read_only=True) as connection:
        sql = "SELECT problem_id, trace_index, segment_index, token_ids, attempt FROM segments"
        rows = connection.execute(sql).fetchall()
    found = {(p, t, s): (tuple(ids), attempt) for p, t, s, ids, attempt in rows}
    if len(found) != len(rows):
        raise Difference(f"{len(rows) - len(found)} doubled segments")
    return found


def results(root: Path) -> list[bytes]:
    """Return every table of the run, without columns that only measure, as bytes.

    Raises:
        Difference: its books do not balance.
    """
    found = audit(root / "run")
    if found.faults or found.unchecked:
        raise Difference(str(found))
    tables = [table(root, name) for name in TABLES]
    return [repr((each.schema.names, each.to_pylist())).encode() for each in tables]


def kill_many(folder: Path, kills: int, seed: int, *overrides: str) -> Counter[str]:
    """Hurt attempts until so many were killed or signalled; return how many of what happened.

    Raises:
        Difference: something was lost, doubled or came out differently.
    """
    draw = random.Random(seed)
    done: Counter[str] = Counter()
    run(folder / "reference", *overrides)
    expected, whole = results(folder / "reference"), segments(folder / "reference")
    names, weights = list(EVENTS), list(EVENTS.values())
    number = 0
    while done["kills and signals"] < kills:
        number += 1
        root = folder / f"run{number}"
        committed: dict[tuple[str, int, int], tuple[tuple[int, ...], int]] = {}
        code = None
        while code != 0:
            event = draw.choices(names, weights)[0]
            code = hurt(start(root, *SLOW, *overrides), event, draw.uniform(0.05, 0.9))
            done["attempts"] += 1
            if code == 0 or event == "none":
                done["attempts left alone or too quick"] += 1
            else:
                done[event] += 1
                done["kills and signals"] += 1
            if code not in (0, 75, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGUSR1, -signal.SIGINT, 130):
                raise Difference(f"run {number}: exit code {code}\n{root.with_suffix('.log').read_text()[-3000:]}")
            now = segments(root)
            lost = [key for key, value in committed.items() if now.get(key) != value]
            if lost:
                raise Difference(f"run {number}: {len(lost)} committed segments lost or sampled again, first {lost[0]}")
            committed = now
        if results(root) != expected:
            raise Difference(f"run {number}: other results")
        if {key: ids for key, (ids, _) in committed.items()} != {key: ids for key, (ids, _) in whole.items()}:
            raise Difference(f"run {number}: other segments")
        done["runs finished and equal"] += 1
        done["segments compared"] += len(committed)
    return done


def report(done: Counter[str]) -> str:
    return "\n".join(f"{count:>8,}  {name}" for name, count in sorted(done.items(), key=lambda item: -item[1]))


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill simulated runs at random moments and compare.")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("overrides", nargs="*", help="of the main job's config")
    arguments = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = kill_many(Path(folder), arguments.kills, arguments.seed, *arguments.overrides)
        except Difference as error:
            print(f"DIFFERENCE: {error}", file=sys.stderr)
            return 1
    print(report(done))
    print(f"0 lost or doubled segments, equal results each time, in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
