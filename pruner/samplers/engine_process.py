"""The engine's process: `python -m pruner.samplers.engine_process CHANNEL GONE JOB STARTED`, started by process.ProcessSampler.

It owns one engine and everything that vLLM starts for it, in a session of its own. Signals to the job do not reach them: the job
decides when they end. A guard, forked before anything else, ends all of them once this process or the job is gone, however
that happened.

Args of the command: CHANNEL: the socket to the job. GONE: a pipe that is closed when nothing is left. JOB, STARTED: the job's process.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing import connection, resource_tracker
from typing import Any

from pruner.errors import EngineError, InputError, first_line
from pruner.samplers.base import Sampler
from pruner.samplers.channel import Channel, Closed
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

# Opens the engine from what the job sent first.
Open = Callable[[Any], Sampler]


def main(open_sampler: Open) -> None:
    """Be the engine's process until the job closes it or is gone."""
    channel_fd, gone_fd, job, started = (int(argument) for argument in sys.argv[1:5])
    # Blocked signals stay blocked in every process that is started from here, whatever handlers it sets.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    scratch = tempfile.mkdtemp(prefix="pruner-engine-")
    _fork_guard(Process(job, started), channel_fd, scratch)
    os.close(gone_fd)
    os.set_inheritable(channel_fd, False)
    # Python unblocks SIGTERM and SIGINT when it starts its tracker of shared memory.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    os.environ["VLLM_RPC_BASE_PATH"] = scratch
    channel = Channel(socket.socket(fileno=channel_fd))
    with contextlib.suppress(Closed):
        _serve(channel, open_sampler)
    # The guard ends what vLLM has started: nothing of it is worth waiting for.
    sys.stderr.flush()
    os._exit(0)


def _serve(channel: Channel, open_sampler: Open) -> None:
    [spec, *requests] = channel.receive(None)
    gc.disable()  # a fifth of the time that vLLM's imports take
    try:
        sampler = open_sampler(spec)
        sampler.wait_ready(lambda: False)
        gc.freeze()
        gc.enable()
        _watch(multiprocessing.active_children())
        channel.send(("ready", sampler.capacity_tokens))
        _work(channel, sampler, requests)
    except InputError as error:
        channel.send(("bad input", error.faults))
    except EngineError as error:
        channel.send(("error", str(error)))
    except Closed:
        raise
    except Exception as error:  # whatever vLLM raises: the job says it in one line, starts again or ends
        channel.send(("error", f"vLLM died: {type(error).__name__}: {first_line(error)}"))
    channel.flush()


def _work(channel: Channel, sampler: Sampler, messages: list[Any]) -> None:
    epoch, num_cancels, reported_at = 0, 0, 0.0
    while True:
        for kind, value in messages:
            if kind == "close":
                return
            if kind == "abort":
                epoch = value
                sampler.abort()
            elif kind == "cancel":
                num_cancels, keys = value
                sampler.cancel(keys)
            elif kind == "submit":
                sampler.submit(value)
            else:
                name, arguments = value
                channel.send(("called", getattr(sampler, name)(*arguments)))
        completions = sampler.step()
        now = time.monotonic()
        if completions or now - reported_at >= REPORT_S:
            report = (epoch, num_cancels, completions, sampler.running_tokens, sampler.cancelled_tokens)
            channel.send(("step", report))
            reported_at = now
        messages = channel.receive(0.0 if sampler.num_running else None)


def _watch(processes: list[Any]) -> None:
    """End this process soon after one of vLLM's own has ended: vLLM would wait for its answer for ever."""

    def watch() -> None:
        connection.wait([each.sentinel for each in processes])
        time.sleep(_GRACE_S)
        os._exit(DIED_BELOW)

    if processes:
        threading.Thread(target=watch, name="watch", daemon=True).start()


def _fork_guard(job: Process, channel_fd: int, scratch: str) -> None:
    """Fork the process that ends the others of this session and removes their files. It inherits the pipe GONE, and holds it."""
    leader = os.getpid()
    if os.fork():
        return
    try:
        os.close(channel_fd)
        while os.getppid() == leader and job.is_alive:
            time.sleep(_POLL_S)
        end_session(leader, _GONE_S)
        shutil.rmtree(scratch, ignore_errors=True)
    finally:
        os._exit(0)


def open_vllm(given: Any) -> Sampler:
    """Return vLLM's engine as `(EngineSpec, has_gpu)` says."""
    from pruner.samplers.vllm import VllmSampler

    spec, has_gpu = given
    return VllmSampler(spec, has_gpu)


if __name__ == "__main__":
    main(open_vllm)
