"""A sampler in a process of its own, so that a judge can have its own GPUs. Owns multiprocessing."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection

from pruner.errors import EngineError, InputError
from pruner.samplers.base import Completion, Request
from pruner.samplers.vllm import EngineSpec, VllmSampler


class ProcessSampler:
    """Drives a VllmSampler in a child process. `step` waits at most `wait_s` for it."""

    capacity_tokens: int | None = None

    def __init__(self, spec: EngineSpec, has_gpu: bool, wait_s: float = 0.0) -> None:
        """Start the child; it loads its model while the parent goes on. Errors of loading are raised by `step`."""
        context = multiprocessing.get_context("spawn")
        self._pipe, child = context.Pipe()
        self._process = context.Process(target=_serve, args=(child, spec, has_gpu), name="judge")
        self._process.start()
        child.close()
        self._wait_s = wait_s
        self._num_running = 0
        self._running_tokens = 0

    @property
    def num_running(self) -> int:
        return self._num_running

    @property
    def running_tokens(self) -> int:
        return self._running_tokens

    def submit(self, requests: Sequence[Request]) -> None:
        if requests:
            self._send(("submit", list(requests)))
            self._num_running += len(requests)

    def step(self) -> list[Completion]:
        completions: list[Completion] = []
        wait_s = self._wait_s
        while self._pipe.poll(wait_s):
            wait_s = 0.0
            try:
                kind, value = self._pipe.recv()
            except EOFError:
                raise EngineError(f"the judge's process died (exit code {self._process.exitcode})") from None
            if kind == "error":
                raise EngineError(value)
            finished, self._running_tokens = value
            completions += finished
        self._num_running -= len(completions)
        return completions

    def abort(self) -> None:
        self._send(("abort", None))
        self._num_running = self._running_tokens = 0

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError, OSError):
            self._pipe.send(("close", None))
        self._process.join(timeout=20)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()

    def wait(self, wait_s: float) -> None:
        """Sleep until the child has something to report, or `wait_s` seconds."""
        self._pipe.poll(wait_s)

    def _send(self, message: tuple[str, object]) -> None:
        try:
            self._pipe.send(message)
        except (BrokenPipeError, OSError):
            raise EngineError(f"the judge's process died (exit code {self._process.exitcode})") from None


def _serve(pipe: Connection, spec: EngineSpec, has_gpu: bool) -> None:
    """The child: work until the parent says `close` or is gone. Signals to the job are the parent's to answer."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        sampler = VllmSampler(spec, has_gpu)
        _work(pipe, sampler)
    except (EngineError, InputError) as error:
        pipe.send(("error", str(error)))
    except (EOFError, BrokenPipeError, OSError):
        pass  # the parent is gone


def _work(pipe: Connection, sampler: VllmSampler) -> None:
    while True:
        while pipe.poll(None if sampler.num_running == 0 else 0):
            kind, value = pipe.recv()
            if kind == "close":
                sampler.close()
                return
            if kind == "abort":
                sampler.abort()
            else:
                sampler.submit(value)
        completions = sampler.step()
        if completions:
            pipe.send(("completions", (completions, sampler.running_tokens)))
