"""The engine's process: `python -m pruner.samplers.engine_process PIPE GONE JOB STARTED`, started by process.ProcessSampler.

It owns one engine and everything that vLLM starts for it, in a session of its own. Signals to the job do not reach them: the job
decides when they end. A guard, forked before anything else, ends all of them once this process or the job is gone, however
that happened.

Args of the command: PIPE: the connection to the job. GONE: a pipe that is closed when nothing is left. JOB, STARTED: the job's process.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from typing import Any, Protocol

from pruner.errors import EngineError, InputError, first_line
from pruner.samplers.base import Sampler
from pruner.system.processes import Process, end_session

# Exit codes that `ProcessSampler` puts into words.
DIED_BELOW = 3
# While nothing completes, the job hears of progress this often.
REPORT_S = 0.2
# vLLM gets this long to say itself what happened to its processes.
_GRACE_S = 2.0
_POLL_S = 0.2
_GONE_S = 30.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


class Engine(Sampler, Protocol):
    """A sampler that can be driven from another process."""

    @property
    def num_running(self) -> int:
        """How many submitted requests have not completed."""


# Opens the engine from what the job sent first.
Open = Callable[[Any], Engine]


def main(open_engine: Open, connect: Callable[[int], Connection] = Connection) -> None:
    """Be the engine's process until the job closes it or is gone.

    Args:
        connect: makes the connection from its file descriptor; tests spoil it.
    """
    pipe_fd, gone_fd, job, started = (int(argument) for argument in sys.argv[1:5])
    # Blocked signals stay blocked in every process that is started from here, whatever handlers it sets.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    scratch = tempfile.mkdtemp(prefix="pruner-engine-")
    _fork_guard(Process(job, started), pipe_fd, scratch)
    os.close(gone_fd)
    os.set_inheritable(pipe_fd, False)
    # Python unblocks SIGTERM and SIGINT when it starts its tracker of shared memory.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    os.environ["VLLM_RPC_BASE_PATH"] = scratch
    with contextlib.suppress(EOFError, OSError):  # the job is gone
        _serve(connect(pipe_fd), open_engine)
    # The guard ends what vLLM has started: nothing of it is worth waiting for.
    sys.stderr.flush()
    os._exit(0)


def _serve(job: Connection, open_engine: Open) -> None:
    spec = job.recv()
    gc.disable()  # a fifth of the time that vLLM's imports take
    try:
        engine = open_engine(spec)
        engine.wait_ready(lambda: False)
        gc.freeze()
        gc.enable()
        _watch(multiprocessing.active_children())
        job.send(("ready", engine.capacity_tokens))
        _work(job, engine)
    except InputError as error:
        job.send(("bad input", error.faults))
    except EngineError as error:
        job.send(("error", str(error)))
    except (EOFError, ConnectionError):
        raise
    except Exception as error:  # whatever vLLM raises: the job says it in one line, starts again or ends
        job.send(("error", f"vLLM died: {type(error).__name__}: {first_line(error)}"))


def _work(job: Connection, engine: Engine) -> None:
    num_received = num_reported = 0
    reported_at = 0.0
    while True:
        # What runs is worked on; else nothing is done until the job says something.
        while job.poll(0.0 if engine.num_running or num_reported < num_received else None):
            _obey(job, engine, *job.recv())
            num_received += 1
        completions = engine.step()
        now = time.monotonic()
        is_news = completions or (not engine.num_running and num_reported < num_received)
        if is_news or now - reported_at >= REPORT_S:
            tokens = engine.running_tokens, engine.cancelled_tokens
            job.send(("step", (num_received, engine.num_running, completions, *tokens)))
            num_reported, reported_at = num_received, now


def _obey(job: Connection, engine: Engine, kind: str, value: Any) -> None:
    if kind == "submit":
        engine.submit(value)
    elif kind == "cancel":
        engine.cancel(value)
    elif kind == "abort":
        engine.abort()
    else:
        name, arguments = value
        job.send(("called", getattr(engine, name)(*arguments)))


def _watch(processes: list[Any]) -> None:
    """End this process soon after one of vLLM's own has ended: vLLM would wait for its answer for ever."""

    def watch() -> None:
        connection.wait([each.sentinel for each in processes])
        time.sleep(_GRACE_S)
        os._exit(DIED_BELOW)

    if processes:
        threading.Thread(target=watch, name="watch", daemon=True).start()


def _fork_guard(job: Process, pipe_fd: int, scratch: str) -> None:
    """Fork the process that ends the others of this session and removes their files. It inherits the pipe GONE, and holds it."""
    leader = os.getpid()
    if os.fork():
        return
    try:
        os.close(pipe_fd)
        while os.getppid() == leader and job.is_alive:
            time.sleep(_POLL_S)
        end_session(leader, _GONE_S)
        shutil.rmtree(scratch, ignore_errors=True)
    finally:
        os._exit(0)


def open_vllm(given: Any) -> Engine:
    """Return vLLM's engine as `(EngineSpec, has_gpu)` says."""
    from pruner.samplers.vllm import VllmSampler

    spec, has_gpu = given
    return VllmSampler(spec, has_gpu)


if __name__ == "__main__":
    main(open_vllm)
