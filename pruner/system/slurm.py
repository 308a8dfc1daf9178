"""What Slurm says of the job that this process belongs to. Reads its environment, and asks squeue for the time left."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence

from pruner.errors import InputError
from pruner.system.processes import output_of

_TIME = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(?:(\d+):)?(\d+)")


def job_id() -> str | None:
    """Return the job's id, of an array's task `<array>_<task>`; None outside of Slurm."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def num_requeued() -> int | None:
    """Return how often the job went back into the queue; None if Slurm does not say."""
    return small_number(os.environ.get("SLURM_RESTART_COUNT"))


def small_number(text: str | None) -> int | None:
    """Return a number of the environment; None if it is none that a 32-bit column holds."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None


def cpus() -> int | None:
    """Return how many CPUs the task may use; None if Slurm does not say."""
    return small_number(os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE"))


def check_one_node() -> None:
    """Refuse an allocation of several nodes: a shard is one process with the GPUs of its node. Raises InputError."""
    nodes = small_number(os.environ.get("SLURM_JOB_NUM_NODES") or os.environ.get("SLURM_NNODES"))
    if job_id() is not None and nodes is not None and nodes > 1:
        raise InputError(
            f"slurm: got an allocation of {nodes} nodes, expected one. Ask for --nodes=1, and for more shards by --array=0-N: each "
            "task works on its own node."
        )


def seconds_left() -> float | None:
    """Return how long the job may still run; None outside of Slurm, without a time limit, or if Slurm does not answer.

    The environment does not know of a limit that was changed since, so the controller is asked too.
    """
    job = job_id()
    if job is None:
        return None
    end = os.environ.get("SLURM_JOB_END_TIME", "")
    found = [int(end) - time.time()] if end.isascii() and end.isdigit() else []
    left = parse_time(output_of(["squeue", "--noheader", "--format=%L", f"--jobs={job}"]).strip())
    found += [left] if left is not None else []
    return max(0.0, min(found)) if found else None


def max_array_size() -> int | None:
    """Return how many tasks an array of this cluster may have; None without a scontrol that answers."""
    config = output_of(["scontrol", "show", "config"])
    found = re.search(r"^MaxArraySize\s*=\s*(\d{1,9})\s*$", config, re.MULTILINE)
    return int(found[1]) if found and int(found[1]) > 0 else None


def queue(jobs: Sequence[str]) -> dict[str, str]:
    """Return what squeue says of jobs, by id (of an array's task `<array>_<task>`): state, reason, and the expected start. Empty without a
    squeue that answers.

    Args:
        jobs: ids; of an array's tasks, the array's.
    """
    if not jobs:
        return {}
    asked = ["squeue", "--noheader", "--array", "--format=%i|%T|%r|%S", f"--jobs={','.join(jobs)}"]
    found = {}
    for line in output_of(asked).splitlines():
        job, *said = line.strip().split("|")
        if len(said) == 3:
            state, reason, start = said
            reason = "" if reason in ("None", "") else f" ({reason})"
            found[job] = f"{state.lower()}{reason}" + (
                f", from {start}" if state == "PENDING" and start not in ("N/A", "") else ""
            )
    return found


def parse_time(text: str) -> float | None:
    """Return the seconds of Slurm's `[days-][[hours:]minutes:]seconds`; None for words such as UNLIMITED.

    With days it is `days-hours[:minutes[:seconds]]`, as Slurm writes it.
    """
    if not (match := _TIME.fullmatch(text)):
        return None
    days = int(match[1] or 0)
    fields = [int(each) for each in (match[2], match[3], match[4]) if each is not None]
    if match[1] is not None:
        fields += [0] * (3 - len(fields))
    seconds = 0
    for field in fields:
        seconds = 60 * seconds + field
    return float(86_400 * days + seconds)
