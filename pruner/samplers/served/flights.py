"""What a pool keeps in mind: requests under way, servers, and how long it waits for either."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from pruner.records.traces import Key, PairKey
from pruner.samplers.base import Request
from pruner.samplers.served.examination import Facts


@dataclass(frozen=True)
class Patience:
    """How long is waited, in seconds: for any sign of a request's answer; for a sign of any server, before the job ends."""

    stall_s: float
    patience_s: float


@dataclass
class Flight:
    """A request that is being worked on.

    Attributes:
        tokens: of the answer that is coming. silent_s: since it last said something.
        waits: how often its patience was doubled. failures: attempts that failed.
    """

    number: int
    request: Request
    task: asyncio.Task[None] | None = None
    tokens: int = 0
    silent_s: float = 0.0
    waits: int = 0
    failures: int = 0
    num_broken: int = 0
    num_rejected: int = 0
    limit: asyncio.Timeout | None = None
    server: Server | None = None


@dataclass(eq=False)
class Server:
    """A server, and whether it gets requests. state: away (its circuit is open), works, or refused (it is not what the run needs)."""

    url: str
    state: str = "away"
    why: str = "it was not reached yet"
    facts: Facts | None = None
    flights: set[int] = field(default_factory=set)
    faults: int = 0
    silent_s: float = 0.0
    is_listed: bool = True
    said_at: float | None = None
    is_said: bool = False
    opened: asyncio.Event = field(default_factory=asyncio.Event)


def end(flight: Flight | None) -> None:
    """End the attempt that runs."""
    if flight is not None and flight.limit is not None and not flight.limit.expired():
        flight.limit.reschedule(asyncio.get_running_loop().time())


def home_of(key: Key) -> tuple[str, int]:
    """Return what stays on one server: a trace, for a judge the pairs with one left trace."""
    return key.problem_id, key.left_trace if isinstance(key, PairKey) else key.trace_index
