"""The kinds of trouble that a user can cause or must know about. Knows nothing else of the program."""

from __future__ import annotations

from collections.abc import Sequence

# The exit code of a job that was interrupted and goes on with the same command.
INTERRUPTED = 75


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


class Unavailable(RuntimeError):
    """What the job works with is away for longer than it may wait: exit code 75; the same command goes on from what was committed."""


class AnswerError(RuntimeError):
    """Answers cannot be read, since the worker that reads them keeps dying: exit code 1; what was committed stays."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the error's name if it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
