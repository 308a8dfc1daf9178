"""Keeps requests on servers that work. It runs in an event loop of its own; it knows requests and servers, nothing of what they are for.

A request is asked again, with backoff, until an answer is whole. A trace stays on the server that has its beginning in the cache. A server
that fails gets no more requests (its circuit is open) until it was examined again. Nothing of a broken answer is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from pruner.errors import EngineError, InputError, Unavailable
from pruner.samplers.base import Completion, Request
from pruner.samplers.served.answer import Answer, Broken, body
from pruner.samplers.served.client import Client, Refused, Unreachable
from pruner.samplers.served.examination import Facts, Misfit, Wanted, differences, examine
from pruner.samplers.served.flights import Flight, Patience, Server, end, home_of
from pruner.system.lines import log

# Faults in a row, without a whole answer between them, that open a server's circuit.
_MOST_FAULTS = 3
# Answers to one request that are not whole, or that say that the request is wrong, before the job ends.
_MOST_BROKEN = 10
_MOST_REJECTED = 3
_BACKOFF_S, _LONGEST_BACKOFF_S = 0.25, 10.0
_REFUSED_S = 30.0
_TICK_S = 0.5
_FILE_S = 2.0
# How often a request's patience is doubled.
_MOST_WAITS = 3
# Traces whose server is remembered.
_MOST_HOMES = 1 << 16
# How often is said that a server is away.
_SAY_S = 60.0


class _Fault(Exception):
    """An attempt at a request failed; another one is made. retry_after_s: not before."""

    def __init__(self, retry_after_s: float = 0.0) -> None:
        super().__init__()
        self.retry_after_s = retry_after_s


class Pool:
    """Requests and servers.

    Args:
        client: speaks to the servers.
        want: what they must be.
        read_urls: says where they are; asked again and again.
        width: requests that one server gets at once.
        expected: what one of them was found to be before; others must be like it.
        on_done: told a request's number and completion.
        on_failure: told why nothing goes on.
        extra: more of each request's body.
    """

    def __init__(
        self,
        client: Client,
        want: Wanted,
        read_urls: Callable[[], Sequence[str]],
        width: int,
        patience: Patience,
        expected: Facts | None,
        on_done: Callable[[int, Completion], None],
        on_failure: Callable[[Exception], None],
        extra: Mapping[str, Any],
    ) -> None:
        self._client = client
        self._want = want
        self._read_urls = read_urls
        self._width = width
        self._patience = patience
        self._expected = expected
        self._on_done = on_done
        self._on_failure = on_failure
        self._extra = dict(extra)
        self._servers: dict[str, Server] = {}
        self._flights: dict[int, Flight] = {}
        self._homes: OrderedDict[tuple[str, int], Server] = OrderedDict()
        self._room = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._silent_s = 0.0
        self._name = uuid.uuid4().hex[:12]  # of this pool's requests
        self._asked = 0
        self.running_tokens = 0
        self.lost_tokens = 0
        self._is_unread = False
        self.is_ready = False

    @property
    def capacity_tokens(self) -> int | None:
        """How many tokens the caches of the servers that work hold; None if one doesn't say."""
        # Asked by the job's thread, while this one may learn of servers.
        servers = list(self._servers.values())
        sizes = [
            each.facts.capacity_tokens for each in servers if each.state == "works" and each.is_listed and each.facts
        ]
        return sum(size for size in sizes if size is not None) if sizes and None not in sizes else None

    def start(self) -> None:
        """Begin to look for servers."""
        self._start(self._look())
        self._start(self._watch())

    async def close(self) -> None:
        """Drop everything."""
        tasks = [*self._tasks, *(flight.task for flight in self._flights.values() if flight.task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    def submit(self, requests: Iterable[tuple[int, Request]]) -> None:
        """Take requests, each with a number of its own."""
        for number, request in requests:
            flight = self._flights[number] = Flight(number, request)
            flight.task = asyncio.ensure_future(self._fly(flight))

    def cancel(self, numbers: Iterable[int]) -> None:
        """Drop requests; their connections are closed, by which the server knows. Their tokens are lost ones."""
        for number in numbers:
            flight = self._flights.pop(number, None)
            if flight is not None and flight.task is not None:
                self._lose(flight)
                flight.task.cancel()

    async def _fly(self, flight: Flight) -> None:
        """Ask until an answer is whole."""
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(_Fault), wait=_wait, sleep=asyncio.sleep, reraise=True
            ):
                with attempt:
                    server = await self._server_for(flight)
                    completion = await self._ask(server, flight)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # a fault of ours is one of the job's, not of a task that nobody looks at
            self._fail(error if isinstance(error, EngineError | InputError) else EngineError(f"requests: {error!r}"))
            return
        self._flights.pop(flight.number, None)
        self._on_done(flight.number, completion)

    async def _server_for(self, flight: Flight) -> Server:
        """Return the server that has the request's beginning, or the one with the fewest requests; wait until one has room."""
        home = home_of(flight.request.key)
        async with self._room:
            while True:
                server = self._homes.get(home)
                if server is None or not self._has_room(server):
                    free = [each for each in self._servers.values() if self._has_room(each)]
                    server = min(free, key=lambda each: len(each.flights)) if free else None
                if server is not None:
                    self._homes[home] = server
                    self._homes.move_to_end(home)
                    if len(self._homes) > _MOST_HOMES:
                        self._homes.popitem(last=False)
                    server.flights.add(flight.number)
                    flight.server = server
                    return server
                await self._room.wait()

    def _has_room(self, server: Server) -> bool:
        return server.state == "works" and server.is_listed and len(server.flights) < self._width

    async def _ask(self, server: Server, flight: Flight) -> Completion:
        """Make one attempt. Raises _Fault: it failed, and everything that came of it is dropped."""
        request, facts = flight.request, server.facts
        assert facts is not None
        self._asked += 1
        request_id = f"{self._name}-{self._asked}"
        model = self._want.adapter if request.decoding.uses_adapter else None
        answer = Answer(request, request_id, facts.origin(model))
        sent = body(request, request_id, model or facts.model, facts.takes_priorities) | self._extra
        flight.silent_s = 0.0
        try:
            async with (
                asyncio.timeout(None) as flight.limit,
                self._client.stream(f"{server.url}/v1/completions", sent, request_id) as pieces,
            ):
                async for piece in pieces:
                    if answer.feed(piece):
                        flight.silent_s = server.silent_s = 0.0
                        if flight.failures < _MOST_BROKEN:
                            self._silent_s = 0.0
                    self._count(flight, answer.num_tokens)
            completion = answer.completion(self._want.tokenizer)
        except Refused as refused:
            self._lose(flight)
            raise self._refused(server, flight, refused) from None
        except (Unreachable, TimeoutError) as error:
            self._lose(flight)
            is_gone = isinstance(error, Unreachable) and error.is_gone
            self._fault(server, str(error) or "no sign of an answer", is_gone)
            raise _Fault from None
        except Broken as broken:
            self._lose(flight)
            flight.num_broken += 1
            why = self._client.redacted(str(broken))
            if flight.num_broken > _MOST_BROKEN:
                raise EngineError(
                    f"{server.url}: {_MOST_BROKEN} answers to one request that are not whole, the last: {why}"
                ) from None
            self._fault(server, why)
            raise _Fault from None
        else:
            self._count(flight, 0)
            server.faults, self._silent_s = 0, 0.0
            return completion
        finally:
            flight.limit, flight.server = None, None
            server.flights.discard(flight.number)
            await self._notify()

    def _count(self, flight: Flight, tokens: int) -> None:
        self.running_tokens += tokens - flight.tokens
        flight.tokens = tokens

    def _lose(self, flight: Flight) -> None:
        """Count what was sampled of an answer that is not taken as lost."""
        flight.failures += 1
        self.lost_tokens += flight.tokens
        self._count(flight, 0)

    def _refused(self, server: Server, flight: Flight, refused: Refused) -> Exception:
        if refused.status in (400, 413, 422):
            flight.num_rejected += 1
            if flight.num_rejected >= _MOST_REJECTED:
                return EngineError(f"{server.url}: refuses {flight.request.key}: {refused}")
        # Another model than it had, or a key that is no longer valid: that is found out before it gets more.
        self._fault(server, str(refused), is_gone=refused.status in (401, 403, 404))
        return _Fault(refused.retry_after_s)

    def _fault(self, server: Server, why: str, is_gone: bool = False) -> None:
        server.faults += 1
        if server.state == "works" and (is_gone or server.faults >= _MOST_FAULTS):
            self._open(server, why)

    def _open(self, server: Server, why: str) -> None:
        """Open a server's circuit: it gets no requests until it was examined."""
        server.state, server.why = "away", why
        now = asyncio.get_running_loop().time()
        if server.said_at is None or now - server.said_at > _SAY_S:
            server.said_at, server.is_said = now, True
            log(f"warning: {server.url} gets no requests until it is well again: {why}")
        server.opened.set()

    async def _notify(self) -> None:
        async with self._room:
            self._room.notify_all()

    async def _keep(self, server: Server) -> None:
        """Examine a server whenever its circuit is open, and close it."""
        with self._failing():
            await self._examine(server)

    async def _examine(self, server: Server) -> None:
        was = ""
        while True:
            await server.opened.wait()
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type((Unreachable, Misfit)), wait=_wait, sleep=asyncio.sleep, reraise=True
            ):
                if not server.is_listed:
                    server.state = "gone"
                    return
                with attempt:
                    try:
                        facts = await examine(self._client, server.url, self._want)
                        self._check(facts)
                    except Unreachable as error:
                        server.state, server.why = "away", str(error)
                        raise
                    except Misfit as misfit:
                        server.state, server.why = "refused", "; ".join(misfit.lines)
                        if was != server.why:
                            log(f"warning: {server.url} is not used: {server.why}")
                        was = server.why
                        self._fail_if_all_refused()
                        raise
            self._greet(server, facts)
            await self._notify()

    def _check(self, facts: Facts) -> None:
        """Refuse what is not like the other servers. Raises Misfit."""
        if self._expected is None:
            self._expected = facts
        elif lines := differences(self._expected, facts):
            raise Misfit(lines)

    def _greet(self, server: Server, facts: Facts) -> None:
        if server.is_said:
            log(f"{server.url} works again")
            server.is_said = False
        server.facts, server.state, server.faults, server.silent_s = facts, "works", 0, 0.0
        server.opened.clear()
        self.is_ready = True
        # It gets the time for a first sign that any server has.
        self._silent_s = min(self._silent_s, max(0.0, self._patience.patience_s - self._patience.stall_s))

    def _fail_if_all_refused(self) -> None:
        listed = [each for each in self._servers.values() if each.is_listed]
        if listed and all(each.state == "refused" for each in listed):
            self._fail(InputError([f"sampler.urls: {each.url}: {each.why}." for each in listed]))

    async def _watch(self) -> None:
        """Look after servers and requests that are silent. Time counts only as far as this process was awake."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        with self._failing():
            while True:
                await asyncio.sleep(_TICK_S)
                now = loop.time()
                passed, before = min(now - before, 2 * _TICK_S), now
                self._tick(passed)

    async def _look(self) -> None:
        """Look again and again where servers are."""
        with self._failing():
            while True:
                await self._list()
                await asyncio.sleep(_FILE_S)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # what runs beside the requests must not end unseen
            self._fail(error if isinstance(error, EngineError | InputError) else EngineError(f"servers: {error!r}"))

    def _tick(self, passed: float) -> None:
        stall_s = self._patience.stall_s
        for server in self._servers.values():
            server.silent_s = server.silent_s + passed if server.flights else 0.0
            if server.silent_s > stall_s and server.state == "works":
                self._open(server, f"it hangs: no sign of any answer in {stall_s:g} s")
                for number in server.flights:
                    end(self._flights.get(number))
        for flight in self._flights.values():
            if flight.server is not None:
                flight.silent_s += passed
                # A request may wait long for its turn: each time it was given up, it is waited for longer.
                if flight.silent_s > stall_s * 2**flight.waits:
                    flight.waits = min(_MOST_WAITS, flight.waits + 1)
                    end(flight)
        is_waiting = bool(self._flights) or not self.is_ready
        self._silent_s = self._silent_s + passed if is_waiting else 0.0
        if self._silent_s > self._patience.patience_s:
            self._fail(Unavailable(self._away()))

    def _away(self) -> str:
        whys = [f"{each.url}: {each.why}" for each in self._servers.values() if each.state != "works"]
        where = "; ".join(whys) or ("no answer" if self._servers else "sampler.urls names none yet")
        return f"no server gave a sign in {self._patience.patience_s:g} s ({where}). The same command goes on from here"

    async def _list(self) -> None:
        """Take in which servers there are."""
        try:
            urls = await asyncio.to_thread(self._read_urls)  # a file system may hang
        except InputError as error:
            if not self._servers:
                raise
            # A file that is being replaced may be unreadable for a moment.
            if not self._is_unread:
                log(f"warning: {error}. The servers that are known are used")
            self._is_unread = True
            return
        self._is_unread = False
        for url, server in self._servers.items():
            server.is_listed = url in urls or not urls
        for url in urls:
            if url not in self._servers or (not self._servers[url].flights and self._servers[url].state == "gone"):
                server = self._servers[url] = Server(url)
                server.opened.set()
                self._start(self._keep(server))

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _fail(self, error: Exception) -> None:
        self._on_failure(error)


_exponential = wait_random_exponential(multiplier=_BACKOFF_S, max=_LONGEST_BACKOFF_S)


def _wait(state: RetryCallState) -> float:
    """Return how long is waited before the next attempt: at random, longer each time, and at least what the server asks for."""
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.retry_after_s if isinstance(error, _Fault) else _REFUSED_S if isinstance(error, Misfit) else 0.0
    return max(float(_exponential(state)), asked)
