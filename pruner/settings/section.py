"""What every section of a configuration is: typed, closed (unknown keys are refused) and checked before anything is loaded.

Owns pydantic's errors: a fault becomes one line that names the key. Numbers are finite and have bounds, texts can be written to
any file: both hold for every section, since they are checked here.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pruner.errors import InputError

# What 32-bit columns hold; no count of anything comes near it.
MAX_COUNT = 2**31 - 1
# Three years: longer than anything that is waited for.
MAX_SECONDS = 1e8
MAX_NAME_BYTES = 200
_MAX_DEPTH = 64
_MAX_SHOWN = 200
# Files that stand beside runs under their root.
RESERVED_NAMES = ("views.sql", "report")

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1, le=MAX_COUNT)]
Natural = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Seconds = Annotated[float, Field(gt=0.0, le=MAX_SECONDS)]
Pause = Annotated[float, Field(ge=0.0, le=MAX_SECONDS)]
TimeLimit = Annotated[float, Field(gt=0.0, le=3600.0)]
Amount = Annotated[float, Field(ge=0.0, le=1e9)]
Budget = Annotated[int, Field(ge=1, le=1_000_000)]
# Of traces that one engine works on at once.
Running = Annotated[int, Field(ge=1, le=1_000_000)]
Orders = Annotated[int, Field(ge=1, le=100_000)]
Processes = Annotated[int, Field(ge=1, le=1_024)]
Rate = Annotated[float, Field(gt=0.0, le=1e15)]
PositiveShare = Annotated[float, Field(gt=0.0, le=1.0)]
Folds = Annotated[int, Field(ge=1, le=2**15 - 1)]
Resamplings = Annotated[int, Field(ge=1, le=100_000)]


def _path(text: str) -> str:
    if fault := path_fault(text):
        raise ValueError(fault)
    return text


def _run_name(text: str) -> str:
    if fault := name_fault(text):
        raise ValueError(fault)
    return text


def _checkpoint_path(text: str) -> str:
    if "?" in text:
        raise ValueError(f"got {text!r}, expected a path without ?, which DuckDB takes for the end of a file's name")
    return _path(text)


def _some(ids: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(ids)) < max(1, len(ids)):
        raise ValueError(f"got {list(ids)}, expected different ids, or null for all")
    return ids


Gpus = Annotated[tuple[Annotated[int, Field(ge=0, lt=4096)], ...], AfterValidator(_some)]
FilePath = Annotated[str, AfterValidator(_path)]
CheckpointPath = Annotated[str, AfterValidator(_checkpoint_path)]
RunName = Annotated[str, AfterValidator(_run_name)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=(), allow_inf_nan=False)


class Choice(Section):
    """A section of which there are several kinds, one class each: a prefix, a method, a judge or a sampler.

    Attributes:
        name: what the configuration calls the kind; a Literal in every class that can be chosen.
        not_identity: keys of the section that may change between two attempts at one run.
    """

    name: str
    not_identity: ClassVar[tuple[str, ...]] = ()

    @property
    def unused_keys(self) -> tuple[str, ...]:
        """Keys of the whole configuration, dotted, that have no effect on a run's results because of this choice."""
        return ()


AnySection = TypeVar("AnySection", bound=Section)


def parse_as(kind: type[AnySection], values: Mapping[str, Any]) -> AnySection:
    """Turn plain values into any section. Raises InputError like `parse`."""
    if faults := list(_text_faults(values)):
        raise InputError(faults)
    try:
        return kind.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise InputError([describe_fault(item, kind) for item in error.errors()]) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"config: {error}.") from None


def describe_fault(error: Any, kind: type[BaseModel] | None = None) -> str:
    """Return a fault as one line.

    Args:
        kind: of the section, whose keys are looked at where one is unknown.
    """
    location = [str(part) for part in error["loc"]]
    if len(location) > 1 and location[0] in ("method", "judge", "prefix", "sampler", "trainer"):
        del location[1]  # pydantic names the chosen member of a union there
    key = ".".join(location)
    fault, message = error["type"], error["msg"].removeprefix("Value error, ")
    if fault == "extra_forbidden":
        near = did_you_mean(location[-1], [] if kind is None else sorted(_keys(kind)))
        return f"config: unknown key {key}.{near} See `python -m jobs.run --cfg job` for those that exist."
    if fault == "missing":
        return f"config: {key} is missing."
    if fault == "value_error":
        return (
            f"{key}.{message}."
            if key and re.match(r"[\w.]+: ", message)
            else f"{key}: {message}."
            if key
            else f"{message}."
        )
    return f"{key}: got {_shortened(repr(error['input']))}. {message}."


def did_you_mean(name: str, choices: list[str]) -> str:
    """Return ` Did you mean ...?` if one of the choices is near, else nothing."""
    near = difflib.get_close_matches(name, choices, 1)
    return f" Did you mean {near[0]}?" if near else ""


def path_fault(text: str) -> str | None:
    """Return what keeps a text from being the path of a file or folder; None if nothing does."""
    if not text.strip():
        return f"got {text!r}, expected a path"
    if not text.isprintable():
        return f"got {_shortened(repr(text))}, expected a path without control characters"
    if "\\" in text:
        return f"got {_shortened(repr(text))}, expected a path with / and without \\"
    if any(len(part.encode()) > 255 for part in text.split("/")) or len(text.encode()) > 3_000:
        return f"got {_shortened(repr(text))}, expected a path whose parts have at most 255 bytes"
    return None


def name_fault(name: str) -> str | None:
    """Return what keeps a text from being the name of a run's folder; None if nothing does."""
    if fault := path_fault(name):
        return fault
    if "/" in name or "?" in name or name.startswith((".", "~")) or name != name.strip():
        return f"got {_shortened(repr(name))}, expected a folder's name: no / or ? in it, no . ~ or space before it, no space after it"
    if name in RESERVED_NAMES:
        return f"got {name!r}, which stands beside the runs. Choose another name"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"got a name of {len(name.encode())} bytes, expected at most {MAX_NAME_BYTES}"
    return None


def local_path(text: str | Path) -> Path:
    """Return a path with a leading ~ replaced by the home folder.

    What would be read as an address (`file:...`, `s3:...`) by the libraries that open it is made absolute.

    Raises:
        InputError: no file can have that path.
    """
    if fault := path_fault(str(text)):
        raise InputError(f"path: {fault}.")
    path = Path(text)
    try:
        if not Path(str(path).partition("/")[0]).exists():  # a folder of that very name is what is meant
            path = path.expanduser()
    except RuntimeError:
        raise InputError(f"path: got {str(text)!r}, but there is no such user.") from None
    return path.absolute() if ":" in str(path).partition("/")[0] else path


def target_path(text: str | Path) -> Path:
    """Return the path of a file that is to be written.

    Raises:
        InputError: it cannot be one, or is a folder.
    """
    path = local_path(text)
    if not path.name or path.is_dir():
        raise InputError(f"{text}: got a folder, expected the file to write.")
    return path


def _text_faults(value: Any, key: str = "", depth: int = 0) -> Iterator[str]:
    """Yield a line for every text that cannot be written to a file, or be part of a command, as it is."""
    if depth > _MAX_DEPTH:
        yield f"{key}: nested more than {_MAX_DEPTH} deep."
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _text_faults(str(name), f"{key}.{name}" if key else str(name), depth + 1)
            yield from _text_faults(item, f"{key}.{name}" if key else str(name), depth + 1)
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _text_faults(item, f"{key}.{place}", depth + 1)
    elif isinstance(value, str) and (fault := text_fault(value)):
        yield f"{key}: got {_shortened(repr(value))}, {fault}."


def text_fault(text: str) -> str | None:
    """Return what keeps a text from being stored as UTF-8; None if nothing does."""
    if "\0" in text:
        return "expected text without the character NUL"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "which is not valid Unicode"
    return None


def _keys(kind: Any) -> set[str]:
    """Return the names of all keys of a section and of the sections in it."""
    found: set[str] = set()
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            found |= {name} | _keys(field.annotation)
    for part in get_args(kind):
        found |= _keys(part)
    return found


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
