"""Signals that stop a job: what they do before it begins, while it works and while the process ends.

Imports nothing that takes time: it is called before the imports that take seconds.
"""

from __future__ import annotations

import atexit
import os
import signal
import time
from collections.abc import Callable
from types import FrameType

from pruner.errors import INTERRUPTED

# Jobs that the same command continues; the other programs are run again.
RESUMABLE = frozenset({"jobs.run", "jobs.compare", "jobs.train_judge"})
# SIGHUP comes when a terminal is closed.
_NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
_MEANINGS = {
    signal.SIGUSR1: " (the time limit is near)",
    signal.SIGUSR2: " (the launcher puts it back into the queue)",
    signal.SIGTERM: " (preempted, cancelled or stopped)",
    signal.SIGINT: " (Ctrl-C)",
    signal.SIGHUP: " (the terminal was closed)",
}
_Handler = Callable[[int, FrameType | None], object] | int | None


def begin(is_resumable: bool) -> None:
    """Take over the signals of a program, before the imports that take seconds."""
    if is_resumable:
        end_at_once()
        # Python gives signals their default action back before its last steps. What is registered first runs last.
        atexit.register(_ignore_all)
    elif signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # At once, even while native code works, and without a traceback: a shell shows 130.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def end_at_once() -> None:
    """Let a stop end the process at once with 75, as long as nothing needs to be committed."""
    for number in _heard():
        signal.signal(number, _end)


class StopSignals:
    """Turns signals into a flag that the runner asks for; a second signal ends the process at once.

    One stop often comes as several signals: a terminal and Slurm signal every process, and bash forwards its own. What
    comes within a moment of the first is taken for the same stop. In a sweep, what stopped one point stops the next.
    """

    MOMENT_S = 2.0

    def __init__(self) -> None:
        self.received: int | None = None
        self._received_at = 0.0
        self._launcher: _Handler = signal.getsignal(signal.SIGUSR2)
        earlier = getattr(self._launcher, "__self__", None)
        for number in _heard():
            signal.signal(number, self._handle)
        if isinstance(earlier, StopSignals):
            self._launcher = earlier._launcher
            if earlier.received is not None:
                self.received, self._received_at = earlier.received, earlier._received_at

    def __bool__(self) -> bool:
        return self.received is not None

    def hand_on(self) -> None:
        """Call the handler of a launcher, now that everything is committed: submitit's requeues the job."""
        handler = self._launcher
        if self.received == signal.SIGUSR2 and callable(handler) and handler is not _end:
            handler(signal.SIGUSR2, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._received_at = number, time.monotonic()
        elif time.monotonic() - self._received_at > self.MOMENT_S:
            os._exit(INTERRUPTED)


def message(number: int | None) -> str:
    known = None if number is None else signal.Signals(number)
    by = "" if known is None else f" by {known.name}{_MEANINGS.get(known, '')}"
    return f"interrupted{by}; the same command goes on from here"


def _heard() -> list[signal.Signals]:
    """Return the signals that stop a job. nohup ignores SIGHUP on purpose."""
    return [each for each in _NUMBERS if each != signal.SIGHUP or signal.getsignal(each) is not signal.SIG_IGN]


def _end(number: int, frame: FrameType | None) -> None:
    try:
        os.write(2, f"{message(number)}\n".encode())
    finally:
        os._exit(INTERRUPTED)


def _ignore_all() -> None:
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)
