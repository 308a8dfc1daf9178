"""Who may write a shard: a file in the run's folder that names its holder, who touches it while it lives.

File locks are unreliable on network file systems, and a checkpoint on node-local scratch has no lock that another node would
see. Making a hard link is atomic on both. Knows nothing of what the lease protects.

Every lease has a token that no other has. A lease ends, by release or by death, only when somebody has linked the one heir of
its token; whoever did that alone may replace or remove the file. So of many who find one dead holder, one takes over.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from pruner.errors import CheckpointError, InputError
from pruner.system.files import create_text, write_text
from pruner.system.processes import started

BEAT_S = 5.0
STALE_S = 60.0  # not touched for so long: its holder is dead, or stopped and must notice
_POLL_S = 0.5
_READ_POLL_S = 0.1
_DAMAGED = "damaged-"
Found = TypeVar("Found")
_READ_AGAIN_S = 15.0  # a read error of the file system is tried again for so long
# Errors that do not pass by themselves.
_LASTING = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)


@dataclass(frozen=True)
class Holder:
    """A process that works on a shard.

    Attributes:
        machine: host, boot and process namespace: processes of one machine see each other's pids.
        started: the process's start time by its kernel, so that a reused pid is not taken for it; 0 if unknown.
        token: unique to one lease.
    """

    host: str
    pid: int
    slurm_job_id: str | None
    machine: str
    started: int
    token: str = ""

    def __str__(self) -> str:
        job = f", Slurm job {self.slurm_job_id}" if self.slurm_job_id else ""
        return f"host {self.host}, pid {self.pid}{job}"


def this_holder(slurm_job_id: str | None) -> Holder:
    host, pid = socket.gethostname(), os.getpid()
    return Holder(host, pid, slurm_job_id, _this_machine(host), started(pid))


class Lease:
    """The right to write one shard, held from `take` to `release`; a context manager releases it.

    Args:
        path: the lease's file, named after the shard. Its folder is made.
    """

    def __init__(self, path: Path, holder: Holder) -> None:
        self._path = path
        self._what = f"shard {path.stem}"
        self._holder = replace(holder, token=uuid.uuid4().hex)
        self._released = threading.Event()

    def take(self, wait_s: float, should_stop: Callable[[], bool] = lambda: False) -> Self:
        """Wait until the lease is free, and take it.

        Raises:
            InputError: after `wait_s` seconds it is still held, or `should_stop` became true; names the holder.
            CheckpointError: the file system does not let the lease be read.
        """
        deadline, is_announced = time.monotonic() + wait_s, False
        while (holder := self._try_take()) is not None:
            if time.monotonic() >= deadline or should_stop():
                raise InputError(f"{self._what}: {holder} works on it. Wait for it, or stop it.")
            if not is_announced:
                print(f"waiting up to {wait_s:.0f} s for {holder}, which works on {self._what}", file=sys.stderr)
                is_announced = True
            time.sleep(min(_POLL_S, max(0.0, deadline - time.monotonic())))
        threading.Thread(target=self._beat, name="lease", daemon=True).start()
        return self

    def _try_take(self) -> Holder | None:
        """Take the lease if it is free; return who holds it otherwise."""
        while not self._link(self._path, self._holder):
            chain = _chain(self._path)
            if chain and _is_chain_live(self._path, chain):
                return chain[-1]
            if chain and self._inherit(chain, self._holder):
                self._replace(chain)
                break
        return None

    def check(self) -> None:
        """Make sure that this process may still write.

        Raises:
            CheckpointError: another process has taken the lease over, the lease is gone, or it cannot be read.
        """
        holder = _patiently(self._path, _read)
        if holder is not None and holder.token == self._holder.token:
            return
        if holder is not None and not _is_damaged(holder):
            raise CheckpointError(
                f"{self._what}: {holder} holds its lease by now. This process stood still for too long; nothing more was "
                "written."
            )
        gone = f"the folder {self._path.parent} is gone"
        if self._path.parent.exists():
            gone = f"its lease {self._path} is {'gone' if holder is None else 'damaged'}"
        raise CheckpointError(
            f"{self._what}: {gone}; something other than this program did that while this process worked. Nothing more was "
            "written. Put the run's folder back if it was moved, and run the same command again."
        )

    def release(self) -> None:
        """Give the lease back. One that was taken over stays with its new holder."""
        self._released.set()
        with contextlib.suppress(OSError, CheckpointError):  # what stays is that of a process that is gone
            first = _patiently(self._path, _read)
            if first is not None and first.token == self._holder.token:
                end = replace(self._holder, token=uuid.uuid4().hex)
                if self._inherit([first], end):
                    self._path.unlink(missing_ok=True)
                    _heir(self._path, first).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _link(self, path: Path, holder: Holder) -> bool:
        """Make a file that names a holder, whole, if there is none."""
        try:
            create_text(path, json.dumps(asdict(holder)) + "\n")
            return True
        except FileExistsError:
            return False

    def _inherit(self, chain: list[Holder], heir: Holder) -> bool:
        """Become the one heir of the last in the chain.

        Heirs' files are removed once the lease's file names a later holder. So who links one that was removed finds another
        holder there, and has inherited nothing.
        """
        if not self._link(_heir(self._path, chain[-1]), heir):
            return False
        now = _patiently(self._path, _read)
        if now is not None and now.token == chain[0].token:
            return True
        _heir(self._path, chain[-1]).unlink(missing_ok=True)
        return False

    def _replace(self, chain: list[Holder]) -> None:
        """Name the heir in the lease's file; the heirs before are not needed any more."""
        write_text(self._path, json.dumps(asdict(self._holder)) + "\n")
        for holder in chain:
            _heir(self._path, holder).unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._released.wait(BEAT_S):
            holder = read_holder(self._path)
            if holder is not None and holder.token == self._holder.token:
                with contextlib.suppress(OSError):  # `check` reports it
                    os.utime(self._path)


def _heir(path: Path, holder: Holder) -> Path:
    return path.with_name(f".{path.name}.{holder.token}.heir")


def _chain(path: Path) -> list[Holder]:
    """Return the holder that a lease names and who inherited from whom; the last one is the holder by now."""
    chain: list[Holder] = []
    found = _patiently(path, _read)
    while found is not None:
        chain.append(found)
        found = _patiently(_heir(path, found), _read)
    return chain


def _is_chain_live(path: Path, chain: list[Holder]) -> bool:
    touched = path if len(chain) == 1 else _heir(path, chain[-2])
    return _lives(chain[-1], lambda: _patiently(touched, _age_s))


def read_holder(path: Path) -> Holder | None:
    """Return who a lease names, for display; None if there is none, or it is damaged or cannot be read."""
    try:
        holder = _read(path)
    except OSError:
        return None
    return None if holder is None or _is_damaged(holder) else holder


def is_live(path: Path, holder: Holder) -> bool:
    """Return whether a lease's holder may still write, for display: on this machine by its process, elsewhere by its touch."""
    try:
        return _lives(holder, lambda: _age_s(path))
    except OSError:
        return False


def _lives(holder: Holder, age_s: Callable[[], float | None]) -> bool:
    if _is_damaged(holder):
        return False
    if holder.machine == _this_machine(socket.gethostname()):
        return started(holder.pid) == holder.started
    age = age_s()
    return age is not None and age < STALE_S


def _patiently(path: Path, read: Callable[[Path], Found]) -> Found:
    """Read a file. An error of the file system, which may be on a network, is tried again for a while.

    Raises:
        CheckpointError: it still cannot be read.
    """
    deadline = time.monotonic() + _READ_AGAIN_S
    while True:
        try:
            return read(path)
        except OSError as error:
            if error.errno in _LASTING or time.monotonic() >= deadline:
                raise CheckpointError(
                    f"lease {path}: cannot be read ({error.strerror}), so this process cannot know whether it may still "
                    "write. What was committed stays. Run the same command again once the file can be read."
                ) from error
        time.sleep(_READ_POLL_S)


def _read(path: Path) -> Holder | None:
    """Return who a lease names, None if there is none; a damaged one is taken for that of a holder who is dead."""
    try:
        with open(path) as file:
            status, text = os.fstat(file.fileno()), file.read()
    except FileNotFoundError:
        return None
    except ValueError:  # not even text
        status, text = path.stat(), ""
    try:
        holder = Holder(**json.loads(text))
        if isinstance(holder.pid, int) and isinstance(holder.token, str) and holder.token.isalnum():
            return holder
    except (ValueError, TypeError):
        pass
    return Holder("", 0, None, "", 0, f"{_DAMAGED}{status.st_ino}-{status.st_mtime_ns}")


def _is_damaged(holder: Holder) -> bool:
    return holder.token.startswith(_DAMAGED)


def _age_s(path: Path) -> float | None:
    """Return how long ago a file was touched, by the clock of its file system; None if it is gone."""
    mark = path.with_name(f".{path.name}.{uuid.uuid4().hex}.now")
    try:
        mark.touch()
        now = mark.stat().st_mtime
    except OSError:
        now = time.time()
    finally:
        with contextlib.suppress(OSError):  # the file system may be read-only to who looks
            mark.unlink(missing_ok=True)
    try:
        return now - path.stat().st_mtime
    except FileNotFoundError:
        return None


def _this_machine(host: str) -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{host} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return host
