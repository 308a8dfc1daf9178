"""A process that starts jobs for the tests: it imports what a job needs once, and forks a process for each start.

    python -m tests.job_server 5 transformers  # the number of a Unix socket that it inherits, and what it imports beside

A forked process then does what `python -m jobs.<name>` does, to the end of the interpreter; only the seconds that the imports
take are saved. The server starts no threads of its own, and the libraries that start one as they are imported cope with a fork.
tests/job_processes.py is the other end of the socket.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import struct
import sys
from dataclasses import dataclass

NUMBER = struct.Struct("i")
# What jobs import only when they get there, and most of them do.
LATE_IMPORTS = ("pandas", "pyarrow.dataset", "numpy.random", "hydra._internal.hydra")


@dataclass(frozen=True)
class Request:
    """One start.

    Attributes:
        job: the module's name below jobs.
        folder: the working directory.
        environment: the whole environment.
        patch: Python source that is executed before the job's first line.
    """

    job: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    patch: str


def serve(connection: socket.socket) -> Request | None:
    """Fork a process for each request, and answer with its process id and then its exit code, negative for a signal.

    Every message is one byte with three file descriptors: the request as JSON, and the process's stdout and stderr.

    Returns:
        In a forked process its request; in the server None, once nobody can ask any more.
    """
    while True:
        _, files, _, _ = socket.recv_fds(connection, 1, 3)
        if not files:
            return None
        with open(files[0], encoding="utf-8") as file:
            request = Request(**json.load(file))
        importlib.import_module(f"jobs.{request.job}")
        gc.freeze()  # a process that looked through all that is imported would copy its memory
        pid = os.fork()
        if pid == 0:
            connection.close()
            become(request, *files[1:])
            return request
        for number in files[1:]:
            os.close(number)
        connection.sendall(NUMBER.pack(pid))
        connection.sendall(NUMBER.pack(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))


def become(request: Request, output: int, errors: int) -> None:
    """Make this process look as one that was just started by `python -m jobs.<name>`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(output, 1)
    os.dup2(errors, 2)
    os.close(output)
    os.close(errors)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.path[0] = request.folder
    sys.argv = ["-m", *request.arguments]
    sys.orig_argv = [sys.executable, "-m", f"jobs.{request.job}", *request.arguments]
    for name in [name for name in sys.modules if name.partition(".")[0] == "jobs"]:
        del sys.modules[name]


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the tests
    gc.disable()
    for name in (*LATE_IMPORTS, *sys.argv[2:]):
        importlib.import_module(name)
    gc.enable()
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    if request is not None:
        exec(compile(request.patch, "<patch>", "exec"), {})
        runpy.run_module(f"jobs.{request.job}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
