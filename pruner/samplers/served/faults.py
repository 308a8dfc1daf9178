"""What keeps an answer from being taken, and when it is asked for again. Texts may hold a server's words: Client.shown makes them fit to show."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

# Of the random wait after an attempt; it doubles.
_LEAST_S, _MOST_S = 0.25, 10.0

_T = TypeVar("_T")


class Fault(Exception):
    """No answer came, or not the whole of one; the same question may be asked again.

    Attributes:
        is_gone: the server gets nothing until it was examined: nobody is there, or it is another one now.
        is_of_request: the request may be at fault, or the answer to it: it is not asked again without end.
        retry_after_s: it is not asked again before.
    """

    is_of_request = False

    def __init__(self, message: str, is_gone: bool = False, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.is_gone = is_gone
        self.retry_after_s = retry_after_s


class Refused(Fault):
    """The HTTP status is not 200. retry_after_s: as the server asks."""

    def __init__(self, status: int, message: str, retry_after_s: float = 0.0) -> None:
        is_other = status in (401, 403, 404, 405)  # another model than it had, or a key that is no longer valid
        super().__init__(f"status {status}{': ' if message else ''}{message}", is_other, retry_after_s)
        self.status = status
        self.is_of_request = status in (400, 413, 422)


class Broken(Fault):
    """What came is not the whole answer to the request."""

    is_of_request = True


class Mismatch(Fault):
    """The server does not meet the requirements. It may be replaced, so it is examined again, but not often.

    Attributes:
        lines: the reasons.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines), retry_after_s=30.0)
        self.lines = tuple(lines)


async def retried(ask: Callable[[], Awaitable[_T]], most: int | None = None) -> _T:
    """Ask until no Fault is raised, with longer and longer random waits between, and return the answer.

    Args:
        most: attempts; None: without end. A fault that will not pass is then raised at once.
    """
    for number in itertools.count(1):
        try:
            return await ask()
        except Fault as fault:
            if most is not None and (number >= most or fault.is_gone or fault.is_of_request):
                raise
            backoff_s = random.uniform(0.0, min(_MOST_S, _LEAST_S * 2.0 ** min(number - 1, 60)))
            await asyncio.sleep(max(backoff_s, fault.retry_after_s))
    raise AssertionError
