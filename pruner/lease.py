"""Who may write a shard: a file in the run's folder that names its holder, who touches it while it lives.

File locks can lie on network file systems, and a checkpoint on node-local scratch has no lock that another node would
see. Making a hard link is atomic on both. Knows nothing of what the lease protects.
"""

from __future__ import annotations

import contextlib
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
from typing import Self

from pruner.errors import CheckpointError, InputError

BEAT_S = 5.0
STALE_S = 60.0  # not touched for so long: its holder is dead, or stopped and must notice
_POLL_S = 0.5


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
    return Holder(host, pid, slurm_job_id, _this_machine(host), _started(pid))


class Lease:
    """The right to write one shard, held from `take` to `release`; a context manager releases it.

    Args:
        path: the lease's file. Its folder is made.
    """

    def __init__(self, path: Path, holder: Holder) -> None:
        self._path = path
        self._holder = replace(holder, token=uuid.uuid4().hex)
        self._released = threading.Event()

    def take(self, wait_s: float, should_stop: Callable[[], bool] = lambda: False) -> Self:
        """Wait until the lease is free, and take it.

        Raises:
            InputError: after `wait_s` seconds it is still held, or `should_stop` became true; names the holder.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + wait_s
        told = False
        while not self._try():
            holder = read_holder(self._path)
            if holder is None or not is_live(self._path, holder):
                self._clear(holder)
                continue
            if time.monotonic() >= deadline or should_stop():
                raise InputError(f"shard {self._path.stem}: {holder} works on it. Wait for it, or stop it.")
            if not told:
                told = True
                print(f"waiting up to {wait_s:.0f} s for {holder}, which works on this shard", file=sys.stderr)
            time.sleep(_POLL_S)
        threading.Thread(target=self._beat, name="lease", daemon=True).start()
        return self

    def check(self) -> None:
        """Make sure that nobody has taken the lease over while this process was stopped.

        Raises:
            CheckpointError: somebody has, or the lease is gone.
        """
        holder = read_holder(self._path)
        if holder is None or holder.token != self._holder.token:
            raise CheckpointError(
                f"shard {self._path.stem}: {holder or 'nobody'} holds its lease by now. This process stood still for too "
                "long; nothing more was written."
            )

    def release(self) -> None:
        self._released.set()
        holder = read_holder(self._path)
        if holder is not None and holder.token == self._holder.token:
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _try(self) -> bool:
        """Make the lease's file, whole, if there is none."""
        own = self._path.with_name(f".{self._path.name}.{self._holder.token}")
        try:
            own.write_text(json.dumps(asdict(self._holder)) + "\n")
            os.link(own, self._path)
            return True
        except FileExistsError:
            return False
        finally:
            own.unlink(missing_ok=True)

    def _clear(self, dead: Holder | None) -> None:
        """Move a dead lease out of the way; one that came there in the meantime is put back."""
        aside = self._path.with_name(f".{self._path.name}.{self._holder.token}.dead")
        try:
            self._path.rename(aside)
        except FileNotFoundError:
            return
        found = read_holder(aside)
        if found is not None and (dead is None or found.token != dead.token):
            with contextlib.suppress(FileExistsError):
                os.link(aside, self._path)
        aside.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._released.wait(BEAT_S):
            holder = read_holder(self._path)
            if holder is not None and holder.token == self._holder.token:
                with contextlib.suppress(OSError):  # `check` tells
                    os.utime(self._path)


def read_holder(path: Path) -> Holder | None:
    """Return who a lease names; None if there is none or it is damaged."""
    try:
        return Holder(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def is_live(path: Path, holder: Holder) -> bool:
    """Return whether a lease's holder may still write: on this machine by its process, elsewhere by its touch."""
    if holder.machine == _this_machine(socket.gethostname()):
        return _started(holder.pid) == holder.started
    age = _age_s(path)
    return age is not None and age < STALE_S


def _age_s(path: Path) -> float | None:
    """Return how long ago a file was touched, by the clock of its file system."""
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
    except OSError:
        return None


def _this_machine(host: str) -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{host} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return host


def _started(pid: int) -> int:
    """Return when a process started, in the kernel's ticks; 0 if it lives and no more is known, -1 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return -1 if fields[0] in ("Z", "X") else int(fields[19])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, IndexError):
        return 0
    if Path("/proc/self/stat").exists():
        return -1
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return -1
    except OSError:
        pass
    return 0
