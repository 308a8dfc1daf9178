"""Runs the points of a comparison, each in a process of its own, some at a time. Starts `python -m jobs.run` and knows no config."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from pruner.errors import INTERRUPTED, InputError

_POLL_S = 0.1
_GRACE_S = 120.0  # a process that was asked to stop has so long to commit
_TAIL_BYTES = 65536


@dataclass(frozen=True)
class Ended:
    """How a process ended, and its error lines."""

    code: int
    errors: list[str]


class Child:
    """A run of the main job in a process of its own. Its stderr goes into a file: a pipe that nobody reads fills up, and then
    the process waits for ever."""

    def __init__(self, line: Sequence[str]) -> None:
        self._line = line
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped_at: float | None = None

    def run(self) -> Ended:
        """Start the process and wait for its end; one that was stopped before is not started."""
        with tempfile.TemporaryFile() as errors:
            with self._lock:
                if self._stopped_at is not None:
                    return Ended(INTERRUPTED, [])
                command = [sys.executable, "-m", "jobs.run", *self._line]
                self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
            code = self._process.wait()
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = errors.read().decode(errors="replace").strip().splitlines()
        own = [each.removeprefix("error: ") for each in lines if each.startswith("error: ")]
        return Ended(code, [f"{' '.join(self._line)}: {each}" for each in own or lines[-1:] or [f"exit code {code}"]])

    def stop(self) -> None:
        """Ask the process once to stop; kill it once if it still lives a long while later."""
        now = time.monotonic()
        with self._lock:
            if self._stopped_at is None:
                self._stopped_at = now
                if self._process is not None:
                    self._process.terminate()
            elif now - self._stopped_at > _GRACE_S and self._process is not None:
                self._process.kill()


def run_points(lines: Sequence[Sequence[str]], processes: int, should_stop: Callable[[], bool]) -> bool:
    """Run the main job with each of these overrides, so many at a time; return False if it or one of them was stopped.

    What goes wrong in them after a stop is not reported: the same command shows it again.

    Raises:
        InputError: one of them refuses its input.
    """
    children = [Child(line) for line in lines]
    failed: list[str] = []
    is_stopped = False
    with ThreadPoolExecutor(processes) as pool:
        open_: set[Future[Ended]] = {pool.submit(child.run) for child in children}
        while open_:
            done, open_ = wait(open_, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            is_stopped = is_stopped or should_stop()
            for ended in (each.result() for each in done):
                is_stopped = is_stopped or (ended.code == INTERRUPTED and not failed)
                if ended.code not in (0, INTERRUPTED) and not is_stopped:
                    failed += ended.errors
            if is_stopped or failed:
                for child in children:
                    child.stop()
    if failed:
        raise InputError(failed)
    return not is_stopped
