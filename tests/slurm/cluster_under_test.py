"""Talk to the throw-away cluster as its user does: sbatch, squeue, scontrol."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from tests.live.jobs_under_test import PROJECT

WAIT_S = 420
ENDED = {"CD", "F", "CA", "TO", "NF"}


def slurm(*command: str) -> str:
    """Run a command of Slurm's; return what it printed."""
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
    return result.stdout


def submit(folder: Path, *arguments: str, options: tuple[str, ...] = ()) -> str:
    """Submit the main job with its log in a folder; return its id."""
    output = f"--output={folder}/log-%A_%a.txt"
    run = (f"run.root={folder}", "run.name=run")
    return slurm("sbatch", "--parsable", output, *options, "slurm/run.sh", *run, *arguments).strip()


def queue(job: str) -> list[tuple[str, str, str, str]]:
    """Return (id, state, start time, reason) of each task of a job, ended ones included."""
    command = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={job}", "--format=%i %t %S %r"]
    for _ in range(5):
        result = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if result.returncode == 0 or "Invalid job id" in result.stderr:
            return [tuple(line.split(maxsplit=3)) for line in result.stdout.splitlines()]  # type: ignore[misc]
        time.sleep(1)  # a busy machine's controller may not answer in time
    raise AssertionError(result.stderr)


def runs(job: str) -> bool:
    return any(state == "R" for _, state, _, _ in queue(job))


def has_ended(job: str) -> bool:
    """Return whether all tasks of a job have ended and stay so: one that is being requeued may look like it for a moment."""
    if not look_ended(job):
        return False
    time.sleep(1)
    return look_ended(job)


def look_ended(job: str) -> bool:
    """Return whether all tasks seem to have ended; one that waits for two minutes after a requeue is let go sooner.

    Not at once: slurmd refuses, for good, to start a job in the second in which it was killed.
    """
    tasks = queue(job)
    soon = (datetime.now() + timedelta(seconds=10)).isoformat(timespec="seconds")
    for task, state, start, reason in tasks:
        # In the moment in which its time has come, its start is N/A: let it be.
        if state == "PD" and reason == "BeginTime" and start != "N/A" and start > soon:
            subprocess.run(["scontrol", "update", f"JobId={task}", "StartTime=now+3"], capture_output=True, timeout=60)
    return all(state in ENDED for _, state, _, _ in tasks)


def wait_until(holds: Callable[[], bool], what: str, logs: Path, timeout_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            texts = "\n".join(f"{path.name}:\n{path.read_text()}" for path in sorted(logs.glob("log-*.txt")))
            raise AssertionError(f"not within {timeout_s:.0f} s: {what}\n{slurm('squeue')}\n{reports(logs)}\n{texts}")
        time.sleep(0.3)


def reports(folder: Path) -> list[dict]:
    """Return what the shards of the run reported last."""
    found = []
    for path in sorted((folder / "run/progress").glob("*.json")):
        try:
            found.append(json.loads(path.read_text()))
        except ValueError:
            continue
    return found


def preempt(folder: Path, job: str, cpus: int) -> None:
    """Let an urgent job take the node for a moment, once it has thrown every running task out."""
    wait_until(lambda: runs(job), "something runs that can be preempted", folder, 30)
    options = ("--partition=urgent", f"--ntasks={cpus}", "--output=/dev/null", "--wrap=sleep 1")
    urgent = slurm("sbatch", "--parsable", *options).strip()
    wait_until(lambda: runs(urgent) or has_ended(urgent), f"urgent job {urgent} runs", folder)
