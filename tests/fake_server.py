"""A server that speaks as vLLM's does and has no model: its tokens are a function of the request. For tests, and for the client's benchmark.

    python -m tests.fake_server --port 8000 --model fake --key secret

What a completion is depends on prompt, seed and `--weights` alone, so that runs on it can be compared to the token.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import zlib
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tests.documents import PROJECT
from tests.loop_thread import LoopThread

MODEL = PROJECT / ".cache/models/smollm2_135m"
STEP = 16


@dataclass
class Fake:
    """What the server is. token_s: seconds a token. weights: of the model: another number, other tokens."""

    model: str = "fake"
    weights: int = 0
    key: str | None = None
    token_s: float = 0.0
    context: int = 2048
    version: str = "0.32.0"
    tokenizer: Any = None
    adapter: str | None = None
    refuses_priorities: bool = False
    ignores_seeds: bool = False
    reports_cached: bool = True
    most_tokens: int = 1 << 20  # of any completion, as a server's own limit
    seen: list[dict[str, Any]] = field(default_factory=list)
    keeps_seen: bool = False
    connections: set[Connection] = field(default_factory=set)

    @property
    def fingerprint(self) -> str:
        return f"vllm-{self.version}-{zlib.crc32(f'{self.model} {self.weights}'.encode()):08x}"


@cache
def loaded_tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MODEL)


@cache
def _texts() -> tuple[list[list[int]], list[int], int]:
    tokenizer = loaded_tokenizer()
    answers = [tokenizer.encode(f" The answer is \\boxed{{{digit}}}.") for digit in range(10)]
    words = tokenizer.encode(" so we add the two and then see that this is more than what was there before we began")
    return answers, words, tokenizer.eos_token_id


def completion(fake: Fake, body: dict[str, Any]) -> tuple[list[int], str]:
    """Return the tokens and the finish reason of a request."""
    prompt = body["prompt"]
    source = random.Random(f"{fake.weights} {body.get('seed')} {zlib.crc32(json.dumps(prompt).encode())}")
    if fake.ignores_seeds:
        source = random.Random()
    most = min(body["max_tokens"], fake.most_tokens)
    answers, words, eos = _texts()
    digits = [source.choice((1, 2, 3)) if source.random() < 0.5 else len(prompt) % 10]
    ids = [source.choice(words) for _ in range(source.randrange(12))] + answers[digits[0]] + [eos]
    if source.random() < 0.4:
        ids = [source.choice(words) for _ in range(most)]
    return ids[:most], "stop" if len(ids) <= most and ids[-1] == eos else "length"


def logprobs_of(body: dict[str, Any], ids: list[int]) -> list[dict[str, float]] | None:
    if body.get("logprobs") is None:
        return None
    chosen = body.get("logprob_token_ids") or [*range(body["logprobs"])]
    return [
        {f"token_id:{other}": -0.25 - ((token + other) % 97) / 10 for other in dict.fromkeys([token, *chosen])}
        for token in ids
    ]


class Connection(asyncio.Protocol):
    """One connection of HTTP/1.1, kept alive."""

    def __init__(self, fake: Fake) -> None:
        self.fake = fake
        self.buffer = b""
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.fake.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.fake.connections.discard(self)
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].decode("latin-1")
        lower = head.lower()
        size = int(lower.partition("content-length:")[2].split("\r\n")[0] or 0) if "content-length:" in lower else 0
        if len(self.buffer) < end + 4 + size:
            return
        content = self.buffer[end + 4 : end + 4 + size]
        self.buffer = self.buffer[end + 4 + size :]
        method, path, _ = head.split("\r\n")[0].split(" ", 2)
        is_known = self.fake.key is None or f"Bearer {self.fake.key}" in head
        if path.startswith("/v1") and not is_known:
            self.answer(401, {"error": {"message": f"Unauthorized: {head}"}})
            return
        self.route(method, path, content)

    def route(self, method: str, path: str, content: bytes) -> None:
        fake = self.fake
        if path == "/version":
            self.answer(200, {"version": fake.version})
        elif path == "/health":
            self.answer(200, {})
        elif path == "/metrics":
            labels = 'block_size="16",enable_prefix_caching="True",kv_cache_size_tokens="1000000"'
            self.answer(200, f"vllm:cache_config_info{{{labels}}} 1.0\n".encode())
        elif path == "/v1/models":
            card = {"id": fake.model, "root": "/models/fake", "parent": None, "max_model_len": fake.context}
            cards = [card, card | {"id": fake.adapter, "parent": fake.model}] if fake.adapter else [card]
            self.answer(200, {"data": cards})
        elif path == "/tokenize":
            body = json.loads(content)
            self.answer(200, {"tokens": fake.tokenizer.encode(body["prompt"], add_special_tokens=False)})
        elif path == "/v1/completions":
            body = json.loads(content)
            if fake.keeps_seen:
                fake.seen.append(body)
            if body.get("model") not in (fake.model, fake.adapter):
                self.answer(404, {"error": {"message": f"The model `{body.get('model')}` does not exist."}})
            elif body.get("priority") and fake.refuses_priorities:
                self.answer(400, {"error": {"message": "priority scheduling is not enabled"}})
            elif body.get("stream"):
                if fake.token_s:
                    self.task = asyncio.ensure_future(self.stream_slowly(body))
                else:
                    self.transport.write(self.stream_head() + b"".join(self.events(body)) + b"0\r\n\r\n")
            else:
                self.whole(body)
        else:
            self.answer(404, {"error": {"message": "Not Found"}})

    def whole(self, body: dict[str, Any]) -> None:
        fake = self.fake
        ids, reason = completion(fake, body)
        choice: dict[str, Any] = {"index": 0, "text": "", "token_ids": ids, "finish_reason": reason}
        if body.get("prompt_logprobs") is not None:
            source = random.Random(fake.weights)
            values = [{str(token): {"logprob": -source.random() * 5}} for token in body["prompt"]]
            choice["prompt_logprobs"] = [None, *values[1:]]
        self.answer(
            200,
            {
                "id": "cmpl-whole",
                "model": body["model"],
                "choices": [choice],
                "usage": self.usage(body, ids),
                "system_fingerprint": fake.fingerprint,
            },
        )

    def usage(self, body: dict[str, Any], ids: list[int]) -> dict[str, Any]:
        usage: dict[str, Any] = {"prompt_tokens": len(body["prompt"]), "completion_tokens": len(ids)}
        if self.fake.reports_cached:
            usage["prompt_tokens_details"] = {"cached_tokens": len(body["prompt"]) // 16 * 16}
        return usage

    def events(self, body: dict[str, Any]) -> list[bytes]:
        ids, reason = completion(self.fake, body)
        found = logprobs_of(body, ids)
        head = {"id": f"cmpl-{body['request_id']}", "model": body["model"]}
        events = []
        for start in range(0, len(ids), STEP):
            part = ids[start : start + STEP]
            is_last = start + STEP >= len(ids)
            choice = {
                "index": 0,
                "text": "",
                "token_ids": part,
                "prompt_token_ids": body["prompt"] if start == 0 else None,
                "finish_reason": reason if is_last else None,
                "logprobs": None if found is None else {"top_logprobs": found[start : start + STEP]},
            }
            events.append(head | {"choices": [choice]})
        last = {"choices": [], "usage": self.usage(body, ids), "system_fingerprint": self.fake.fingerprint}
        texts = [json.dumps(event) for event in (*events, head | last)] + ["[DONE]"]
        return [_chunk(f"data: {text}\n\n".encode()) for text in texts]

    def stream_head(self) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def stream_slowly(self, body: dict[str, Any]) -> None:
        self.transport.write(self.stream_head())
        for event in self.events(body):
            await asyncio.sleep(self.fake.token_s * STEP)
            self.transport.write(event)
        self.transport.write(b"0\r\n\r\n")

    def answer(self, status: int, values: Any) -> None:
        content = values if isinstance(values, bytes) else json.dumps(values).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        self.transport.write(head.encode() + content)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def serve(fake: Fake, port: int) -> asyncio.Server:
    if fake.tokenizer is None:
        fake.tokenizer = loaded_tokenizer()
    return await asyncio.get_running_loop().create_server(lambda: Connection(fake), "127.0.0.1", port)


class FakeServer:
    """The server in a thread of this process; `url` says where."""

    def __init__(self, fake: Fake, port: int = 0) -> None:
        self.fake = fake
        self._thread = LoopThread()
        self._server = self._thread.run(serve(fake, port))
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._is_closed = False

    def close(self) -> None:
        """Stop listening and end every connection, as a server does that is killed. A second call does nothing."""

        async def end() -> None:
            self._server.close()
            for connection in list(self.fake.connections):
                connection.transport.abort()

        if not self._is_closed:
            self._is_closed = True
            self._thread.stop(end())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", default="fake")
    parser.add_argument("--weights", type=int, default=0)
    parser.add_argument("--key")
    parser.add_argument("--token-s", type=float, default=0.0)
    given = parser.parse_args()
    fake = Fake(model=given.model, weights=given.weights, key=given.key, token_s=given.token_s)

    async def forever() -> None:
        server = await serve(fake, given.port)
        print("serving", flush=True)
        await server.serve_forever()

    asyncio.run(forever())


if __name__ == "__main__":
    main()
