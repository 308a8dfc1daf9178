"""A proxy before a server that answers a share of the requests wrongly, in every way that networks and servers have.

    python -m tests.fault_proxy --port 8100 --server http://127.0.0.1:8000 --share 0.3 --most 1000 --counts counts.json

It works on any server that speaks as vLLM's does. How often it did what is in `counts`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.loop_thread import LoopThread

# What is done to a request of `/v1/completions`.
FAULTS = (
    "closed before the answer",
    "status 429",
    "status 500",
    "status 503",
    "the body is cut",
    "the body is cut, and ends as if it were whole",
    "fewer tokens than asked for",
    "another model",
    "another request's answer",
    "another prompt",
    "another configuration",
    "an event twice",
    "an event lost",
    "garbage",
    "a redirect",
    "packed",
    "endless",
    "hangs",
)


logging.getLogger("aiohttp.server").disabled = True  # clients that hang up are no news


class FaultProxy:
    """The proxy. share: of the requests that are answered wrongly. most: of all. hang_s: how long a hanging one hangs."""

    def __init__(self, server: str, share: float, most: int, seed: int = 0, hang_s: float = 30.0) -> None:
        self.server, self.share, self.most, self.hang_s = server, share, most, hang_s
        self.counts: Counter[str] = Counter()
        self.kinds: tuple[str, ...] = FAULTS
        self._source = random.Random(seed)
        self._last: list[bytes] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        content = await request.read()
        fault = None
        if request.path == "/v1/completions" and self.counts.total() < self.most and self._source.random() < self.share:
            # Each kind as often as the others.
            fault = min(self.kinds, key=lambda kind: (self.counts[kind], self._source.random()))
            self.counts[fault] += 1
        headers = {key: value for key, value in request.headers.items() if key in ("Authorization", "Content-Type")}
        if fault == "closed before the answer":
            assert request.transport is not None
            request.transport.abort()
            raise asyncio.CancelledError
        if fault == "hangs":
            await asyncio.sleep(self.hang_s)
            return web.Response(status=504)
        if fault is not None and fault.startswith("status"):
            echo = request.headers.get("Authorization", "")
            return web.json_response({"error": {"message": f"try later {echo}"}}, status=int(fault[-3:]))
        if fault == "a redirect":
            return web.Response(status=307, headers={"Location": "http://127.0.0.1:9/elsewhere"})
        try:
            return await self._passed(request, fault, content, headers)
        except aiohttp.ClientError:
            return web.Response(status=502)

    async def _passed(
        self, request: web.Request, fault: str | None, content: bytes, headers: dict[str, str]
    ) -> web.StreamResponse:
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method, self.server + request.path, data=content, headers=headers, allow_redirects=False
            ) as answer,
        ):
            kind = answer.headers.get("Content-Type", "application/json")
            if "event-stream" not in kind or fault is None:
                response = web.StreamResponse(status=answer.status, headers={"Content-Type": kind})
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
                await response.write_eof()
                return response
            lines = [line async for line in answer.content]
        return await self._wrong(request, fault, lines)

    async def _wrong(self, request: web.Request, fault: str, lines: list[bytes]) -> web.StreamResponse:
        events = [b"data: " + line[6:].strip() + b"\n\n" for line in lines if line.startswith(b"data: ")]
        headers = {"Content-Type": "text/event-stream"}
        if fault == "packed":
            headers["Content-Encoding"] = "gzip"
        before, self._last = self._last, events
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for event in changed(fault, events, before):
            await response.write(event)
            await asyncio.sleep(0)
        if fault == "endless":
            for _ in range(10_000):
                await response.write(b": wait\n\n" * 10_000)
        if fault == "the body is cut":
            assert request.transport is not None
            request.transport.abort()
            raise asyncio.CancelledError
        await response.write_eof()
        return response


def changed(fault: str, events: list[bytes], before: list[bytes]) -> list[bytes]:
    """Return the events of an answer with a fault in them. before: an earlier answer's."""

    def with_(position: int, change: dict[str, Any], choice: dict[str, Any] | None = None) -> list[bytes]:
        values = json.loads(events[position][6:])
        values |= change
        if choice is not None:
            values["choices"][0] |= choice
        new = b"data: " + json.dumps(values).encode() + b"\n\n"
        return [*events[:position], new, *events[position + 1 :]]

    tokens = len(events) - 2
    if fault in ("the body is cut", "the body is cut, and ends as if it were whole"):
        return events[: max(1, tokens // 2)]
    if fault == "fewer tokens than asked for":
        ids = json.loads(events[tokens - 1][6:])["choices"][0]["token_ids"]
        shorter = with_(tokens - 1, {}, {"token_ids": ids[:-1], "finish_reason": "length"})
        usage = json.loads(shorter[-2][6:])
        usage["usage"]["completion_tokens"] -= 1
        return [*shorter[:-2], b"data: " + json.dumps(usage).encode() + b"\n\n", shorter[-1]]
    if fault == "another model":
        return with_(0, {"model": "another"})
    if fault == "another request's answer":
        return before or with_(0, {"id": "cmpl-another"})
    if fault == "another prompt":
        return with_(0, {}, {"prompt_token_ids": [1, 2, 3]})
    if fault == "another configuration":
        return with_(tokens, {"system_fingerprint": "vllm-0.32.0-ffffffff"})
    if fault == "an event twice":
        return [events[0], *events]
    if fault == "an event lost":
        return [*events[: tokens - 1], *events[tokens:]] if tokens > 1 else events[tokens:]
    if fault == "garbage":
        return [events[0][: len(events[0]) // 2], b"\n\ndata: {\xff\x00 []\n\n", *events[1:]]
    return events


async def listen(proxy: FaultProxy, port: int) -> tuple[web.AppRunner, int]:
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    return runner, runner.addresses[0][1]


class ProxyServer:
    """The proxy in a thread of this process; `url` says where."""

    def __init__(self, proxy: FaultProxy, port: int = 0) -> None:
        self.proxy = proxy
        self._thread = LoopThread()
        self._runner, self.port = self._thread.run(listen(proxy, port))
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._thread.stop(self._runner.cleanup())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server", required=True)
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--most", type=int, default=1000)
    parser.add_argument("--hang-s", type=float, default=30.0)
    parser.add_argument("--counts", type=Path)
    given = parser.parse_args()
    proxy = FaultProxy(given.server, given.share, given.most, hang_s=given.hang_s)

    async def forever() -> None:
        await listen(proxy, given.port)
        print("serving", flush=True)
        while True:
            await asyncio.sleep(0.5)
            if given.counts:
                given.counts.write_text(json.dumps(proxy.counts))

    asyncio.run(forever())


if __name__ == "__main__":
    main()
