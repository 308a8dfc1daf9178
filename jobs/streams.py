"""Standard streams that cannot end a job: one that is closed, or whose reader or terminal is gone, leads nowhere.

Imports nothing that takes time, and nothing of this project.
"""

from __future__ import annotations

import errno
import io
import os
import resource
import sys
from types import TracebackType
from typing import Any, TextIO

_GONE = frozenset({errno.EPIPE, errno.EBADF})
# With less address space numpy's OpenBLAS asks for memory for ever while it is loaded, or interrupts the process.
_LEAST_MEMORY = 512 * 2**20


def guard() -> None:
    """Open closed standard streams on /dev/null, and write to those that there are without ever failing for a gone reader.

    What the encoding of one lacks is escaped. A file opened later would get the number of a closed one, and what native code prints would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = _guarded(sys.stdout, 1)
    sys.stderr = _guarded(sys.stderr, 2)


def name_lack_of_memory() -> None:
    """Let a lack of memory, also while libraries are loaded, end the process with one line and code 1 instead of a traceback.

    Ends it now if its limit is lower than what the libraries need.
    """
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, MemoryError) or (issubclass(kind, ImportError | OSError) and _is_for_memory(error)):
            _print_lack_of_memory(kind.__name__)
        else:
            before(kind, error, trace)

    sys.excepthook = hook
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < _LEAST_MEMORY:
        _print_lack_of_memory(f"its limit is {limit // 2**20} MiB")
        sys.exit(1)


def _print_lack_of_memory(reason: str) -> None:
    print(
        f"error: memory: the process could not get what it needs ({reason}). Allow it more (ulimit -v, prlimit --as, Slurm's "
        "--mem), and run the same command again; what was committed stays.",
        file=sys.stderr,
    )


def _is_for_memory(error: BaseException) -> bool:
    return any(words in str(error) for words in ("failed to map segment", "Cannot allocate memory"))


def _guarded(stream: TextIO | None, number: int) -> TextIO:
    raw = _Guarded(number, is_notice=number == 2)
    if not isinstance(stream, io.TextIOWrapper):
        return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True)
    stream.flush()
    buffer: Any = raw if stream.write_through else io.BufferedWriter(raw)
    return io.TextIOWrapper(
        buffer,
        stream.encoding,
        "backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Guarded(io.FileIO):
    """A standard stream. A disk that is full is an error for results (stdout), not for notices (stderr)."""

    def __init__(self, number: int, is_notice: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self.name = "<stderr>" if is_notice else "<stdout>"
        self._is_notice = is_notice
        self._gone = _GONE | {errno.EIO} if os.isatty(number) else _GONE

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno in self._gone:
                self._lead_nowhere()
            elif not self._is_notice:
                raise
            return memoryview(data).nbytes

    def _lead_nowhere(self) -> None:
        """Also for processes that are started from now on."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
