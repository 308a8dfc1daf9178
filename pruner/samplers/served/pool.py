"""Keeps requests on servers that work. Knows requests and servers, and nothing of traces' problems.

A request is asked again, with backoff, until an answer is whole. A trace stays on the server that has its beginning in the cache. A server
that fails gets no more requests until it was examined again. Nothing of a broken answer is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import uuid
from collections.abc import Coroutine, Iterable
from typing import Any

from pruner.errors import EngineError, InputError, Unavailable
from pruner.records.traces import Key
from pruner.samplers.base import Completion, Request
from pruner.samplers.served.addresses import Servers
from pruner.samplers.served.answer import Answer, body, most_bytes
from pruner.samplers.served.client import Client
from pruner.samplers.served.examination import Requirements, examine
from pruner.samplers.served.facts import ServerFacts, differences
from pruner.samplers.served.faults import Fault, Mismatch, retried
from pruner.samplers.served.flights import Flight, Server, home_of
from pruner.system.lines import log

# A runner keeps a quarter more requests than the width, so that none of it idles.
_SPARE = 1.25
# Faults in a row, without a whole answer between them, after which a server gets no requests.
_MOST_FAULTS = 3
# Attempts in which a request or the answer to it was at fault, before the job ends.
_MOST_SUSPECT = 10
_TICK_S = 0.5
_LIST_S = 2.0
# How often a request's patience is doubled.
_MOST_DOUBLED = 3
# Traces whose server is remembered.
_MOST_HOMES = 1 << 16
# A server that comes and goes is logged at most this often.
_LOG_S = 60.0


class Pool:
    """Requests and servers. Made inside the event loop.

    Args:
        expected: the facts of a server of this run; others must be like it. None: like the first that works.
    """

    def __init__(self, servers: Servers, required: Requirements, expected: ServerFacts | None) -> None:
        """Begin to look for servers."""
        self._setting = servers
        self._client = Client(servers.key, servers.connect_s, servers.stall_s)
        self._width = math.ceil(_SPARE * servers.max_running)
        self._required = required
        self._expected = expected
        self._loop = asyncio.get_running_loop()
        self._servers: dict[str, Server] = {}
        self._listed: frozenset[str] = frozenset()
        self._flights: dict[Key, Flight] = {}
        self._homes: dict[tuple[str, int], Server] = {}
        self._completions: list[Completion] = []
        self._failure: Exception | None = None
        self._may_have_room = asyncio.Event()
        self._has_report = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        # Seconds that this process was awake, and when any server last gave a sign.
        self._clock_s = self._heard_s = 0.0
        self._name = uuid.uuid4().hex[:12]  # of this pool's requests
        self._asked = 0
        self._has_logged_waiting = False
        self.running_tokens = 0  # of requests under way, and of completions that were not taken
        self.lost_tokens = 0
        self.is_ready = False
        self._start(self._list())
        self._start(self._watch())

    @property
    def capacity_tokens(self) -> int | None:
        """Tokens that the caches of the servers that work hold; None: one does not say."""
        sizes = [each.facts.capacity_tokens for each in self.listed() if each.state == "works" and each.facts]
        return sum(size for size in sizes if size is not None) if sizes and None not in sizes else None

    @property
    def is_busy(self) -> bool:
        """Whether requests are under way."""
        return bool(self._flights)

    def listed(self) -> list[Server]:
        """Return the servers that there are now."""
        return [each for each in self._servers.values() if each.url in self._listed]

    async def work(self, most_s: float) -> None:
        """Work until there is a completion or a failure, for `most_s` seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await self._has_report.wait()

    def take(self) -> list[Completion]:
        """Return the completions since the last call."""
        completions, self._completions = self._completions, []
        self.running_tokens -= sum(completion.num_tokens for completion in completions)
        if self._failure is None:
            self._has_report.clear()
        return completions

    def check(self) -> None:
        """Raise what nothing can go on after: EngineError, InputError or Unavailable."""
        if self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        """Drop everything."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    def submit(self, requests: Iterable[Request]) -> None:
        for request in requests:
            flight = self._flights[request.key] = Flight(request)
            flight.task = self._start(self._fly(flight))

    def cancel(self, keys: Iterable[Key]) -> None:
        """Drop requests; their connections are closed, by which the server knows. Their tokens are lost ones."""
        for key in keys:
            if (flight := self._flights.pop(key, None)) is not None and flight.task is not None:
                self._lose(flight)
                flight.task.cancel()

    def abort(self) -> None:
        """Drop all requests, and completions that were not taken."""
        self.cancel(list(self._flights))
        self.lost_tokens += sum(completion.num_tokens for completion in self.take())

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task. An error that it ends with ends the job."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            known = error if isinstance(error, EngineError | InputError | Unavailable) else None
            self._failure = self._failure or known or EngineError(f"servers: {error!r}")
            self._has_report.set()

    async def _fly(self, flight: Flight) -> None:
        """Ask until an answer is whole."""
        completion = await retried(lambda: self._attempt(flight))
        del self._flights[flight.request.key]
        self._completions.append(completion)
        self._has_report.set()

    async def _attempt(self, flight: Flight) -> Completion:
        """Ask a server once. Raises Fault: it failed, and everything that came of it is dropped."""
        server = await self._server_for(flight)
        try:
            completion = await self._answer(server, flight)
        except Fault as fault:
            self._blame(server, flight, fault)
            raise
        finally:
            flight.limit = flight.server = None
            server.flights.discard(flight)
            self._may_have_room.set()
        server.faults, self._heard_s = 0, self._clock_s
        return completion

    async def _server_for(self, flight: Flight) -> Server:
        """Return the server that has the trace's beginning, or the one with the fewest requests; wait until one has room."""
        home = home_of(flight.request.key)
        while True:
            server = self._homes.get(home)
            if server is None or not self._has_room(server):
                free = [each for each in self._servers.values() if self._has_room(each)]
                server = min(free, key=lambda each: len(each.flights), default=None)
            if server is not None:
                break
            self._may_have_room.clear()
            await self._may_have_room.wait()
        if len(self._homes) >= _MOST_HOMES:
            self._homes.clear()
        self._homes[home] = server
        server.flights.add(flight)
        flight.server, flight.heard_s = server, self._clock_s
        return server

    def _has_room(self, server: Server) -> bool:
        return server.state == "works" and server.url in self._listed and len(server.flights) < self._width

    async def _answer(self, server: Server, flight: Flight) -> Completion:
        """Return the answer of a server. Raises Fault."""
        request, facts = flight.request, server.facts
        assert facts is not None
        self._asked += 1
        request_id = f"{self._name}-{self._asked}"
        model = (self._required.adapter if request.decoding.uses_adapter else None) or facts.model
        answer = Answer(request, request_id, model, facts.fingerprint)
        sent = {**body(request, request_id, model, facts.takes_priorities), **self._setting.extra}
        url = f"{server.url}/v1/completions"
        try:
            async with (
                asyncio.timeout(None) as flight.limit,
                self._client.stream(url, sent, request_id, most_bytes(request)) as pieces,
            ):
                async for piece in pieces:
                    if answer.feed(piece):
                        flight.heard_s = server.heard_s = self._heard_s = self._clock_s
                    self._count(flight, answer.num_tokens)
        except TimeoutError:
            raise Fault("no sign of an answer") from None
        return answer.completion(self._required.tokenizer)

    def _count(self, flight: Flight, tokens: int) -> None:
        self.running_tokens += tokens - flight.tokens
        flight.tokens = tokens

    def _lose(self, flight: Flight) -> None:
        """Count what was sampled of an answer that is not taken as lost."""
        self.lost_tokens += flight.tokens
        self._count(flight, 0)

    def _blame(self, server: Server, flight: Flight, fault: Fault) -> None:
        """Count a failed attempt. Raises EngineError: it was the request's fault, or its answer's, too often."""
        why = self._client.shown(str(fault))
        flight.failures += 1
        flight.suspect += fault.is_of_request or flight.tokens > 0
        self._lose(flight)
        if flight.suspect >= _MOST_SUSPECT:
            raise EngineError(f"{server.url}: {_MOST_SUSPECT} bad answers to {flight.request.key}, the last: {why}")
        server.faults += 1
        if fault.is_gone or server.faults >= _MOST_FAULTS:
            self._stop_using(server, why)

    def _stop_using(self, server: Server, why: str) -> None:
        """Give a server no more requests until it was examined."""
        if server.state != "works":
            return
        server.state, server.why = "away", why
        if self._clock_s - server.logged_at > _LOG_S:
            server.logged_at, server.is_logged = self._clock_s, True
            log(f"warning: {server.url} gets no requests until it is well again: {why}")
        self._start_examining(server)

    def _start_examining(self, server: Server) -> None:
        """Ask a server what it is until it works, or is not listed any more."""
        self._start(retried(lambda: self._examine(server)))

    async def _examine(self, server: Server) -> None:
        """Ask a server what it is; it works then. Raises Fault."""
        if server.url not in self._listed:
            self._servers.pop(server.url)
            return
        try:
            server.facts = await examine(self._client, server.url, self._required)
            self._expected = self._expected or server.facts
            if lines := differences(self._expected, server.facts):
                raise Mismatch(lines)
        except Mismatch as mismatch:
            self._refuse(server, self._client.shown(str(mismatch)))
            raise
        except Fault as fault:
            server.state, server.why = "away", self._client.shown(str(fault))
            raise
        self._use(server)

    def _refuse(self, server: Server, why: str) -> None:
        """Leave a server that does not meet the requirements alone. Raises InputError: no other one is left."""
        if (server.state, server.why) != ("refused", why):
            log(f"warning: {server.url} is not used: {why}")
        server.state, server.why = "refused", why
        if all(each.state == "refused" for each in self.listed()):
            raise InputError([f"{self._setting.setting}: {each.url}: {each.why}." for each in self.listed()])

    def _use(self, server: Server) -> None:
        """Give a server that was examined requests from now on."""
        if server.is_logged:
            log(f"{server.url} works again")
        server.state, server.faults, server.heard_s, server.is_logged = "works", 0, self._clock_s, False
        # It gets the time for a first sign that any server has.
        self._heard_s = max(self._heard_s, self._clock_s - max(0.0, self._setting.patience_s - self._setting.stall_s))
        self.is_ready = True
        self._may_have_room.set()

    async def _list(self) -> None:
        """Look again and again which servers there are."""
        last_fault = ""
        while True:
            try:
                urls = await asyncio.to_thread(self._setting.addresses)  # a file system may hang
            except InputError as error:
                if not self._servers:
                    raise
                # A file that is being replaced may be unreadable for a moment.
                if last_fault != str(error):
                    log(f"warning: {error}. The servers that are known are used")
                urls, last_fault = (), str(error)
            self._listed = frozenset(urls) or self._listed
            for url in urls:
                if url not in self._servers:
                    self._servers[url] = Server(url)
                    self._start_examining(self._servers[url])
            await asyncio.sleep(_LIST_S)

    async def _watch(self) -> None:
        """Look after servers and requests that are silent. Time counts only as far as this process was awake."""
        before = self._loop.time()
        while True:
            await asyncio.sleep(_TICK_S)
            now = self._loop.time()
            self._clock_s += min(now - before, 2 * _TICK_S)
            before = now
            self._end_silent_attempts()
            self._check_patience()

    def _end_silent_attempts(self) -> None:
        stall_s = self._setting.stall_s
        for server in self._servers.values():
            if not server.flights:
                server.heard_s = self._clock_s
            if self._clock_s - server.heard_s > stall_s:
                self._stop_using(server, f"it hangs: no sign of any answer in {stall_s:g} s")
                for flight in server.flights:
                    flight.end_attempt()
        for flight in self._flights.values():
            # A request may wait long for its turn: after each failure it is waited for longer.
            patience_s = stall_s * 2 ** min(flight.failures, _MOST_DOUBLED)
            if flight.server is not None and self._clock_s - flight.heard_s > patience_s:
                flight.end_attempt()

    def _check_patience(self) -> None:
        """Raise Unavailable if no server gave a sign for too long, while one is waited for."""
        if self.is_ready and not self._flights:
            self._heard_s = self._clock_s
        whys = [f"{each.url}: {each.why}" for each in self.listed() if each.state != "works"]
        where = "; ".join(whys) or ("no answer" if self._listed else f"{self._setting.setting} names none yet")
        patience_s = self._setting.patience_s
        if self._clock_s - self._heard_s > patience_s:
            raise Unavailable(
                f"no server gave a sign in {patience_s:g} s ({where}). The same command goes on from here"
            )
        if not (self.is_ready or self._has_logged_waiting or any(each.state == "new" for each in self.listed())):
            self._has_logged_waiting = True
            log(f"waiting for a server, {patience_s:g} s at most: {where}")
