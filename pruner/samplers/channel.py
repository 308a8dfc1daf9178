"""Messages between a job and the engine's process: pickled, each behind its length, over a socket pair. Owns pickle; both ends
are this program, started by the same user.

The job must never wait for an engine that hangs, so neither sending nor receiving blocks for longer than is said.
"""

from __future__ import annotations

import contextlib
import pickle
import select
import socket
import struct
from collections.abc import Sequence
from typing import Any

_LENGTH = struct.Struct("<Q")
_READ_BYTES = 1 << 20


class Closed(Exception):
    """The other end is gone."""


class Channel:
    """One end of a socket pair."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._unsent = bytearray()
        self._received = bytearray()
        self._is_closed = False

    def send(self, message: object) -> None:
        """Send a message, or as much of it as the other end takes now; `receive` and `flush` go on with the rest. If the other end
        is gone, nothing is sent, and `receive` says so."""
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        self._unsent += _LENGTH.pack(len(data)) + data
        self._write()

    def flush(self) -> None:
        """Send all of what is unsent, however long that takes."""
        while self._unsent:
            select.select([], [self._socket], [])
            self._write()

    def receive(self, wait_s: float | None) -> list[Any]:
        """Return the messages that have come, after waiting up to `wait_s` seconds for the first; None: as long as it takes.

        Raises:
            Closed: the other end is gone, and every whole message of it was returned before.
        """
        messages = self._whole()
        while not messages:
            self._write()
            readable, _, _ = select.select([self._socket], [self._socket] if self._unsent else [], [], wait_s)
            if readable:
                self._read()
                messages = self._whole()
                if not messages and self._is_closed:
                    raise Closed
            elif wait_s is not None:
                break
        return messages

    def wait(self, wait_s: float) -> None:
        """Sleep until there is something to receive, or so many seconds."""
        select.select([self._socket], [], [], wait_s)

    def close(self) -> None:
        self._socket.close()

    def _write(self) -> None:
        while self._unsent:
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                return
            except OSError:
                # What the other end said before it went is still to be read.
                self._unsent.clear()
                return
            del self._unsent[:sent]

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                data = self._socket.recv(_READ_BYTES)
            except ConnectionError:
                data = b""
            self._received += data
            self._is_closed = not data

    def _whole(self) -> list[Any]:
        messages, start = [], 0
        while len(self._received) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._received, start)
            end = start + _LENGTH.size + length
            if len(self._received) < end:
                break
            try:
                messages.append(pickle.loads(self._received[start + _LENGTH.size : end]))
            except Exception as error:  # whatever unpickling nonsense raises
                raise Closed(f"an unreadable message ({type(error).__name__})") from error
            start = end
        if start:
            del self._received[:start]
        return messages


def pair() -> Sequence[socket.socket]:
    """Return both ends of a new channel's socket."""
    return socket.socketpair()
