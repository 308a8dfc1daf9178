"""A tracker in a thread of its own, so that none can slow, stop or fail a run."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from pruner.errors import first_line
from pruner.system.lines import print_warnings
from pruner.trackers.base import TrackedRun, Tracker, TrackerConfig

_MAX_WAITING = 64
_CLOSE_S = 30.0
_LOG_EVERY_S = 10.0
_Work = Callable[[Tracker], None]


class BackgroundTracker:
    """Takes what is to be shown and returns at once. The first fault is printed; after it nothing is tracked any more.

    Args:
        every_s: numbers that come sooner after others are left out.
    """

    def __init__(self, config: TrackerConfig, run: TrackedRun, every_s: float = _LOG_EVERY_S) -> None:
        self._config, self._run, self._every_s = config, run, every_s
        self._work: queue.Queue[_Work | None] = queue.Queue(_MAX_WAITING)
        self._logged_at = float("-inf")
        self._has_failed = False
        self._thread: threading.Thread | None = None
        if config.name != "none":
            self._thread = threading.Thread(target=self._run_all, name="tracker", daemon=True)
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def is_on(self) -> bool:
        """Return whether something is still tracked."""
        return self._thread is not None and not self._has_failed

    def log(self, step: int, numbers: Mapping[str, float], is_last: bool = False) -> None:
        """Show numbers, unless the last ones were shown a moment ago. is_last: show them in any case."""
        if self.is_on and (is_last or time.monotonic() - self._logged_at >= self._every_s):
            self._logged_at = time.monotonic()
            self._put(lambda tracker: tracker.log(step, numbers))

    def summarize(self, numbers: Mapping[str, float]) -> None:
        self._put(lambda tracker: tracker.summarize(numbers))

    def add_file(self, path: Path) -> None:
        self._put(lambda tracker: tracker.add_file(path))

    def close(self, wait_s: float = _CLOSE_S) -> None:
        """Wait until everything is shown, but no longer than `wait_s` seconds."""
        if self._thread is None or self._has_failed:
            return
        with contextlib.suppress(queue.Full):
            self._work.put(None, timeout=wait_s)
        self._thread.join(wait_s)
        if self._thread.is_alive() and not self._has_failed:
            self._fail("did not answer in time; what it was not sent yet is missing there")
        self._thread = None

    def _put(self, work: _Work) -> None:
        """Give the thread something to do. A tracker that is too slow loses it."""
        if self.is_on:
            with contextlib.suppress(queue.Full):
                self._work.put_nowait(work)

    def _run_all(self) -> None:
        tracker = None
        try:
            tracker = self._config.open(self._run)
            while (work := self._work.get()) is not None:
                if tracker is not None:
                    work(tracker)
            if tracker is not None:
                tracker.close()
        except ImportError as error:
            self._fail(f"is not installed ({first_line(error)}). Run: .venv/bin/pip install {self._config.name}")
        except Exception as error:  # of libraries, their servers and disks
            self._fail(f"failed ({first_line(error)})")
        except BaseException as error:  # some end the process where they cannot go on
            self._fail(f"gave up ({type(error).__name__})")

    def _fail(self, reason: str) -> None:
        self._has_failed = True
        print_warnings([f"tracker={self._config.name} {reason}. The run goes on without it."])
