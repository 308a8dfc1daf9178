"""An engine in a process of its own, seen from the job: started, watched, and ended with everything below it.

What happens to vLLM's processes becomes an EngineError here, within seconds and never a wait for ever; what comes from them is
taken only if it is a whole completion of a request that was made.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from pruner.errors import EngineError, InputError
from pruner.records.traces import Key
from pruner.samplers.base import Completion, Request, check_whole
from pruner.samplers.channel import Channel, Closed, pair
from pruner.samplers.engine_process import DIED_BELOW
from pruner.system.processes import end_session, process

_ENGINE = (sys.executable, "-m", "pruner.samplers.engine_process")
# A wait is at most this long, so that a job that was suspended meanwhile does not take it for the engine's.
_WAIT_S = 0.2
# A report wakes the job; while none comes, it looks after its other work this often.
_STEP_S = 0.05
_GONE_S = 40.0


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
        self._requests: dict[Key, Request] = {}
        self._running_tokens = 0
        self._cancelled_tokens = 0
        self._cancelled: dict[Key, int] = {}  # that the child may still report on, with the number of the message
        self._num_cancels = 0
        self._epoch = 0
        self._silent_s = 0.0
        self._is_ready = False
        self._returned: list[Any] = []
        self._failure: Exception | None = None
        me = process(os.getpid())
        assert me is not None
        ours, theirs = pair()
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
        self._channel = Channel(ours)
        self._channel.send(spec)

    @property
    def num_running(self) -> int:
        return len(self._requests)

    @property
    def running_tokens(self) -> int:
        return self._running_tokens

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
        assert not self._requests
        self._channel.send(("call", (name, arguments)))
        self._returned.clear()
        while not self._returned:
            self._hear(_WAIT_S, math.inf, "called")
        return self._returned.pop()

    def submit(self, requests: Sequence[Request]) -> None:
        if not requests:
            return
        if not self._requests:
            self._silent_s = 0.0
        for request in requests:
            assert request.key not in self._requests, f"{request.key} is running"
            self._requests[request.key] = request
        self._channel.send(("submit", list(requests)))

    def step(self) -> list[Completion]:
        return self._hear(_STEP_S if self._requests else 0.0, self._stall_s, "running")

    def wait(self, wait_s: float) -> None:
        """Sleep until the child has something to report, or `wait_s` seconds."""
        self._channel.wait(wait_s)

    @property
    def cancelled_tokens(self) -> int:
        return self._cancelled_tokens

    def cancel(self, keys: Sequence[Key]) -> None:
        running = [key for key in keys if self._requests.pop(key, None) is not None]
        if not running:
            return
        self._num_cancels += 1
        self._cancelled |= dict.fromkeys(running, self._num_cancels)
        self._channel.send(("cancel", (self._num_cancels, running)))

    def abort(self) -> None:
        self._epoch += 1
        self._cancelled.clear()
        self._requests.clear()
        self._running_tokens = 0
        self._channel.send(("abort", self._epoch))

    def close(self) -> None:
        """End the child and all that it has started, and wait until they are gone."""
        self._requests.clear()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        select.select([self._gone], [], [], _GONE_S)
        end_session(self._process.pid, _GONE_S)  # if the guard was killed too
        os.close(self._gone)
        self._channel.close()

    def _hear(self, wait_s: float, patience_s: float, doing: str) -> list[Completion]:
        """Take in what the child reports. Its silence counts only as far as this process itself was awake."""
        if self._failure is not None:
            raise self._failure
        started = time.monotonic()
        try:
            messages = self._channel.receive(wait_s)
        except Closed as closed:
            raise EngineError(f"{self._name} sent {closed}" if str(closed) else self._end()) from None
        if messages:
            self._silent_s = 0.0
        elif self._requests or not self._is_ready:
            self._silent_s += min(time.monotonic() - started, 2 * wait_s)
            if self._silent_s > patience_s:
                raise EngineError(f"{self._name} hangs: {doing}, and no report in {patience_s:.0f} s")
        completions: list[Completion] = []
        for message in messages:
            try:
                self._take(message, completions)
            except (EngineError, InputError) as error:
                # What was whole before it is taken first.
                self._failure = error
                if not completions:
                    raise
                break
        return completions

    def _take(self, message: tuple[str, Any], taken: list[Completion]) -> None:
        """Take in a message; the whole completions in it are appended to `taken`."""
        kind, value = message
        if kind == "bad input":
            raise InputError(value)
        if kind == "error":
            raise EngineError(f"{self._name}: {value}")
        if kind == "ready":
            self._is_ready, self.capacity_tokens = True, value
            return
        if kind == "called":
            self._returned.append(value)
            return
        epoch, num_cancels, completions, running_tokens, cancelled_tokens = value
        if epoch != self._epoch:
            return  # of requests that were aborted since
        self._running_tokens, self._cancelled_tokens = running_tokens, cancelled_tokens
        self._cancelled = {key: number for key, number in self._cancelled.items() if number > num_cancels}
        for completion in completions:
            if completion.key in self._cancelled:
                continue  # it was cancelled since
            request = self._requests.get(completion.key)
            if request is None:
                raise EngineError(f"{self._name}: a completion for {completion.key}, which was not requested")
            check_whole(request, completion)
            del self._requests[completion.key]
            taken.append(completion)

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
