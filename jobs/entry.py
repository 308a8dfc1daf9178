"""What every job shares: from Hydra's config to plain values, and from errors to one line and an exit code.

Exit codes: 0 done, 75 interrupted and resumable, 2 bad input or configuration, 1 a fault.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pruner.errors import INTERRUPTED as INTERRUPTED
from pruner.errors import AnswerError, CheckpointError, EngineError, InputError, Unavailable, first_line
from pruner.settings.dotted import flatten
from pruner.settings.section import MAX_NAME_BYTES, did_you_mean
from pruner.system.lines import print_errors

_MAX_NAME = 160


def quote_values(arguments: Sequence[str], is_sweep: bool = False) -> list[str]:
    """Return a command line's arguments, with quotes around values that Hydra's grammar does not take without: those with a `=`, with
    letters that are not ASCII, or with a `~`.

    Args:
        is_sweep: a comma separates values, unless the whole names a file or folder.
    """
    return [_with_quotes(each, is_sweep) for each in arguments]


def _with_quotes(argument: str, is_sweep: bool) -> str:
    key, equals, value = argument.partition("=")
    if not equals or argument.startswith("-") or value[:1] in ("", "{", "'", '"') or "${" in value or _parses(argument):
        return argument
    if value.startswith("["):
        if not value.endswith("]"):
            return argument
        made = f"{key}=[{','.join(_quoted(item.strip()) for item in _items(value[1:-1]))}]"
    else:
        parts = value.split(",") if is_sweep and not Path(value).exists() else [value]
        made = f"{key}={','.join(_quoted(part) for part in parts)}"
    return made if _parses(made) else argument


def _items(text: str) -> list[str]:
    """Return the items of a list's inside: a comma in quotes or brackets separates none."""
    items, depth, quote, start = [], 0, "", 0
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and not text[start:place].strip():
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        elif letter == "," and depth <= 0:
            items.append(text[start:place])
            start = place + 1
    return [*items, text[start:]]


def _parses(argument: str) -> bool:
    try:
        OverridesParser.create().parse_override(argument)
        return True
    except Exception:  # the parser's own, and Python's on numbers of thousands of digits
        return False


def _quoted(value: str) -> str:
    return value if _parses(f"x={value}") else "'" + value.replace("'", r"\'") + "'"


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return the config as plain values, interpolations resolved.

    Raises:
        InputError: a value that must be given is missing.
    """
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise InputError([f"config: {key} must be set. Add {key}=... to the command." for key in missing])
    try:
        values = OmegaConf.to_container(cfg, resolve=True)
    except RecursionError:
        raise InputError("config: a value refers to itself. Look for ${...} in the command.") from None
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def run_name(overrides: Sequence[str], ignored: Sequence[str]) -> str:
    """Return a run's name: its overrides, without those that cannot change its results; `default` if none are left.

    A path is named by its last part. Two runs that get the same name by that differ in their identity.
    """
    kept = []
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if not any(key == name or key.startswith(name + ".") for name in ignored):
            value = PurePath(value).stem if "/" in value else value
            kept.append(f"{key}={value}")
    name = re.sub(r"[^\w=.,+-]+", "_", ",".join(sorted(kept))).lstrip(".") or "default"
    return name[:_MAX_NAME].encode()[:MAX_NAME_BYTES].decode(errors="ignore")


def task_overrides() -> list[str]:
    """Return the overrides that this job was started with."""
    return list(HydraConfig.get().overrides.task)


def inherited(overrides: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """Return a line for each thing of the demo's that applies to a problem set or model that was given by its path alone."""
    given = {override.lstrip("+").partition("=")[0] for override in overrides}
    sampler, model, said = values["sampler"]["name"], values["model"], []
    if sampler != "replay" and "problems.path" in given and not given & {"problems", "problems.patterns"}:
        said.append(
            "problems.path is given without problems=...: the demo set's answer patterns apply. Add problems=own, or problems.patterns=[]"
        )
    if sampler != "vllm" or "model" in given or any(key.startswith("model.prompt") for key in given):
        return said
    prompt = f"the demo model's prompt with {len(model['prompt']['few_shot'])} examples"
    if "model.path" in given:
        said.append(
            f"model.path is given without model=...: {prompt}, its sampling and its limits apply. Add model=own, or a file of conf/model"
        )
    elif "problems.path" in given:
        said.append(
            f"problems.path is given without model=...: {model['name']} answers, the demo's model, and {prompt} applies"
        )
    return said


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
        except (HydraException, OmegaConfBaseException) as error:
            _fail([one_line(error)], 2)
        except Unavailable as error:
            _fail([str(error)], INTERRUPTED)
        except (AnswerError, CheckpointError, EngineError) as error:
            _fail([str(error)], 1)
        except OSError as error:
            _fail([f"{error}. What was committed stays; mend this and run the same command again."], 1)
        except Exception as error:
            raise Fault from error
        if code:
            _end([], code)

    return wrapped


class Fault(Exception):
    """A fault of the program inside a job's function, so that it differs from one in what Hydra was given."""


def run(main: Callable[[], Any]) -> None:
    """Run a Hydra main; errors in the command line or the config files end the process with one line and exit code 2."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its errors to us instead of printing them
    sys.argv[1:] = quote_values(sys.argv[1:], is_sweep=bool({"-m", "--multirun"} & set(sys.argv)))
    try:
        main()
    except Fault as fault:
        assert fault.__cause__ is not None
        raise fault.__cause__ from None
    except PointFailed as error:
        _fail(error.lines, error.code)
    except (HydraException, OmegaConfBaseException) as error:
        _fail([one_line(error)], 2)
    except OSError as error:
        _fail([f"hydra: {error}. Hydra's own folders (hydra.run.dir, hydra.sweep.dir) must be such as can be made."], 2)
    except Exception as error:  # Hydra, on what it was given: our own are Faults
        _fail([f"config: {first_line(error)}. Look at the hydra.* options in the command."], 2)


def one_line(error: Exception) -> str:
    """Return what Hydra says, without the folders that it searched, and with the key or choice that was probably meant."""
    text, hint = str(error).partition("Config search path:")[0], _meant(error)
    if hint:
        text = text.partition("To append to your")[0]
    text = "config: " + " ".join(line.strip() for line in text.splitlines() if line.strip()) + hint
    if "override_grammar" in text:
        text += """. A value with , or quotes in it needs quotes of its own: key="'value'"."""
    return text


def _meant(error: BaseException) -> str:
    """Return ` Did you mean ...?` for a key that does not exist or a group without such a choice, else nothing."""
    found = re.search(r"Could not find '([^']*)'\s+Available options in '[^']*':\n((?:\t[^\n]*\n?)+)", str(error))
    if found:
        return did_you_mean(found[1].rpartition("/")[2], found[2].split())
    cause = error.__cause__ or error.__context__
    node, key = getattr(cause, "parent_node", None), getattr(cause, "full_key", None)
    if not isinstance(node, DictConfig) or not key:
        return ""
    above, _, last = str(key).rpartition(".")
    if last in node:
        return ""
    if near := did_you_mean(last, [str(name) for name in node]):
        return near if not above else near.replace("mean ", f"mean {above}.")
    everywhere = flatten(OmegaConf.to_container(node._get_root(), resolve=False))  # type: ignore[arg-type]
    same = [name for name in everywhere if name.rpartition(".")[2] == last and not name.startswith("hydra.")]
    return f" Did you mean {same[0]}?" if same else ""


def _fail(lines: Sequence[str], code: int) -> NoReturn:
    print_errors(lines)
    _end(lines, code)


def _end(lines: Sequence[str], code: int) -> NoReturn:
    """End the process. Under submitit, whose launcher waits for a result or an exception for ever, raise one."""
    if "SUBMITIT_EXECUTOR" in os.environ and code != INTERRUPTED:
        raise PointFailed(lines, code)
    sys.exit(code)
