"""An engine in a process of its own, seen from the job: started, watched, and ended with everything below it.

What happens to vLLM's processes becomes an EngineError here, within seconds and never a wait for ever: a thread hears the child and
another one speaks to it, so that neither a child that hangs nor half a message stops the job.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from pruner.errors import EngineError, InputError
from pruner.records.traces import Key
from pruner.samplers.base import Completion, Request
from pruner.samplers.engine_process import DIED_BELOW
from pruner.system.processes import end_session, process

_ENGINE = (sys.executable, "-m", "pruner.samplers.engine_process")
# A wait is at most this long, so that a job that was suspended meanwhile does not take it for the engine's.
_WAIT_S = 0.2
# A report wakes the job; while none comes, it looks after its other work this often.
_STEP_S = 0.05
_GONE_S = 40.0
_CLOSED = object()


class ProcessSampler:
    """Drives an engine in a child process.

    Args:
        name: of the engine, in messages.
        spec: what the child opens the engine from; see engine_process.
        stall_s: without a report for so long, a running engine is taken for dead.
        load_s: the same while it loads.
        command: what is started; tests and benchmarks name others.
    """

    capacity_tokens: int | None = None
    running_tokens = 0
    cancelled_tokens = 0

    def __init__(
        self,
        name: str,
        spec: Any,
        stall_s: float,
        load_s: float,
        command: Sequence[str] = _ENGINE,
    ) -> None:
        """Start the child; it loads its model while the job goes on. Errors of loading are raised by `wait_ready`."""
        self._name = name
        self._stall_s = stall_s
        self._load_s = load_s
        self._silent_s = 0.0
        self._is_ready = False
        self._is_busy = False
        self._num_sent = 0
        self._returned: list[Any] = []
        me = process(os.getpid())
        assert me is not None
        ours, theirs = Pipe()
        self._gone, gone = os.pipe()
        try:
            arguments = [str(each) for each in (theirs.fileno(), gone, me.pid, me.started)]
            self._process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), gone),
                start_new_session=True,
            )
        finally:
            theirs.close()
            os.close(gone)
        self._line = _Line(ours)
        self._line.send(spec)

    @property
    def pid(self) -> int:
        """Of the child, which is its session's too."""
        return self._process.pid

    def wait_ready(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Wait until the model is loaded, or `should_stop`.

        Raises:
            EngineError, InputError: it cannot be loaded.
        """
        while not self._is_ready and not should_stop():
            self._hear(_WAIT_S, self._load_s, "loading")

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a method of the child's sampler; return what it returns. For benchmarks and the doctor, while nothing runs."""
        self._send("call", (name, arguments))
        self._returned.clear()
        while not self._returned:
            self._hear(_WAIT_S, math.inf, "called")
        return self._returned.pop()

    def submit(self, requests: Sequence[Request]) -> None:
        if requests:
            self._send("submit", list(requests))

    def step(self) -> list[Completion]:
        return self._hear(_STEP_S if self._is_busy else 0.0, self._stall_s, "running")

    def wait(self, wait_s: float) -> None:
        self._line.wait(wait_s)

    def cancel(self, keys: Sequence[Key]) -> None:
        self._send("cancel", list(keys))

    def abort(self) -> None:
        self._send("abort", None)

    def close(self) -> None:
        """End the child and all that it has started, and wait until they are gone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        select.select([self._gone], [], [], _GONE_S)
        end_session(self._process.pid, _GONE_S)  # if the guard was killed too
        os.close(self._gone)
        self._line.close()

    def _send(self, kind: str, value: Any) -> None:
        if not self._is_busy:
            self._silent_s = 0.0
        self._num_sent += 1
        self._is_busy = True
        self._line.send((kind, value))

    def _hear(self, wait_s: float, patience_s: float, doing: str) -> list[Completion]:
        """Take in what the child reports. Its silence counts only as far as this process itself was awake."""
        started = time.monotonic()
        self._line.wait(wait_s)
        completions: list[Completion] = []
        is_silent = True
        while (message := self._line.peek()) is not None:
            is_silent = False
            try:
                self._take(message, completions)
            except (EngineError, InputError):
                if not completions:
                    raise
                break  # what was whole before it is taken first, and this raised at the next step
            self._line.forget()
        if not is_silent:
            self._silent_s = 0.0
        elif self._is_busy or not self._is_ready:
            self._silent_s += min(time.monotonic() - started, 2 * wait_s)
            if self._silent_s > patience_s:
                raise EngineError(f"{self._name} hangs: {doing}, and no report in {patience_s:.0f} s")
        return completions

    def _take(self, message: Any, completions: list[Completion]) -> None:
        """Take in a message; the completions in it are appended to `completions`."""
        if isinstance(message, EOFError):
            raise EngineError(self._end())
        if isinstance(message, Exception):
            raise EngineError(f"{self._name} sent an unreadable message ({type(message).__name__})")
        kind, value = message
        if kind == "bad input":
            raise InputError(value)
        if kind == "error":
            raise EngineError(f"{self._name}: {value}")
        if kind == "ready":
            self._is_ready, self.capacity_tokens = True, value
        elif kind == "called":
            self._returned.append(value)
            self._is_busy = False
        else:
            num_received, num_running, found, self.running_tokens, self.cancelled_tokens = value
            self._is_busy = num_running > 0 or num_received < self._num_sent
            completions += found

    def _end(self) -> str:
        """Say how the child ended."""
        try:
            code = self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            return f"{self._name} closed its connection"
        if code == DIED_BELOW:
            return f"{self._name} died: a process that vLLM had started ended"
        if code < 0:
            by = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            hint = " (the kernel does that where memory runs out)" if -code == signal.SIGKILL else ""
            return f"{self._name} was ended by {by}{hint}"
        return f"{self._name} died (exit code {code})"


class _Line:
    """The job's end of the pipe to a child: neither sending nor hearing blocks for longer than is said."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._unsent: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._next: Any = None
        for target in (self._speak, self._listen):
            threading.Thread(target=target, name="engine", daemon=True).start()

    def send(self, message: Any) -> None:
        self._unsent.put(message)

    def wait(self, wait_s: float) -> None:
        """Sleep until there is a message, or so many seconds."""
        if self._next is None:
            with contextlib.suppress(queue.Empty):
                self._next = self._heard.get(wait_s > 0, wait_s or None)

    def peek(self) -> Any:
        """Return the next message, None if there is none; an exception is the last one: the child is gone or sent nonsense."""
        self.wait(0.0)
        return self._next

    def forget(self) -> None:
        """Go on to the message after the one that `peek` gives."""
        self._next = None

    def close(self) -> None:
        self._unsent.put(_CLOSED)
        self._connection.close()

    def _speak(self) -> None:
        with contextlib.suppress(OSError):  # the child is gone; what it said before is still to be heard
            while (message := self._unsent.get()) is not _CLOSED:
                self._connection.send(message)

    def _listen(self) -> None:
        try:
            while True:
                self._heard.put(self._connection.recv())
        except OSError:
            self._heard.put(EOFError())
        except Exception as error:  # whatever unpickling nonsense raises
            self._heard.put(error)
