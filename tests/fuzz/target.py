"""What a target is, and how what a job did with an input is judged."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from pruner.errors import InputError
from pruner.system.lines import printable
from tests.fuzz.jobs_in_process import call
from tests.many_results import write_runs

PROJECT = Path(__file__).parents[2]
# A run that takes a second.
SMALL_RUN = ("sampler=simulated", "problems.limit=2", "budget=2", "method=cons", "progress.bar=false")


class Wrong(AssertionError):
    """The program did something else than what it promises on bad input."""


@dataclass(frozen=True)
class Target:
    """draw: the input's strategy. check: takes it, returns the exit code; anything raised is a finding."""

    name: str
    draw: st.SearchStrategy[Any]
    check: Callable[[Any], int]


def code_of(work: Callable[[], object]) -> int:
    """Do what a job does with its input; return the code that it would end with."""
    try:
        work()
    except InputError as error:
        for line in error.faults:
            shown = printable(line)
            if not shown.strip() or not shown.isprintable():
                raise Wrong(f"not one line: {line!r}") from None
        return 2
    return 0


def ended(result: Any) -> int:
    """Return a called job's code, if it said what it should."""
    if result.code not in (0, 2) or "Traceback" in result.errors:
        raise Wrong(f"code {result.code}: {result.errors[-1500:]}")
    lines = result.errors.splitlines()
    reported = [line for line in lines if line.startswith("error: ")]
    if result.code == 2 and (
        not reported or len(reported) < len(lines) - sum(line.startswith("warning: ") for line in lines)
    ):
        raise Wrong(f"not one line each: {result.errors[-1500:]!r}")
    if any(not line.isprintable() for line in lines):
        raise Wrong(f"control characters: {result.errors[-1500:]!r}")
    return int(result.code)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="fuzz"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@functools.cache
def one_run() -> Path:
    """Return a folder with one real, small run."""
    root = Path(tempfile.mkdtemp(prefix="fuzz"))
    result = call("run", *SMALL_RUN, f"run.root={root}", "run.name=run")
    assert result.code == 0, result.errors
    return root


@functools.cache
def small_runs() -> Path:
    path = Path(tempfile.mkdtemp(prefix="fuzz"))
    write_runs(path, 2, 2, 2)
    return path


def no_constant(name: str) -> None:
    raise Wrong(f"{name} is not JSON")
