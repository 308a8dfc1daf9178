"""What every job shares: from Hydra's config to plain values, and from errors to one line and an exit code.

Exit codes: 0 done, 75 interrupted and resumable, 2 bad input or configuration, 1 a fault.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from jobs import signals
from pruner.errors import AnswerError, CheckpointError, EngineError, InputError

INTERRUPTED = signals.INTERRUPTED
_MAX_NAME = 160


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return the config as plain values, interpolations resolved.

    Raises:
        InputError: a value that must be given is missing.
    """
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise InputError([f"config: {key} must be set. Add {key}=... to the command." for key in missing])
    values = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def run_name(overrides: Sequence[str], ignored: Sequence[str]) -> str:
    """Return a run's name: its overrides, without those that cannot change its results; `default` if none are left.

    A path is named by its last part. Two runs that get one name by that are told apart by their identity.
    """
    kept = []
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if not any(key == name or key.startswith(name + ".") for name in ignored):
            value = PurePath(value).stem if "/" in value else value
            kept.append(f"{key}={value}")
    name = re.sub(r"[^\w=.,+-]+", "_", ",".join(sorted(kept))) or "default"
    return name[:_MAX_NAME]


def task_overrides() -> list[str]:
    """Return the overrides that this job was started with."""
    return list(HydraConfig.get().overrides.task)


class PointFailed(RuntimeError):
    """A point of a sweep that ended in a process of its own: what it would have printed, and its exit code."""

    def __init__(self, lines: Sequence[str], code: int) -> None:
        super().__init__("; ".join(lines) or f"exit code {code}")
        self.lines, self.code = tuple(lines), code

    def __reduce__(self) -> tuple[Any, ...]:
        return PointFailed, (self.lines, self.code)


def task(function: Callable[[DictConfig], int]) -> Callable[[DictConfig], None]:
    """Wrap a job's function: what it returns becomes the exit code, and its errors become lines, inside Hydra's frame."""

    @functools.wraps(function)
    def wrapped(cfg: DictConfig) -> None:
        try:
            code = function(cfg)
        except InputError as error:
            _fail(error.faults, 2)
        except OmegaConfBaseException as error:
            _fail([_one_line(error)], 2)
        except (AnswerError, CheckpointError, EngineError) as error:
            _fail([str(error)], 1)
        except OSError as error:
            _fail([f"{error}. What was committed stays; mend this and run the same command again."], 1)
        if code:
            _end([], code)

    return wrapped


def run(main: Callable[[], Any]) -> None:
    """Run a Hydra main; errors in the command line or the config files end the process with one line and exit code 2."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its errors to us instead of printing them
    try:
        main()
    except PointFailed as error:
        _fail(error.lines, error.code)
    except (HydraException, OmegaConfBaseException) as error:
        _fail([_one_line(error)], 2)
    except ValueError as error:
        if "Only one of --run" not in str(error):
            raise
        _fail([str(error)], 2)


def _one_line(error: Exception) -> str:
    text = "config: " + " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    if "override_grammar" in text:
        text += """. A value with = or , in it needs quotes of its own: key="'value'"."""
    return text


def _fail(lines: Sequence[str], code: int) -> NoReturn:
    for line in lines:
        print(f"error: {line}", file=sys.stderr)
    _end(lines, code)


def _end(lines: Sequence[str], code: int) -> NoReturn:
    """End the process. Under submitit, whose launcher waits for a result or an exception for ever, raise one."""
    if "SUBMITIT_EXECUTOR" in os.environ and code != INTERRUPTED:
        raise PointFailed(lines, code)
    sys.exit(code)
