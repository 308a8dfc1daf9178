"""Where servers are: a list of URLs, or a file with one URL per line. And how long they are waited for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pruner.errors import InputError
from pruner.settings.section import local_path

# The environment's names for the servers' key, and for that of the judge's servers if it is another.
KEY, JUDGE_KEY = "PRUNER_API_KEY", "PRUNER_JUDGE_API_KEY"
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Servers:
    """Servers that jobs share, and how each job treats them.

    Attributes:
        urls: as configured: URLs, or `@FILE`, which may not be there yet.
        key: None: they want none.
        max_running: requests that each of them works on at once.
        connect_s, stall_s, patience_s: see ServerSamplerConfig.
        setting: the key of the configuration that names them.
        extra: more values for the body of each request, for benchmarks.
    """

    urls: str | tuple[str, ...]
    key: str | None
    max_running: int
    connect_s: float = 10.0
    stall_s: float = 300.0
    patience_s: float = 1800.0
    setting: str = "sampler.urls"
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of servers, at least 1: a file may name them later. Raises InputError like `addresses`."""
        return max(1, len(self.addresses()))

    def addresses(self) -> tuple[str, ...]:
        """Return the servers' URLs, each once; none if the file is not there yet.

        Raises:
            InputError: the file cannot be read, or holds something else.
        """
        urls: Sequence[str] = self.urls
        if isinstance(urls, str):
            urls = self._lines(urls.removeprefix("@"))
        return tuple(dict.fromkeys(url.rstrip("/").removesuffix("/v1").rstrip("/") for url in urls))

    def _lines(self, file: str) -> list[str]:
        path = local_path(file)
        try:
            with path.open("rb") as opened:
                text = opened.read(_MAX_BYTES).decode()
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise InputError(f"{self.setting}: {path} cannot be read ({type(error).__name__}).") from None
        lines = [line.partition("#")[0].strip() for line in text.splitlines()]
        urls = [line for line in lines if line]
        if faults := [f"{self.setting}: {path}: {fault}." for url in urls if (fault := url_fault(url))]:
            raise InputError(faults)
        return urls


def url_fault(url: str) -> str | None:
    """Return the fault of a text that is no server's URL, else None. It does not repeat what may be a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "got something that is no URL, expected http://HOST:PORT or https://HOST"
    if parts.username is not None or parts.password is not None:
        return "got a URL with a user or password in it. Put the key into the environment: PRUNER_API_KEY=..."
    if parts.scheme not in ("http", "https") or not host or port == 0:
        return f"got {_shown(parts)!r}, expected http://HOST:PORT or https://HOST"
    if parts.query or parts.fragment or not url.isprintable() or " " in url:
        return f"got {_shown(parts)!r} and more, expected a URL without ?, # or spaces"
    return None


def _shown(parts: SplitResult) -> str:
    """Return the part of a URL that cannot be a secret."""
    return f"{parts.scheme[:20]}://{(parts.hostname or '')[:100]}"


def urls_fault(urls: str | Sequence[str]) -> str | None:
    """Return the fault of a setting that names no servers, else None."""
    if isinstance(urls, str):
        return None if urls.startswith("@") and len(urls) > 1 else "expected [http://HOST:PORT,...] or @FILE"
    if not urls:
        return "got none, expected [http://HOST:PORT,...] or @FILE"
    return next((fault for url in urls if (fault := url_fault(url))), None)


def api_key(variable: str) -> str | None:
    """Return a server's key, from the environment alone; None if there is none.

    Raises:
        InputError: it cannot stand in a header.
    """
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or not key.isprintable():
        raise InputError(f"{variable}: expected a key of printable ASCII letters.")
    return key or None
