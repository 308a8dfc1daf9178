"""HTTP to one server: JSON in, JSON or a stream of bytes out. Owns aiohttp.

TLS is verified, redirects are not followed, proxies of the environment are not used, nothing is unpacked, and what is read has a bound.
The key is in a header and nowhere else: no error of this module holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

# Of an answer that is not a stream, and of what is shown of an error.
_MAX_BYTES = 1 << 24
_SHOWN = 300


class Unreachable(Exception):
    """No answer, or not the whole of one: refused, reset, cut off, too slow.

    Attributes:
        is_gone: nobody is there. is_slow: nothing came in time.
    """

    def __init__(self, message: str, is_gone: bool = False, is_slow: bool = False) -> None:
        super().__init__(message)
        self.is_gone = is_gone
        self.is_slow = is_slow


class Refused(Exception):
    """An answer that is none: a status other than 200.

    Attributes:
        retry_after_s: what the server asks for; 0.0 if it asks for nothing.
    """

    def __init__(self, status: int, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(f"status {status}{': ' if message else ''}{message}")
        self.status = status
        self.retry_after_s = retry_after_s


class Client:
    """Speaks to servers with one key. Made and closed inside an event loop.

    Args:
        key: sent to every server; None: none is sent.
        connect_s: for a connection, and for what is not sampled the whole answer.
        answer_s: for an answer that is sampled and no stream.
    """

    def __init__(self, key: str | None, connect_s: float, answer_s: float) -> None:
        self._key = key
        self._answer_s = answer_s
        self._connect_s = connect_s
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

    async def get(self, url: str) -> bytes:
        """Return what a server says under a URL. Raises Unreachable, Refused."""
        return await self._whole("GET", url, None, self._connect_s)

    async def post(self, url: str, body: Mapping[str, Any], is_sampled: bool = False) -> Any:
        """Return the JSON that a server answers. is_sampled: it may have to wait for its turn. Raises Unreachable, Refused."""
        return _parsed(await self._whole("POST", url, body, self._answer_s if is_sampled else self._connect_s))

    async def get_json(self, url: str) -> Any:
        """Return the JSON under a URL. Raises Unreachable, Refused."""
        return _parsed(await self.get(url))

    @contextlib.asynccontextmanager
    async def stream(self, url: str, body: Mapping[str, Any], request_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield the pieces of an answer as they come; leaving ends the connection if there are more. Raises Unreachable, Refused.

        Args:
            request_id: the answer's; in a header too, since vLLM takes it from there where a proxy puts one.
        """
        async with self._answered("POST", url, body, {"X-Request-Id": request_id}) as answer:
            yield _pieces(answer)

    async def _whole(self, method: str, url: str, body: Mapping[str, Any] | None, limit_s: float) -> bytes:
        try:
            async with asyncio.timeout(limit_s), self._answered(method, url, body) as answer:
                return await _bounded(answer)
        except TimeoutError:
            raise Unreachable(f"no answer in {limit_s:g} s", is_slow=True) from None

    @contextlib.asynccontextmanager
    async def _answered(
        self, method: str, url: str, body: Mapping[str, Any] | None, more: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = dict(more or {}) | ({} if data is None else {"Content-Type": "application/json"})
        try:
            async with self._session.request(method, url, data=data, headers=headers, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise Refused(answer.status, self._shown(await _bounded(answer)), _retry_after_s(answer))
                if answer.headers.get("Content-Encoding", "identity") != "identity":
                    raise Unreachable("an answer that is packed, which was not asked for")
                yield answer
        except aiohttp.ClientConnectorCertificateError:
            raise Unreachable("its certificate is not valid", is_gone=True) from None
        except aiohttp.ClientConnectorError as error:
            why = error.os_error.strerror or type(error.os_error).__name__
            raise Unreachable(f"no connection ({why})", is_gone=True) from None
        except aiohttp.ConnectionTimeoutError:
            raise Unreachable(f"no connection in {self._connect_s:g} s", is_gone=True) from None
        except aiohttp.ClientError as error:
            raise Unreachable(f"the connection broke ({type(error).__name__})") from None
        except OSError as error:
            raise Unreachable(f"the connection broke ({error.strerror or type(error).__name__})") from None

    def _shown(self, body: bytes) -> str:
        """Return a short text of an error's body, without the key, which a server may repeat."""
        text = body.decode(errors="replace")
        with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
            error = json.loads(text)
            text = str(error["error"]["message"] if "error" in error else error["message"])
        return " ".join(self.redacted(text).split())[:_SHOWN]

    def redacted(self, text: str) -> str:
        """Return a text without the key, which a server may repeat."""
        return text.replace(self._key, "***") if self._key else text


async def _pieces(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async for piece in answer.content.iter_any():
        yield piece


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    found = bytearray()
    async for piece in answer.content.iter_any():
        found += piece
        if len(found) > _MAX_BYTES:
            raise Unreachable(f"an answer of more than {_MAX_BYTES >> 20} MiB")
    return bytes(found)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Unreachable("an answer that is no JSON") from None


def _retry_after_s(answer: aiohttp.ClientResponse) -> float:
    text = answer.headers.get("Retry-After", "")
    return min(60.0, float(text)) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0
