"""How tests start a job: forked from a process that has imported it, or as its user does.

`run` is the way for all that a job reads, prints, writes and ends with. `run_program` and `start_program` start a real
`python -m jobs.<name>`, for tests of signals, of imports and of what an interpreter reads as it starts.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.job_server import NUMBER, Request

PROJECT = Path(__file__).parents[1]
# What a job imports only when it gets there, and takes seconds: in a server of its own, since others must not see these modules.
TOKENIZER = ("transformers.models.auto.tokenization_auto",)
ENGINE = ("vllm.entrypoints.llm", "vllm.v1.worker.cpu_worker", "vllm.plugins.lora_resolvers.filesystem_resolver")
FIGURES = ("matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg")
JUDGES = ("sklearn.calibration", "sklearn.feature_extraction.text", "sklearn.linear_model", "sklearn.metrics", *FIGURES)
LATE = {
    "doctor": TOKENIZER,
    "report": FIGURES,
    "compare": FIGURES,
    "train_judge": JUDGES,
    "eval_judge": JUDGES,
}


def run(
    job: str,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    patch: str = "",
    timeout_s: float = 300,
    imported: Sequence[str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `jobs.<job>` in a forked process, in the project's folder and without input, to its end.

    Args:
        environment: variables beside those of this process.
        patch: Python source that the process executes before the job's first line.
        imported: modules that are there already, beside the job's own; None: those that LATE names.

    Raises:
        subprocess.TimeoutExpired: it took longer, and was killed.
    """
    request = Request(job, list(arguments), str(PROJECT), os.environ | (environment or {}), patch)
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        code = _server(tuple(LATE.get(job, ()) if imported is None else imported)).run(
            request, output.fileno(), errors.fileno(), timeout_s
        )
        texts = [_text(file) for file in (output, errors)]
    return subprocess.CompletedProcess(command(job, *arguments), code, *texts)


def run_program(
    job: str, *arguments: str, environment: Mapping[str, str] | None = None, folder: Path = PROJECT
) -> subprocess.CompletedProcess[str]:
    """Run `python -m jobs.<job>` to its end."""
    variables = os.environ | (environment or {})
    return subprocess.run(
        command(job, *arguments), cwd=folder, env=variables, capture_output=True, text=True, timeout=600
    )


def start_program(job: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start `python -m jobs.<job>`. options: further ones of Popen, such as stderr."""
    return subprocess.Popen(command(job, *arguments), cwd=PROJECT, text=True, **options)


def command(job: str, *arguments: str) -> list[str]:
    """Return the command line that a user would type."""
    return [sys.executable, "-m", f"jobs.{job}", *arguments]


class _Server:
    """The process that forks, and this end of the socket to it. It ends when this process does."""

    def __init__(self, imported: Sequence[str]) -> None:
        self._connection, theirs = socket.socketpair()
        self._lock = threading.Lock()
        program = [sys.executable, "-m", "tests.job_server", str(theirs.fileno()), *imported]
        nothing = subprocess.DEVNULL
        self._process = subprocess.Popen(
            program,
            cwd=PROJECT,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "ERROR"},
            stdin=nothing,
            stdout=nothing,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def run(self, request: Request, output: int, errors: int, timeout_s: float) -> int:
        """Return the exit code of the process that was forked, negative for a signal."""
        with self._lock, tempfile.TemporaryFile("w+", encoding="utf-8") as file:
            json.dump(asdict(request), file)
            file.seek(0)
            socket.send_fds(self._connection, [b"."], [file.fileno(), output, errors])
            pid = self._number(None)
            try:
                return self._number(timeout_s)
            except BaseException as error:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                self._number(None)
                if isinstance(error, TimeoutError):
                    raise subprocess.TimeoutExpired(command(request.job, *request.arguments), timeout_s) from None
                raise

    def _number(self, timeout_s: float | None) -> int:
        self._connection.settimeout(timeout_s)
        data = self._connection.recv(NUMBER.size, socket.MSG_WAITALL)
        if len(data) < NUMBER.size:
            raise RuntimeError(f"tests.job_server: ended with {self._process.wait()}; see its stderr")
        return NUMBER.unpack(data)[0]


@functools.cache
def _server(imported: tuple[str, ...]) -> _Server:
    return _Server(imported)


def _text(file: Any) -> str:
    """Return what was written, as subprocess does: line ends as \\n."""
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n").replace("\r", "\n")
