"""The served sampler itself: it puts requests to servers. The pool that does is in a thread of its own; only requests and completions cross
over."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from pruner.errors import EngineError, InputError, Unavailable
from pruner.prompts import model_prompts
from pruner.records.traces import Key
from pruner.samplers.base import Completion, Request
from pruner.samplers.judge_engine import JudgeEngine
from pruner.samplers.served.addresses import JUDGE_KEY, KEY, Servers, api_key
from pruner.samplers.served.examination import Requirements, requirements
from pruner.samplers.served.facts import ServerFacts
from pruner.samplers.served.flights import Server
from pruner.samplers.served.pool import Pool
from pruner.settings.model import ModelConfig

_STEP_S = 0.05
_ABORT_S = 10.0


def open_served_judge(judge: JudgeEngine, model: ModelConfig, servers: Servers) -> ServerSampler:
    """Return a sampler on the judge's own servers.

    Args:
        model: the sampler's, which is the judge's too if it has no path.
        servers: how they are treated; where they are, the judge says.
    """
    assert judge.urls is not None
    own = model if judge.path is None else model.model_copy(update={"path": judge.path, "revision": None})
    prompts, tokenizer = model_prompts(own)
    names = (None, judge.served_name) if judge.adapter is not None else (judge.served_name, None)
    key = api_key(JUDGE_KEY) or api_key(KEY)
    servers = replace(servers, urls=judge.urls, key=key, setting="judge.urls")
    return ServerSampler(servers, requirements(prompts, tokenizer, judge.max_model_len, *names))


def examined(servers: Servers, required: Requirements, should_stop: Callable[[], bool] = lambda: False) -> list[Server]:
    """Return every server as it is once one works; the others get `connect_s` more to be examined.

    Raises:
        InputError: none of them meets the requirements.
        Unavailable: none works within `patience_s`.
    """
    sampler = ServerSampler(servers, required)
    try:
        sampler.wait_ready(should_stop)
        deadline = time.monotonic() + servers.connect_s
        while any(each.state == "new" for each in sampler.servers()) and time.monotonic() < deadline:
            if should_stop():
                break
            time.sleep(_STEP_S)
        return sampler.servers()
    finally:
        sampler.close()


class ServerSampler:
    """Puts requests to servers."""

    def __init__(self, servers: Servers, required: Requirements, expected: ServerFacts | None = None) -> None:
        """Begin to look for servers; `wait_ready` waits for one. expected: see Pool."""
        self._running: set[Key] = set()
        self._late_tokens = 0
        self._arrived = threading.Condition()
        self._done: list[Completion] = []
        self._failure: Exception | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="servers", daemon=True)
        self._thread.start()

        async def start() -> Pool:
            pool = Pool(servers, required, expected, self._on_done, self._on_failure)
            pool.start()
            return pool

        self._pool: Pool = self._call(start())

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def running_tokens(self) -> int:
        return self._pool.running_tokens

    @property
    def cancelled_tokens(self) -> int:
        """Those of broken answers too, which a request that was asked again had made."""
        return self._pool.lost_tokens + self._late_tokens

    @property
    def capacity_tokens(self) -> int | None:
        return self._pool.capacity_tokens

    def servers(self) -> list[Server]:
        """Return the servers as they are now."""
        return self._pool.listed()

    def wait_ready(self, should_stop: Callable[[], bool]) -> None:
        while not self._pool.is_ready and not should_stop():
            self.wait(_STEP_S)
            self._raise()

    def submit(self, requests: Sequence[Request]) -> None:
        self._running |= {request.key for request in requests}
        self._loop.call_soon_threadsafe(self._pool.submit, list(requests))

    def step(self) -> list[Completion]:
        self.wait(_STEP_S if self._running else 0.0)
        with self._arrived:
            arrived, self._done = self._done, []
        completions = []
        for completion in arrived:
            if completion.key in self._running:
                self._running.remove(completion.key)
                completions.append(completion)
            else:  # it was dropped since
                self._late_tokens += completion.num_tokens
        if not completions:
            self._raise()
        return completions

    def wait(self, wait_s: float) -> None:
        """Sleep until there is something to report, or `wait_s` seconds."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._done or self._failure is not None, wait_s)

    def cancel(self, keys: Sequence[Key]) -> None:
        self._running.difference_update(keys)
        self._loop.call_soon_threadsafe(self._pool.cancel, list(keys))

    def abort(self) -> None:
        async def drop() -> None:
            self._pool.cancel(keys)

        keys = list(self._running)
        self._running.clear()
        # From here on nothing is lost any more. If that thread hangs, as on a file, the job does not.
        with contextlib.suppress(TimeoutError):
            self._call(drop(), _ABORT_S)
        with contextlib.suppress(EngineError, InputError, Unavailable):
            self.step()  # what had come and was not taken is lost too

    def close(self) -> None:
        self._running.clear()
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

    def _on_done(self, completion: Completion) -> None:
        with self._arrived:
            self._done.append(completion)
            self._arrived.notify_all()

    def _on_failure(self, error: Exception) -> None:
        with self._arrived:
            self._failure = self._failure or error
            self._arrived.notify_all()

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure
