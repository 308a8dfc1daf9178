"""What every section of a configuration is: typed, closed (unknown keys are refused) and checked before anything is loaded.

Owns pydantic's errors: a fault becomes one line that names the key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pruner.errors import InputError

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0.0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


AnySection = TypeVar("AnySection", bound=Section)


def parse_as(kind: type[AnySection], values: Mapping[str, Any]) -> AnySection:
    """Turn plain values into any section. Raises InputError like `parse`."""
    try:
        return kind.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise InputError([describe_fault(item) for item in error.errors()]) from None


def describe_fault(error: Any) -> str:
    location = [str(part) for part in error["loc"]]
    if len(location) > 1 and location[0] in ("method", "judge", "prefix", "sampler", "trainer"):
        del location[1]  # pydantic names the chosen member of a union there
    key = ".".join(location)
    kind, message = error["type"], error["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return f"config: unknown key {key}. See `python -m jobs.run --cfg job` for those that exist."
    if kind == "missing":
        return f"config: {key} is missing."
    if kind == "value_error":
        return f"{key}.{message}." if key else f"{message}."
    return f"{key}: got {error['input']!r}. {message}."
