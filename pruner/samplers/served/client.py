"""HTTP to servers: JSON out, bytes in, whole or as a stream. Owns aiohttp.

TLS is verified, redirects are not followed, proxies of the environment are not used, nothing is unpacked, and every answer has a bound.
The key is in a header and nowhere else; what is shown of an answer goes through `shown`, since a server may repeat the key.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from pruner.samplers.served.faults import Fault, Refused

# Of an answer that is not a stream.
_MAX_BYTES = 1 << 24
_SHOWN = 300


class Client:
    """Speaks to servers with one key. Made and closed inside an event loop.

    Args:
        key: sent to every server; None: none is sent.
        connect_s: for a connection, and for a whole answer that is not sampled.
        sampled_s: for a whole answer that is sampled: it may have to wait for its turn.
    """

    def __init__(self, key: str | None, connect_s: float, sampled_s: float) -> None:
        self._key = key
        self._connect_s = connect_s
        self._sampled_s = sampled_s
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._session.close()

    async def ask(self, url: str, body: Mapping[str, Any] | None = None, is_sampled: bool = False) -> bytes:
        """Return the whole answer to a GET, or to a POST if there is a body. Raises Fault."""
        limit_s = self._sampled_s if is_sampled else self._connect_s
        try:
            async with asyncio.timeout(limit_s), self._answered(url, body, {}) as answer:
                return b"".join([piece async for piece in _pieces(answer, _MAX_BYTES)])
        except TimeoutError:
            raise Fault(f"no answer in {limit_s:g} s", is_gone=True) from None

    @contextlib.asynccontextmanager
    async def stream(
        self, url: str, body: Mapping[str, Any], request_id: str, most_bytes: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield the pieces of an answer as they come; leaving ends the connection if there are more. Raises Fault.

        Args:
            request_id: the answer's; in a header too, since vLLM takes it from there if a proxy puts one.
            most_bytes: of the answer.
        """
        async with self._answered(url, body, {"X-Request-Id": request_id}) as answer:
            yield _pieces(answer, most_bytes)

    def shown(self, text: str) -> str:
        """Return a text that holds a server's words as one short line without the key."""
        return " ".join((text.replace(self._key, "***") if self._key else text).split())[:_SHOWN]

    @contextlib.asynccontextmanager
    async def _answered(
        self, url: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        kind = {} if data is None else {"Content-Type": "application/json"}
        try:
            method = "GET" if body is None else "POST"
            headers = {**headers, **kind}
            async with self._session.request(method, url, data=data, headers=headers, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise Refused(answer.status, await _message(answer), _retry_after_s(answer))
                if answer.headers.get("Content-Encoding", "identity") != "identity":
                    raise Fault("a packed answer, which was not asked for")
                yield answer
        except aiohttp.ClientConnectorCertificateError:
            raise Fault("its certificate is not valid", is_gone=True) from None
        except aiohttp.ClientConnectorError as error:
            why = error.os_error.strerror or type(error.os_error).__name__
            raise Fault(f"no connection ({why})", is_gone=True) from None
        except aiohttp.ConnectionTimeoutError:
            raise Fault(f"no connection in {self._connect_s:g} s", is_gone=True) from None
        except (aiohttp.ClientError, OSError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise Fault(f"the connection broke ({why})") from None


async def _pieces(answer: aiohttp.ClientResponse, most_bytes: int) -> AsyncIterator[bytes]:
    num_bytes = 0
    async for piece in answer.content.iter_any():
        num_bytes += len(piece)
        if num_bytes > most_bytes:
            raise Fault(f"an answer of more than {most_bytes:,} bytes")
        yield piece


async def _message(answer: aiohttp.ClientResponse) -> str:
    """Return the message in the body of an error."""
    text = b"".join([piece async for piece in _pieces(answer, _MAX_BYTES)]).decode(errors="replace")
    with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
        error = json.loads(text)
        return str(error["error"]["message"] if "error" in error else error["message"])
    return text


def _retry_after_s(answer: aiohttp.ClientResponse) -> float:
    text = answer.headers.get("Retry-After", "")
    return min(60.0, float(text)) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0
