"""The one place where errors and warnings are printed: each is one line that any terminal can show."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

_MAX_LINE = 2_000


def printable(text: str) -> str:
    """Return the text as one line that any terminal can show: control characters and lone surrogates are escaped, the middle of
    very long text is left out. Names, paths and file contents get into messages, and must not steer a terminal."""
    shown = visible(text)
    half = _MAX_LINE // 2
    return shown if len(shown) <= _MAX_LINE else f"{shown[:half]} ... {shown[-half:]}"


def visible(text: str) -> str:
    """Return the text as one line in which control characters and lone surrogates are escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def print_errors(lines: Iterable[str]) -> None:
    for line in lines:
        print(f"error: {printable(line)}", file=sys.stderr)


def print_warnings(lines: Iterable[str]) -> None:
    for line in lines:
        print(f"warning: {printable(line)}", file=sys.stderr)


def log(text: str) -> None:
    """Print a line of a job's log, with the time."""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {printable(text)}", file=sys.stderr, flush=True)
