"""Records out of JSON files that anybody may have changed: every field there, and of its type. Knows no file's meaning."""

from __future__ import annotations

import json
import math
import types
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")


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


def record_of(kind: type[Record], values: dict[str, Any]) -> Record:
    """Return a dataclass of plain fields with these values.

    Raises:
        ValueError: a field is missing, unknown or of another type; names it.
    """
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(values.keys() - known.keys()):
        raise ValueError(f"unknown {unknown[0]}")
    for name, field in known.items():
        if name not in values:
            if field.default is MISSING:
                raise ValueError(f"{name} is missing")
        elif not _fits(values[name], hints[name]):
            raise ValueError(f"{name}: got {values[name]!r:.100}, expected {_named(hints[name])}")
    return kind(**values)


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, each) for each in get_args(hint))
    if hint is type(None):
        return value is None
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    if hint is int:
        return type(value) is int and -(2**63) <= value < 2**63
    return type(value) is hint


def _named(hint: Any) -> str:
    return " or ".join("null" if each is type(None) else each.__name__ for each in get_args(hint) or (hint,))
