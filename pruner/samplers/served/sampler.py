"""The served sampler itself: the job's side of a pool, which works while the job waits in `step`, `wait` or `wait_ready`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from pruner.prompts import model_prompts
from pruner.records.traces import Key
from pruner.samplers.base import Completion, Request
from pruner.samplers.judge_engine import JudgeEngine
from pruner.samplers.served.addresses import JUDGE_KEY, KEY, Servers, api_key
from pruner.samplers.served.examination import Requirements
from pruner.samplers.served.facts import ServerFacts
from pruner.samplers.served.flights import Server
from pruner.samplers.served.pool import Pool
from pruner.settings.model import ModelConfig

_STEP_S = 0.05


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
    return ServerSampler(servers, Requirements(prompts, tokenizer, judge.max_model_len, *names))


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
            sampler.wait(_STEP_S)
        return sampler.servers()
    finally:
        sampler.close()


class ServerSampler:
    """Puts requests to servers."""

    def __init__(self, servers: Servers, required: Requirements, expected: ServerFacts | None = None) -> None:
        """Begin to look for servers; `wait_ready` waits for one. expected: see Pool."""
        self._loop = asyncio.new_event_loop()

        async def start() -> Pool:
            return Pool(servers, required, expected)

        self._pool: Pool = self._loop.run_until_complete(start())

    @property
    def running_tokens(self) -> int:
        return self._pool.running_tokens

    @property
    def cancelled_tokens(self) -> int:
        """Those of broken answers too, which a request that was asked again had made."""
        return self._pool.lost_tokens

    @property
    def capacity_tokens(self) -> int | None:
        return self._pool.capacity_tokens

    def servers(self) -> list[Server]:
        """Return the servers as they are now."""
        return self._pool.listed()

    def wait_ready(self, should_stop: Callable[[], bool]) -> None:
        while not self._pool.is_ready and not should_stop():
            self.wait(_STEP_S)
            self._pool.check()

    def submit(self, requests: Sequence[Request]) -> None:
        self.wait(0.0)  # connections that a server closed while the job was busy are not used again
        self._pool.submit(requests)

    def step(self) -> list[Completion]:
        self.wait(_STEP_S if self._pool.is_busy else 0.0)
        completions = self._pool.take()
        if not completions:
            self._pool.check()
        return completions

    def wait(self, wait_s: float) -> None:
        """Work until there is something for `step` to return, or for `wait_s` seconds."""
        self._loop.run_until_complete(self._pool.work(wait_s))

    def cancel(self, keys: Sequence[Key]) -> None:
        self._pool.cancel(keys)

    def abort(self) -> None:
        self._pool.abort()
        self.wait(0.0)  # connections are closed, by which the servers know

    def close(self) -> None:
        if not self._loop.is_closed():
            self._loop.run_until_complete(self._pool.close())
            self._loop.close()
