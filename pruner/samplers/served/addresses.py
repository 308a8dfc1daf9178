"""Where servers are: a list of URLs, or a file that holds one a line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from pruner.errors import InputError
from pruner.settings.section import local_path

_MAX_BYTES = 1 << 20


def url_fault(url: str) -> str | None:
    """Return what keeps a text from being a server's URL; None if nothing does. A fault does not repeat what may be a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "got what is no URL, expected http://HOST:PORT or https://HOST"
    if parts.username is not None or parts.password is not None:
        return "got a URL with a user or password in it. Put the key into the environment: PRUNER_API_KEY=..."
    if parts.scheme not in ("http", "https") or not host or port == 0:
        return f"got {shown(parts)!r}, expected http://HOST:PORT or https://HOST"
    if parts.query or parts.fragment or not url.isprintable() or " " in url:
        return f"got {shown(parts)!r} and more, expected a URL without ?, # or spaces"
    return None


def shown(parts: SplitResult) -> str:
    """Return of a URL what cannot be a secret."""
    return f"{parts.scheme[:20]}://{(parts.hostname or '')[:100]}"


def urls_fault(urls: str | Sequence[str]) -> str | None:
    """Return what keeps a setting from naming servers; None if nothing does."""
    if isinstance(urls, str):
        return None if urls.startswith("@") and len(urls) > 1 else "expected [http://HOST:PORT,...] or @FILE"
    if not urls:
        return "got none, expected [http://HOST:PORT,...] or @FILE"
    return next((fault for url in urls if (fault := url_fault(url))), None)


def base_url(url: str) -> str:
    """Return a server's URL without the `/v1` that other clients want behind it."""
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def read_urls(urls: str | Sequence[str]) -> tuple[str, ...]:
    """Return the servers' URLs, each once.

    Args:
        urls: as configured: URLs, or `@FILE`, which may not be there yet.

    Raises:
        InputError: the file holds something else.
    """
    if isinstance(urls, str):
        path = local_path(urls.removeprefix("@"))
        try:
            with path.open("rb") as file:
                text = file.read(_MAX_BYTES).decode()
        except FileNotFoundError:
            return ()
        except (OSError, ValueError) as error:
            raise InputError(f"sampler.urls: {path} cannot be read ({type(error).__name__}).") from None
        lines = [line.partition("#")[0].strip() for line in text.splitlines()]
        urls = [line for line in lines if line]
        if faults := [f"sampler.urls: {path}: {fault}." for url in urls if (fault := url_fault(url))]:
            raise InputError(faults)
    return tuple(dict.fromkeys(base_url(url) for url in urls))


def api_key(variable: str) -> str | None:
    """Return a server's key, from the environment alone; None if there is none.

    Raises:
        InputError: it cannot stand in a header.
    """
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or not key.isprintable():
        raise InputError(f"{variable}: expected a key of printable ASCII letters.")
    return key or None
