"""Jobs started as their users start them, but in this process: what they print, and the code they end with."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hydra.core.global_hydra import GlobalHydra

from jobs import entry

WITH_HYDRA = (
    "run",
    "fetch_model",
    "build_pairs",
    "train_judge",
    "eval_judge",
    "plan",
    "compare",
    "bench",
)


@dataclass(frozen=True)
class Ended:
    """How a job ended. code: that of the process; 1 with a traceback in `errors` for an exception that got out."""

    code: int
    output: str
    errors: str


def call(job: str, *arguments: str, limit_s: int = 60) -> Ended:
    """Call a job; one that takes longer than the limit raises TimeoutError."""
    module = importlib.import_module(f"jobs.{job}")
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors), _alarm(limit_s), _own_signals():
        code = _code(module, job, arguments)
    return Ended(code, output.getvalue(), errors.getvalue())


def _code(module, job: str, arguments: Sequence[str]) -> int:
    before, environment = sys.argv, dict(os.environ)
    sys.argv = [f"jobs/{job}.py", *arguments]
    GlobalHydra.instance().clear()
    try:
        if job in WITH_HYDRA:
            inspect.unwrap(
                module.main
            ).__module__ = "__main__"  # Hydra then looks for conf/ beside jobs/, as for a program
            entry.run(module.main)
            return 0
        return module.main(list(arguments)) if job in ("query", "report", "export") else module.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except _Hung:
        raise
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        return 1
    finally:
        sys.argv = before
        os.environ.clear()
        os.environ.update(environment)


class _Hung(BaseException):
    """Not an Exception, so that no job takes it for an error of its own."""


@contextlib.contextmanager
def _alarm(limit_s: int) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise _Hung

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(limit_s)
    try:
        yield
    except _Hung:
        raise TimeoutError(f"longer than {limit_s} s") from None
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Put back the handlers that a job installs."""
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
