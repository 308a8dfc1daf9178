"""Processes that belong together: who is in a session, who still lives, and how all of a session ends. Linux's /proc."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

# A process of Python's, or of joblib's, that removes shared memory once nobody uses it any more, and then ends by itself.
_TRACKER = b"resource_tracker"
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


def end_with_parent() -> None:
    """Let the kernel end this process when its parent dies: in a long loop it would not notice."""
    with contextlib.suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def started(pid: int) -> int:
    """Return when a process started, in the kernel's ticks; 0 if it lives and no more is known, -1 if it is gone."""
    try:
        fields = _stat(pid)
        return -1 if fields[0] in ("Z", "X") else int(fields[19])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, IndexError):
        return 0
    if Path("/proc/self/stat").exists():
        return -1
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return -1
    except OSError:
        pass
    return 0


def session_members(session: int) -> list[int]:
    """Return the processes of a session that live, without Python's trackers of shared memory."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and _session(int(name)) == session and not _is_tracker(int(name)):
            found.append(int(name))
    return sorted(found)


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


def _session(pid: int) -> int | None:
    """Return the session of a process that lives."""
    try:
        fields = _stat(pid)
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[3])


def _stat(pid: int) -> list[str]:
    """Return the fields of the kernel's line on a process behind its name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _is_tracker(pid: int) -> bool:
    try:
        return _TRACKER in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
