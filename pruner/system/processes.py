"""Processes: what a command prints, who is in a session, who still lives, and how all of a session ends. Owns psutil."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

# A process of Python's, or of joblib's, that removes shared memory once nobody uses it any more, and then ends by itself.
_TRACKER = "resource_tracker"
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Process:
    """A process and when it was started, in clock ticks since boot: a number may be given to another one later."""

    pid: int
    started: int

    @property
    def is_alive(self) -> bool:
        return started(self.pid) == self.started


def process(pid: int) -> Process | None:
    """Return the process with a number, None if there is none."""
    since = started(pid)
    return None if since < 0 else Process(pid, since)


def output_of(command: Sequence[str], wait_s: float = 10.0) -> str:
    """Return what a command prints; nothing if it is missing or takes longer."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=wait_s).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def end_with_parent() -> None:
    """Let the kernel end this process when its parent dies: in a long loop it would not notice."""
    with contextlib.suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def started(pid: int) -> int:
    """Return when a process started, in the kernel's ticks since boot; 0 if it lives and no more is known, -1 if it is gone.

    psutil's own time of start moves with the clock; a lease is compared hours later.
    """
    try:
        # The fields behind its name, which may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return -1 if fields[0] in ("Z", "X") else int(fields[19])
    except FileNotFoundError:
        return 0 if not Path("/proc/self/stat").exists() and psutil.pid_exists(pid) else -1
    except (OSError, ValueError, IndexError):
        return 0


def session_members(session: int) -> list[int]:
    """Return the processes of a session that live, without Python's trackers of shared memory."""
    return [each.pid for each in psutil.process_iter() if _is_member(each, session)]


def end_session(session: int, wait_s: float) -> bool:
    """Kill every process of a session but this one; return whether all were gone within so many seconds."""
    deadline = time.monotonic() + wait_s
    while others := [pid for pid in session_members(session) if pid != os.getpid()]:
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _is_member(process: psutil.Process, session: int) -> bool:
    try:
        return (
            os.getsid(process.pid) == session
            and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
            and not any(_TRACKER in part for part in process.cmdline())
        )
    except (psutil.Error, OSError):
        return False
