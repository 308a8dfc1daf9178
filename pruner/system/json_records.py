"""Records out of JSON files that anybody may have changed: every field there, and of its type. Knows no file's meaning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

Record = TypeVar("Record")
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def read_object(path: Path) -> dict[str, Any]:
    """Return a JSON file's object.

    Raises:
        FileNotFoundError: there is no file.
        OSError: it cannot be read.
        ValueError: it holds no JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(values, dict):
        raise ValueError(f"got {type(values).__name__}, expected an object")
    return values


def read_record(path: Path, kind: type[Record]) -> Record:
    """Return a dataclass of plain fields with the values of a JSON file's object.

    Raises:
        FileNotFoundError: there is no file.
        OSError: it cannot be read.
        ValueError: it holds no JSON object, or a field is missing, unknown or of another type; names it.
    """
    try:
        return TypeAdapter(with_config(_STRICT)(kind)).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: got {first['input']!r:.100}. {first['msg']}") from None
