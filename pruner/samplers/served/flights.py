"""What a pool keeps of each request under way and of each server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from pruner.records.traces import Key, PairKey
from pruner.samplers.base import Request
from pruner.samplers.served.facts import ServerFacts


@dataclass(eq=False)
class Flight:
    """A request that is being worked on.

    Attributes:
        tokens: of the answer that is coming.
        heard_s: when it last gave a sign, by the pool's clock.
        failures: attempts that failed. suspect: those of them in which the request or its answer was at fault.
        limit: ends the attempt that runs. server: it runs there; None: it waits for one.
    """

    request: Request
    task: asyncio.Task[None] | None = None
    tokens: int = 0
    heard_s: float = 0.0
    failures: int = 0
    suspect: int = 0
    limit: asyncio.Timeout | None = None
    server: Server | None = None

    def end_attempt(self) -> None:
        if self.limit is not None and not self.limit.expired():
            self.limit.reschedule(asyncio.get_running_loop().time())


@dataclass(eq=False)
class Server:
    """A server.

    Attributes:
        state: new (not examined yet), works, away (it gets no requests until it was examined), refused (it does not meet the requirements).
        why: of a state other than works.
        facts: from its last examination; None: there was none.
        flights: that run there.
        faults: in a row.
        heard_s: when any of its answers last gave a sign, by the pool's clock.
        logged_at: when it was last logged that it is away. is_logged: and not yet that it works again.
    """

    url: str
    state: str = "new"
    why: str = "it was not reached yet"
    facts: ServerFacts | None = None
    flights: set[Flight] = field(default_factory=set)
    faults: int = 0
    heard_s: float = 0.0
    logged_at: float = float("-inf")
    is_logged: bool = False


def home_of(key: Key) -> tuple[str, int]:
    """Return what stays on one server: a trace, for a judge the pairs with one left trace."""
    return key.problem_id, key.left_trace if isinstance(key, PairKey) else key.trace_index
