"""The two kinds of trouble that a user can cause or must know about, and how text is shown in a line. Knows nothing else of the
program."""

from __future__ import annotations

from collections.abc import Sequence

_MAX_LINE = 2_000


class InputError(ValueError):
    """Bad input or configuration: the job ends with exit code 2 and these lines, without a traceback.

    Args:
        faults: one or more lines, each `what: got X, expected Y. Next step.`
    """

    def __init__(self, faults: str | Sequence[str]) -> None:
        self.faults = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))


class CheckpointError(RuntimeError):
    """The checkpoint cannot be read or written: exit code 1; nothing was deleted."""


class EngineError(RuntimeError):
    """The inference engine died or could not be started: exit code 1; what was committed stays."""


def printable(text: str) -> str:
    """Return the text as one line that any terminal can show: control characters and lone surrogates are escaped, the middle of
    very long text is left out. Names, paths and file contents get into messages, and must not steer a terminal."""
    shown = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )
    half = _MAX_LINE // 2
    return shown if len(shown) <= _MAX_LINE else f"{shown[:half]} ... {shown[-half:]}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the error's name if it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
