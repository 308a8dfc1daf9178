"""Processes that belong together: who is in a session, who still lives, and how all of a session ends. Linux's /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

# A process of Python's that removes shared memory once nobody uses it any more, and then ends by itself.
_TRACKER = b"multiprocessing.resource_tracker"


@dataclass(frozen=True)
class Process:
    """A process and when it was started, in clock ticks since boot: a number may be given to another one later."""

    pid: int
    started: int

    @property
    def is_alive(self) -> bool:
        found = _stat(self.pid)
        return found is not None and found.started == self.started and found.state not in "ZX"


@dataclass(frozen=True)
class _Stat:
    state: str
    session: int
    started: int


def process(pid: int) -> Process | None:
    """Return the process with a number, None if there is none."""
    found = _stat(pid)
    return None if found is None else Process(pid, found.started)


def session_members(session: int) -> list[int]:
    """Return the processes of a session that live, without Python's trackers of shared memory."""
    found = []
    for name in os.listdir("/proc"):
        stat = _stat(int(name)) if name.isdigit() else None
        if stat is not None and stat.session == session and stat.state not in "ZX" and not _is_tracker(int(name)):
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


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field, the name in parentheses, may hold anything.
    fields = text.rpartition(")")[2].split()
    return _Stat(state=fields[0], session=int(fields[3]), started=int(fields[19]))


def _is_tracker(pid: int) -> bool:
    try:
        return _TRACKER in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
