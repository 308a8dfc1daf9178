"""Signals that stop a job, as a flag that it asks for. Under submitit, the one before a time limit is handed on to it."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

from jobs import entry

_NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


class StopSignals:
    """Turns signals into a flag that the runner asks for; a second signal ends the process at once.

    One stop often comes as several signals: a terminal and Slurm signal every process, and bash forwards its own. What
    comes within a moment of the first is taken for the same stop.
    """

    MOMENT_S = 2.0

    def __init__(self) -> None:
        self.received: int | None = None
        self._received_at = 0.0
        self._before = {number: signal.signal(number, self._handle) for number in _NUMBERS}

    def __bool__(self) -> bool:
        return self.received is not None

    def hand_on(self) -> None:
        """Tell a launcher that had a handler of its own, now that everything is committed: submitit's requeues the job."""
        handler = self._before[signal.SIGUSR2]
        if self.received == signal.SIGUSR2 and callable(handler):
            handler(signal.SIGUSR2, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._received_at = number, time.monotonic()
        elif time.monotonic() - self._received_at > self.MOMENT_S:
            os._exit(entry.INTERRUPTED)
