"""Measurements in processes of their own: fresh memory, chosen cores."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from pruner.errors import EngineError


def in_child(module: str, arguments: Mapping[str, Any], cores: int | None = None) -> dict[str, Any]:
    """Run `serve` of a module with these arguments in a new process and return what it measured.

    Args:
        cores: the process may use so many cores; None: all.

    Raises:
        EngineError: it failed; what it said is on stderr.
    """
    allowed = sorted(os.sched_getaffinity(0))
    chosen = allowed if cores is None else allowed[-cores:]
    command = [sys.executable, "-m", module, json.dumps({**arguments, "cores": chosen})]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if result.returncode != 0:
        raise EngineError(f"{module} ended with code {result.returncode}")
    found = json.loads(result.stdout.strip().splitlines()[-1])
    assert isinstance(found, dict)
    return found


def serve(measure: Callable[..., Mapping[str, Any]]) -> None:
    """Be that process: take the arguments from the command line, print what was measured as the last line."""
    arguments = json.loads(sys.argv[1])
    os.sched_setaffinity(0, arguments.pop("cores"))
    print(json.dumps(dict(measure(**arguments))))


def cpu_s() -> float:
    """Return the processor time of this process, all its threads and its ended children."""
    own = os.times()
    return own.user + own.system + own.children_user + own.children_system


def peak_mb() -> float:
    """Return the most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
