"""The served sampler itself: it puts requests to servers. The pool that does is in a thread of its own; only numbers and completions cross over."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pruner.errors import EngineError, InputError, Unavailable
from pruner.prompts import model_prompts
from pruner.records.traces import Key
from pruner.samplers.base import Completion, JudgeEngine, Request
from pruner.samplers.served.addresses import read_urls
from pruner.samplers.served.client import Client, Unreachable
from pruner.samplers.served.examination import Facts, Misfit, Wanted, differences, examine, wanted
from pruner.samplers.served.flights import Patience
from pruner.samplers.served.pool import Pool
from pruner.settings.model import ModelConfig
from pruner.system.lines import log

# The environment's names for the servers' key, and for that of the judge's servers where it is another.
KEY, JUDGE_KEY = "PRUNER_API_KEY", "PRUNER_JUDGE_API_KEY"
# A runner keeps a quarter more requests than the width, so that none of it idles.
_SPARE = 1.25
_STEP_S = 0.05
_ABORT_S = 10.0
_POLL_S = 0.5


@dataclass(frozen=True)
class Servers:
    """Where servers are, and how they are treated.

    Attributes:
        urls: or `@FILE`.
        key: None: they want none.
        max_running: requests that each works on at once.
        connect_s, stall_s, patience_s: see ServerSamplerConfig.
        extra: more of each request's body, for benchmarks.
    """

    urls: str | tuple[str, ...]
    key: str | None
    max_running: int
    connect_s: float = 10.0
    stall_s: float = 300.0
    patience_s: float = 1800.0
    extra: Mapping[str, Any] = field(default_factory=dict)


def open_served_judge(judge: JudgeEngine, model: ModelConfig, servers: Servers) -> ServerSampler:
    """Return a sampler on the judge's own servers. model: the sampler's, which is the judge's too if it has no path."""
    assert judge.urls is not None
    own = model if judge.path is None else model.model_copy(update={"path": judge.path, "revision": None})
    prompts, tokenizer = model_prompts(own)
    names = (None, judge.served_name) if judge.adapter is not None else (judge.served_name, None)
    return ServerSampler(servers, wanted(prompts, tokenizer, judge.max_model_len, *names))


def first_contact(servers: Servers, want: Wanted, should_stop: Callable[[], bool] = lambda: False) -> Facts | None:
    """Return what the first server is that answers; None if it is to be stopped.

    Raises:
        InputError: every server that answers is another than wanted, or two differ.
        Unavailable: none answers within `patience_s`.
    """
    return asyncio.run(_first_contact(servers, want, should_stop))


def contacts(servers: Servers, want: Wanted) -> dict[str, Facts | str]:
    """Return of every server what it is, or why it cannot be used. Raises InputError: their file cannot be read."""

    async def ask() -> dict[str, Facts | str]:
        client = Client(servers.key, servers.connect_s, servers.stall_s)
        try:
            urls = read_urls(servers.urls)
            found = await asyncio.gather(*(examine(client, url, want) for url in urls), return_exceptions=True)
        finally:
            await client.close()
        return {url: each if isinstance(each, Facts) else str(each) for url, each in zip(urls, found, strict=True)}

    return asyncio.run(ask())


async def _first_contact(servers: Servers, want: Wanted, should_stop: Callable[[], bool]) -> Facts | None:
    client, patience_s = Client(servers.key, servers.connect_s, servers.stall_s), servers.patience_s
    waited_s, before, said = 0.0, time.monotonic(), False  # as far as this process was awake
    try:
        while not should_stop():
            addresses = read_urls(servers.urls)
            asked = [asyncio.ensure_future(examine(client, url, want)) for url in addresses]
            spare_s = servers.connect_s  # for the others, once one is known
            while not all(each.done() for each in asked) and spare_s > 0 and waited_s <= patience_s:
                await asyncio.wait(asked, timeout=_POLL_S, return_when=asyncio.FIRST_EXCEPTION)
                if should_stop():
                    return None
                now = time.monotonic()
                passed, before = min(now - before, 4 * _POLL_S), now
                waited_s += passed
                spare_s -= passed if any(each.done() and each.exception() is None for each in asked) else 0.0
            for task in asked:
                task.cancel()
            found = [
                Unreachable("no answer yet") if isinstance(each, asyncio.CancelledError) else each
                for each in await asyncio.gather(*asked, return_exceptions=True)
            ]
            facts = [each for each in found if isinstance(each, Facts)]
            if facts:
                if lines := [line for other in facts[1:] for line in differences(facts[0], other)]:
                    raise InputError([f"sampler.urls: the servers differ: {line}." for line in lines])
                return facts[0]
            refused = [
                f"sampler.urls: {url}: {'; '.join(each.lines)}."
                for url, each in zip(addresses, found, strict=True)
                if isinstance(each, Misfit)
            ]
            if refused and len(refused) == len(addresses):
                raise InputError(refused)
            for each in found:
                if isinstance(each, BaseException) and not isinstance(each, Unreachable | Misfit):
                    raise each
            whys = [f"{url}: {each}" for url, each in zip(addresses, found, strict=True)] or [
                "sampler.urls names none yet"
            ]
            if not said:
                log(f"waiting for a server, {patience_s:g} s at most: {'; '.join(whys)}")
                said = True
            await asyncio.sleep(_POLL_S)
            waited_s, before = waited_s + _POLL_S, time.monotonic()
            if waited_s > patience_s:
                raise Unavailable(f"no server answered in {patience_s:g} s ({'; '.join(whys)})")
        return None
    finally:
        await client.close()


class ServerSampler:
    """Puts requests to servers."""

    def __init__(self, servers: Servers, want: Wanted, expected: Facts | None = None) -> None:
        """Begin to look for servers; `wait_ready` says whether there is one. expected: what one of them was found to be before."""
        self._numbers: dict[Key, int] = {}
        self._count = itertools.count()
        self._late_tokens = 0
        self._arrived = threading.Condition()
        self._done: deque[tuple[int, Completion]] = deque()
        self._failure: Exception | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="servers", daemon=True)
        self._thread.start()
        width = math.ceil(_SPARE * servers.max_running)
        patience = Patience(servers.stall_s, servers.patience_s)

        async def make() -> Pool:
            client = Client(servers.key, servers.connect_s, servers.stall_s)
            pool = Pool(
                client,
                want,
                lambda: read_urls(servers.urls),
                width,
                patience,
                expected,
                self._on_done,
                self._on_failure,
                servers.extra,
            )
            pool.start()
            return pool

        self._pool: Pool = self._call(make())

    @property
    def num_running(self) -> int:
        return len(self._numbers)

    @property
    def running_tokens(self) -> int:
        return self._pool.running_tokens if self._numbers else 0

    @property
    def cancelled_tokens(self) -> int:
        """Those of broken answers too: what a request that was asked again had made."""
        return self._pool.lost_tokens + self._late_tokens

    @property
    def capacity_tokens(self) -> int | None:
        return self._pool.capacity_tokens

    def wait_ready(self, should_stop: Callable[[], bool]) -> None:
        while not self._pool.is_ready and not should_stop():
            with self._arrived:
                self._arrived.wait_for(lambda: self._failure is not None or self._pool.is_ready, _STEP_S)
            self._raise()

    def submit(self, requests: Sequence[Request]) -> None:
        numbered = [(next(self._count), request) for request in requests]
        for number, request in numbered:
            assert request.key not in self._numbers, f"{request.key} is running"
            self._numbers[request.key] = number
        if numbered:
            self._loop.call_soon_threadsafe(self._pool.submit, numbered)

    def step(self) -> list[Completion]:
        self.wait(_STEP_S if self._numbers else 0.0)
        with self._arrived:
            arrived, self._done = self._done, deque()
        completions = []
        for number, completion in arrived:
            if self._numbers.get(completion.key) == number:
                del self._numbers[completion.key]
                completions.append(completion)
            else:  # it was dropped since
                self._late_tokens += completion.num_tokens
        if not completions:
            self._raise()
        return completions

    def wait(self, wait_s: float) -> None:
        """Sleep until there is something to report, or `wait_s` seconds."""
        if wait_s > 0:
            with self._arrived:
                self._arrived.wait_for(lambda: self._done or self._failure is not None, wait_s)

    def cancel(self, keys: Sequence[Key]) -> None:
        numbers = [self._numbers.pop(key) for key in keys if key in self._numbers]
        self._loop.call_soon_threadsafe(self._pool.cancel, numbers)

    def abort(self) -> None:
        numbers = list(self._numbers.values())
        self._numbers.clear()

        async def drop() -> None:
            self._pool.cancel(numbers)

        # From here on nothing is lost any more. Where that thread hangs, as on a file, the job does not.
        with contextlib.suppress(TimeoutError):
            self._call(drop(), _ABORT_S)
        with contextlib.suppress(EngineError, InputError, Unavailable):
            self.step()  # what had come and was not taken is lost too

    def close(self) -> None:
        self._numbers.clear()
        if self._thread.is_alive():
            with contextlib.suppress(TimeoutError):
                self._call(self._pool.close(), _ABORT_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_ABORT_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _call(self, work: Coroutine[Any, Any, Any], limit_s: float | None = None) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(limit_s)

    def _on_done(self, number: int, completion: Completion) -> None:
        with self._arrived:
            self._done.append((number, completion))
            self._arrived.notify_all()

    def _on_failure(self, error: Exception) -> None:
        with self._arrived:
            self._failure = self._failure or error
            self._arrived.notify_all()

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure
