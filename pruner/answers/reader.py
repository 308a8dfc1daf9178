"""Reads finished traces' answers beside the event loop: what takes algebra or a long text goes to a worker process.

A worker that dies is started again and asked again; one that keeps dying ends the job. No answer is ever taken for another because
of it: what is not known is asked until it is.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from pruner.answers.extraction import last_boxed
from pruner.answers.readings import Read, Reading
from pruner.answers.registry import KINDS, known_kind
from pruner.errors import AnswerError
from pruner.records.traces import FinalAnswer, ProbeKey, TraceKey

# Longer texts are searched in the worker.
_SHORT_CHARS = 16_000
_MAX_REMEMBERED = 100_000
_MAX_STARTS = 3
_AT_ONCE = 64
_STARTING_S = 300.0


# Text, answer, gold, and whether the text was cut off.
_Asked = tuple[str | None, str | None, str | None, bool]


class AnswerReader:
    """Turns readings into final answers with keys and grades. The worker starts when it is first needed.

    Args:
        kind: a name of registry.KINDS.
        patterns: regular expressions for answers outside a box.
        time_limit_s: processor seconds that grading one answer may take; beyond it the answer is wrong.
    """

    def __init__(self, kind: str, patterns: Sequence[str] = (), time_limit_s: float = 1.5) -> None:
        self._kind = KINDS[known_kind(kind)]
        self._patterns = tuple(patterns)
        self._time_limit_s = time_limit_s
        self._done: list[Read] = []
        self._waiting: dict[_Asked, list[TraceKey | ProbeKey]] = {}  # in the order in which they were asked
        self._num_waiting = 0
        self._known: OrderedDict[_Asked, FinalAnswer | None] = OrderedDict()
        self._worker: _Worker | None = None
        self._deaths = 0
        self._given_up: set[_Asked] = set()  # whose grading ended a worker by its limit of time

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def num_waiting(self) -> int:
        """How many readings the worker has not answered."""
        return self._num_waiting

    def submit(self, reading: Reading) -> None:
        """Begin a reading; plain answers are read at once."""
        asked: _Asked = (reading.text, None, reading.gold, reading.is_cut)
        if reading.answer is not None:
            asked = (None, reading.answer, reading.gold, False)
        if asked[0] is not None and len(asked[0]) <= _SHORT_CHARS:
            boxed = last_boxed(asked[0], reading.is_cut)
            if boxed is not None or reading.is_cut or not self._patterns:
                asked = (None, boxed.strip() if boxed is not None else None, reading.gold, False)
        is_known, answer = self._at_once(asked)
        if is_known:
            self._done.append(Read(reading.key, answer))
            return
        is_new = asked not in self._waiting
        self._waiting.setdefault(asked, []).append(reading.key)
        self._num_waiting += 1
        if is_new:
            self._feed()

    def take(self) -> list[Read]:
        """Return what was read since the last call. Does not block.

        Raises:
            AnswerError: the worker keeps dying.
        """
        if self._waiting:
            self._hear(0.0)
        done, self._done = self._done, []
        return done

    def wait(self, wait_s: float) -> None:
        """Sleep until the worker has answered, or for so many seconds."""
        if self._waiting and not self._done:
            self._hear(wait_s)

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _at_once(self, asked: _Asked) -> tuple[bool, FinalAnswer | None]:
        text, answer, gold, _ = asked
        if text is None and answer is None:
            return True, None
        if asked in self._known:
            return True, self._known[asked]
        if answer is None or (key := self._kind.plain_key(answer)) is None:
            return False, None
        correct = None if gold is None else 1 if gold == answer else self._kind.plain_grade(gold, answer)
        if gold is not None and correct is None:
            return False, None
        return True, FinalAnswer(answer, key, correct)

    def _feed(self) -> None:
        """Give the worker what it has not been asked, a few at a time: what it has been asked is asked again if it dies."""
        if self._worker is None:
            self._worker = _Worker(self._kind.name, self._time_limit_s, self._patterns)
        for asked in list(itertools.islice(self._waiting, len(self._worker.asked), _AT_ONCE)):
            self._worker.ask(asked, asked in self._given_up)

    def _hear(self, wait_s: float) -> None:
        self._feed()
        while True:
            assert self._worker is not None
            try:
                line = self._worker.replies.get(timeout=wait_s) if wait_s > 0 else self._worker.replies.get_nowait()
            except queue.Empty:
                self._worker.check_alive(_STARTING_S + 10 * self._time_limit_s)
                return
            if not line:
                self._start_again()
                return
            self._deaths = 0
            self._learn(self._worker.asked.pop(0), json.loads(line))
            wait_s = 0.0
            if not self._waiting:
                return
            self._feed()

    def _learn(self, asked: _Asked, reply: dict[str, Any]) -> None:
        found = None if reply["answer"] is None else FinalAnswer(reply["answer"], reply["answer_key"], reply["correct"])
        if asked[0] is None:
            self._known[asked] = found
            if len(self._known) > _MAX_REMEMBERED:
                self._known.popitem(last=False)
        self._given_up.discard(asked)
        keys = self._waiting.pop(asked)
        self._num_waiting -= len(keys)
        self._done += [Read(key, found) for key in keys]

    def _start_again(self) -> None:
        assert self._worker is not None
        first = self._worker.asked[0] if self._worker.asked else None
        code = self._worker.wait()
        self.close()
        if code == -signal.SIGVTALRM and first is not None and first not in self._given_up:
            self._given_up.add(first)
            self._feed()
            return
        self._deaths += 1
        if self._deaths >= _MAX_STARTS:
            shown = "" if first is None else f" at {(first[1] or (first[0] or '')[-60:])[:80]!r}"
            raise AnswerError(
                f"answers: the worker that reads them died {self._deaths} times in a row{shown}. What was committed stays; look at "
                "the memory that is left, then run the same command again."
            )
        self._feed()


class _Worker:
    """One child process. asked: what it has not answered, in order. replies: its lines; an empty one when it is gone."""

    def __init__(self, kind: str, time_limit_s: float, patterns: Sequence[str]) -> None:
        arguments = [kind, str(time_limit_s), json.dumps(list(patterns))]
        # A session of its own: a Slurm signal to the job's processes must not end it before its parent has finished.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pruner.answers.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.asked: list[_Asked] = []
        self.replies: queue.Queue[str] = queue.Queue()
        self._requests: queue.Queue[tuple[_Asked, bool] | None] = queue.Queue()
        self._changed_at = time.monotonic()
        for target in (self._listen, self._speak):
            threading.Thread(target=target, name="answers", daemon=True).start()

    def ask(self, asked: _Asked, is_given_up: bool) -> None:
        if not self.asked:
            self._changed_at = time.monotonic()
        self.asked.append(asked)
        self._requests.put((asked, is_given_up))

    def check_alive(self, limit_s: float) -> None:
        """End a worker that has said nothing for far longer than an answer may take: it then counts as dead."""
        if self.asked and time.monotonic() - self._changed_at > limit_s:
            self._process.kill()

    def _speak(self) -> None:
        """Write requests beside the loop: a worker that is busy does not read, and a full pipe would block."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # the empty reply says that it is gone
            while (request := self._requests.get()) is not None:
                (text, answer, gold, is_cut), is_given_up = request
                values = {
                    "text": text,
                    "answer": answer,
                    "gold": gold,
                    "is_cut": is_cut,
                    "is_given_up": is_given_up,
                }
                self._process.stdin.write(json.dumps(values) + "\n")
                self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.endswith("\n"):
                break
            self._changed_at = time.monotonic()
            self.replies.put(line)
        self.replies.put("")

    def wait(self) -> int:
        """Return the exit code of a worker that has closed its pipe."""
        try:
            return self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def close(self) -> None:
        self._requests.put(None)
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.close()
